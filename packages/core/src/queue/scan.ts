// Reading the index of due times: a lane's next due entries from where it was left, and after boot, which lanes there
// are. A scan never starts at the head of a lane that was served before: behind 300,000 removed keys that takes 44 ms,
// from a remembered key 0.2 ms.
import type { Entry, Storage } from '../storage/contract.ts'
import { type DueEntry, dueAfter, laneEnd, laneStart, parseDueKey, rankEnd, rankStart } from './keys.ts'
import type { Lane } from './lane.ts'
import { decodeDue } from './records.ts'

export interface Found extends DueEntry {
  readonly key: string
  /** When its age began. */
  readonly since: number
  readonly sender: string
}

type Reader = Pick<Storage, 'range'>

const discoverBatch = 1000
/** A lane with so many entries in a row is left for later. */
const longLane = 100

/** What is due in the lane, at most `room` entries; what it did not get to is noted in the lane. */
export async function* scanLane(storage: Reader, lane: Lane, now: number, room: number): AsyncGenerator<Found> {
  if (lane.early) {
    yield* scanEarly(storage, lane, room)
    return
  }
  let left = room
  let failed: unknown
  for (const [rank, low] of lane.takeLows()) {
    if (left === 0) {
      lane.note(rank, low)
      continue
    }
    try {
      // One more than there is room for: when the lane has to be looked at again.
      for await (const batch of storage.range({ gte: low, lt: rankEnd(lane.key, rank), limit: left + 1 })) {
        for (const entry of batch) {
          const found = parse(entry)
          if (found === undefined) continue
          if (left === 0 || found.due > now) {
            lane.note(rank, found.key)
            break
          }
          left--
          yield found
        }
      }
    } catch (error) {
      lane.note(rank, low)
      failed ??= error
    }
  }
  if (failed !== undefined) throw failed
}

/** All that the lane has, due or not, once through, `room` entries at a time; leaves what the lane has noted alone. */
async function* scanEarly(storage: Reader, lane: Lane, room: number): AsyncGenerator<Found> {
  const gte = lane.earlyFrom ?? laneStart(lane.key)
  let left = room
  for await (const batch of storage.range({ gte, lt: laneEnd(lane.key), limit: room + 1 })) {
    for (const entry of batch) {
      const found = parse(entry)
      if (found === undefined) continue
      if (left === 0) {
        lane.earlyFrom = found.key
        return
      }
      left--
      yield found
    }
  }
  lane.early = false
  lane.earlyFrom = undefined
}

function parse([key, value]: Entry): Found | undefined {
  const due = parseDueKey(key)
  return due && { ...due, key, ...decodeDue(value) }
}

/** Entries of the index, and for a lane of which there are more the key where it goes on. */
export interface Discovered {
  readonly found: readonly Found[]
  readonly cut?: { readonly lane: string; readonly rank: number; readonly key: string }
}

/**
 * Walks through the index of all lanes: a thousand small lanes in one read, and not through a long one. Every entry is
 * either found, or behind the cut of its lane.
 */
export async function* discover(storage: Reader): AsyncGenerator<Discovered> {
  let from = 'd/'
  let limit = discoverBatch
  for (;;) {
    let last: string | undefined
    const found: Found[] = []
    for await (const batch of storage.range({ gte: from, lt: 'd0', limit })) {
      for (const entry of batch) {
        const one = parse(entry)
        last = entry[0]
        if (one !== undefined) found.push(one)
      }
    }
    if (last === undefined) return
    const end = found.at(-1)
    const before = found.at(-longLane)
    from = `${last}\0`
    if (end !== undefined && before?.lane === end.lane && before.rank === end.rank) {
      yield { found, cut: { lane: end.lane, rank: end.rank, key: from } }
      from = rankEnd(end.lane, end.rank)
      // Behind a long lane there are often others: of a thousand of them only the beginnings are read.
      limit = 2 * longLane
    } else {
      yield { found }
      limit = Math.min(2 * limit, discoverBatch)
    }
  }
}

/** Everything in the lane's index, due or not, in batches. */
export async function* laneEntries(storage: Reader, lane: string, until = Infinity): AsyncGenerator<Found[]> {
  let from = laneStart(lane)
  for (;;) {
    const first = await one(storage, from, laneEnd(lane))
    const due = first === undefined ? undefined : parseDueKey(first)
    if (due === undefined) return
    const range = { gte: rankStart(lane, due.rank), lt: dueAfter(lane, due.rank, until) }
    if (range.gte < range.lt) {
      for await (const batch of storage.range(range)) yield batch.map(parse).filter(found => found !== undefined)
    }
    from = rankEnd(lane, due.rank)
  }
}

async function one(storage: Reader, gte: string, lt: string): Promise<string | undefined> {
  for await (const batch of storage.range({ gte, lt, limit: 1 })) return batch[0]?.[0]
  return undefined
}
