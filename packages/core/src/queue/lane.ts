// One lane as the scheduler knows it: what waits in memory, where its index goes on, how much it may do at once, and
// whether it is backing off. Small, because there may be a hundred thousand of them.
import { compareKeys } from '../storage/keys.ts'
import type { Entry } from './entry.ts'
import { dueOf, encodeLane } from './keys.ts'
import type { Policy } from './retry.ts'
import { Turns } from './turns.ts'

/** A new lane starts with so many deliveries at once; each that goes well allows one more. */
const slowStart = 5
const firstBackoff = 30_000
const longestBackoff = 15 * 60_000

export interface Pause {
  readonly since: number
  readonly reason: string
}

export class Lane {
  readonly name: string
  /** The name as it stands in keys. */
  readonly key: string
  readonly shard: number
  /** The plugin whose agent serves it, and what that calls it. */
  readonly plugin: string
  readonly local: string
  /** Most lanes have one block that waits: only from the second on there are turns to take. */
  #only: Entry | undefined
  #turns: Turns<Entry> | undefined
  /** How many of those that wait came from the index, and how many were handed over. */
  indexed = 0
  handed = 0
  inflight = 0
  /** The lowest key of the index that may not be in memory, and by rank where there are several. */
  #low: string | undefined
  #lowRank = 0
  #lows: Map<number, string> | undefined
  scanning = false
  /** In the ring of lanes that may have something to do. */
  ready = false
  wakeAt = Infinity
  policy: Policy | undefined
  /** The generation whose policy it is; -1 while an agent is asked. */
  policyOf = 0
  /** Look at everything once, due or not: the configuration changed. */
  early = false
  /** How far that look has come. */
  earlyFrom: string | undefined
  slots = slowStart
  failures = 0
  blockedSince = 0
  blockedUntil = 0
  reason: string | undefined
  pause: Pause | undefined
  tokens = 1
  tokensAt = 0
  sweptAt = 0

  constructor(name: string, shard: number) {
    this.name = name
    this.key = encodeLane(name)
    this.shard = shard
    const slash = name.indexOf('/')
    this.plugin = slash === -1 ? '' : name.slice(0, slash)
    this.local = name.slice(slash + 1)
    // There is no destination to be gentle to.
    if (slash === -1) this.slots = Infinity
  }

  /** At everything that it has, due or not. */
  lookAgain(): void {
    this.early = true
    this.earlyFrom = undefined
  }

  /** How many blocks wait in memory; those that were taken out meanwhile count until they are met. */
  get waiting(): number {
    return (this.#only === undefined ? 0 : 1) + (this.#turns?.size ?? 0)
  }

  /** The first time something in the index falls due; Infinity: nothing known there. */
  get nextDue(): number {
    if (this.#low === undefined) return Infinity
    if (this.early) return 0
    let first = dueOf(this.#low, this.key)
    if (this.#lows !== undefined) for (const key of this.#lows.values()) first = Math.min(first, dueOf(key, this.key))
    return first
  }

  /** There may be something in the index at `key`. */
  note(rank: number, key: string): void {
    if (this.#low === undefined || (this.#lowRank === rank && this.#lows === undefined)) {
      if (this.#low === undefined || compareKeys(key, this.#low) < 0) this.#low = key
      this.#lowRank = rank
      return
    }
    this.#lows ??= new Map([[this.#lowRank, this.#low]])
    const low = this.#lows.get(rank)
    if (low === undefined || compareKeys(key, low) < 0) this.#lows.set(rank, key)
  }

  /** Where the index goes on, the most urgent first; forgotten here, so that what is noted from now on is new. */
  takeLows(): readonly (readonly [rank: number, key: string])[] {
    if (this.#low === undefined) return []
    const lows = this.#lows === undefined ? [[this.#lowRank, this.#low] as const] : [...this.#lows]
    this.#low = undefined
    this.#lows = undefined
    return lows.sort(([a], [b]) => a - b)
  }

  push(entry: Entry): void {
    if (entry.handed > 0) this.handed++
    else this.indexed++
    if (this.#turns === undefined) {
      if (this.#only === undefined) {
        this.#only = entry
        return
      }
      this.#turns = new Turns()
      this.#turns.push(this.#only)
      this.#only = undefined
    }
    this.#turns.push(entry)
  }

  /** The next whose turn it is. */
  next(): Entry | undefined {
    for (;;) {
      let entry = this.#only
      if (entry !== undefined) this.#only = undefined
      else {
        entry = this.#turns?.next()
        if (this.#turns?.size === 0) this.#turns = undefined
      }
      if (entry === undefined) return undefined
      if (entry.handed > 0) this.handed--
      else this.indexed--
      if (entry.state === 'waiting') return entry
    }
  }

  /** Nothing to remember it by. */
  get idle(): boolean {
    return (
      this.waiting === 0 && this.inflight === 0 && !this.scanning && this.pause === undefined && this.#low === undefined
    )
  }

  /** Takes one of the deliveries that `perMinute` allows; 0, or how long to wait for it. */
  takeToken(now: number): number {
    const rate = this.policy?.perMinute ?? Infinity
    if (rate === Infinity) return 0
    const burst = Math.max(1, rate / 6)
    const most = this.tokensAt === 0 ? burst : this.tokens + ((now - this.tokensAt) * rate) / 60_000
    this.tokens = Math.min(burst, most)
    this.tokensAt = now
    if (this.tokens < 1) return Math.ceil(((1 - this.tokens) * 60_000) / rate)
    this.tokens--
    return 0
  }

  /** A delivery showed that the destination answers. */
  alive(): void {
    this.failures = 0
    this.blockedUntil = 0
    this.reason = undefined
    this.slots = Math.min(this.slots + 1, this.policy?.concurrency ?? slowStart)
  }

  /** A delivery begun at `began` says that the lane as a whole fails. Those that began before the back-off add nothing. */
  failed(began: number, now: number, reason: string, retryAfter: number | undefined, random: number): void {
    if (began < this.blockedSince || (this.failures > 0 && now < this.blockedUntil)) return
    this.failures++
    const pause = Math.min(firstBackoff * 2 ** Math.min(this.failures - 1, 20), longestBackoff)
    this.blockedSince = now
    this.blockedUntil = now + (retryAfter || Math.round(pause * (0.9 + 0.2 * random)))
    this.reason = reason
    this.slots = 1
  }
}
