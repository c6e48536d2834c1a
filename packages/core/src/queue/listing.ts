// Looking at the queue: which messages match, what is known of one, how much there is. Reads only; walks in key order,
// a batch at a time, and stops as soon as enough was found.
import type {
  QueueFilter,
  QueueLine,
  QueueListing,
  QueueMessage,
  QueueRecipient,
  QueueTotals,
} from '../control/contract.ts'
import type { Storage } from '../storage/contract.ts'
import type { Desk } from './desk.ts'
import { blockKey, blocksOf, encodeLane, messageKey, parseBlockKey } from './keys.ts'
import { expiresAt } from './outcome.ts'
import { type Attempt, type Block, decodeBlock, decodeMessage, type RecipientRecord } from './records.ts'
import { policyOf } from './retry.ts'
import { laneEntries } from './scan.ts'

export type { QueueFilter, QueueLine, QueueListing, QueueMessage, QueueTotals }

/** A block that matches, and the octets it was read from. */
export interface Match {
  readonly block: Block
  readonly key: string
  readonly value: Uint8Array
}

type Reader = Pick<Storage, 'range' | 'getMany' | 'get'>
type State = QueueLine['state']

/** Blocks in one step of a walk. */
const stepBlocks = 32

/** A few at a time. */
export function* inSteps<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let i = 0; i < items.length; i += stepBlocks) yield items.slice(i, i + stepBlocks)
}

/** Whether an address is meant: whole, or `@domain`, or a domain. Case makes no difference in looking. */
export function matchesAddress(address: string, wanted: string): boolean {
  const text = address.toLowerCase()
  const want = wanted.toLowerCase()
  if (want.includes('@') && !want.startsWith('@')) return text === want
  return text.endsWith(want.startsWith('@') ? want : `@${want}`)
}

export class Listing {
  readonly #desk: Desk
  /** Whether a block is being delivered just now. */
  readonly #sending: (key: string) => boolean

  constructor(desk: Desk, sending: (key: string) => boolean) {
    this.#desk = desk
    this.#sending = sending
  }

  /**
   * Blocks that match, a few at a time, those that wait for a report left out; message by message, or in a lane by due
   * time. `seen`: told how many recipients each step looked at, once the caller is done with it.
   */
  async *matches(filter: QueueFilter, seen?: (recipients: number) => void): AsyncGenerator<Match[]> {
    const { storage } = this.#desk
    const source = byLane(filter) ? inLane(storage, filter.lane) : all(storage)
    for await (const batch of source) {
      for (const step of inSteps(batch)) {
        const found = step.filter(({ block, key }) => this.#fits(block, key, filter))
        if (found.length > 0) yield found
        seen?.(step.reduce((total, { block }) => total + block.recipients.length, 0))
      }
    }
  }

  /** How many recipients {@link matches} will look at, as of now; undefined while they are still being counted. */
  toSee(filter: QueueFilter): number | undefined {
    const { tally } = this.#desk
    if (!tally.complete) return undefined
    if (byLane(filter)) return tally.lanes.get(filter.lane) ?? 0
    return Object.values(tally.recipients).reduce((total, count) => total + count, 0)
  }

  async list(filter: QueueFilter): Promise<QueueListing> {
    const { storage } = this.#desk
    const limit = filter.limit ?? Infinity
    const lines = new Map<string, { line: QueueLine; variant: number }>()
    let more = false
    for await (const batch of this.matches(filter)) {
      for (const { block, key } of batch) {
        const known = lines.get(block.id)
        if (known === undefined && lines.size >= limit) {
          more = true
          break
        }
        lines.set(block.id, { line: this.#line(block, key, known?.line), variant: block.variant })
      }
      if (more) break
    }
    const ids = [...lines.keys()]
    const messages: QueueLine[] = []
    for (let i = 0; i < ids.length; i += 200) {
      const part = ids.slice(i, i + 200)
      const values = await storage.getMany(part.map(messageKey))
      for (const [j, id] of part.entries()) {
        const { line, variant } = lines.get(id) as { line: QueueLine; variant: number }
        const value = values[j]
        const record = value && readable(() => decodeMessage(id, value))
        const size = record === undefined ? 0 : record.body.size + (record.variants[variant]?.head.length ?? 0)
        messages.push({ ...line, size })
      }
    }
    return { messages, totals: await this.totals(), more }
  }

  async totals(): Promise<QueueTotals> {
    const { storage, tally } = this.#desk
    const { due, deferred, held, unrouted } = tally.recipients
    const at = (n: number) => Math.max(0, n)
    let oldest: number | undefined
    for await (const batch of storage.range({ gte: 'm/', lt: 'm0', limit: 1 })) {
      for (const [key, value] of batch) oldest = readable(() => decodeMessage(key.slice(2), value))?.received
    }
    return {
      messages: at(tally.messages),
      recipients: { due: at(due), deferred: at(deferred), held: at(held), unrouted: at(unrouted) },
      ...(oldest !== undefined && { oldest }),
    }
  }

  async show(id: string): Promise<QueueMessage | undefined> {
    const message = await this.#desk.messages.read(id)
    if (message === undefined) return undefined
    const { record } = message
    const recipients: QueueRecipient[] = []
    let hold: string | undefined
    for await (const { block, key } of blocks(this.#desk.storage, id)) {
      if (block.status === 'held') hold ??= block.reason
      for (const recipient of block.recipients) recipients.push(this.#recipient(block, key, recipient))
    }
    const [variant] = record.variants
    const header = Buffer.concat([variant?.head ?? new Uint8Array(0), message.body.header]).toString('latin1')
    const { client, auth } = record.origin
    return {
      id,
      received: record.received,
      size: message.variant(0).size,
      from: variant?.from?.raw ?? '',
      ...(client !== undefined && { client: client.name === undefined ? client.ip : `${client.name} [${client.ip}]` }),
      ...(auth !== undefined && { user: auth.user }),
      ...(record.params.envid !== undefined && { envid: record.params.envid }),
      ...(variant?.junk !== undefined && { junk: variant.junk }),
      ...(hold !== undefined && { hold }),
      ...(record.cause !== undefined && { cause: record.cause }),
      header,
      recipients,
    }
  }

  #fits(block: Block, key: string, filter: QueueFilter): boolean {
    if (block.status === 'report') return false
    if (filter.lane !== undefined && block.lane !== filter.lane) return false
    if (filter.olderThan !== undefined && this.#desk.clock.now() - block.received < filter.olderThan) return false
    if (filter.sender !== undefined && !fitsSender(block.from, filter.sender)) return false
    if (filter.state !== undefined && this.#state(block, key) !== filter.state) return false
    const { recipient } = filter
    if (recipient === undefined) return true
    return block.recipients.some(
      r =>
        matchesAddress(r.to.raw, recipient) || (r.original !== undefined && matchesAddress(r.original.raw, recipient)),
    )
  }

  #state(block: Block, key: string): State {
    if (block.status === 'held') return 'held'
    if (this.#sending(key)) return 'sending'
    return block.at <= this.#desk.clock.now() ? 'due' : 'deferred'
  }

  #line(block: Block, key: string, known: QueueLine | undefined): QueueLine {
    const last = block.recipients[0]?.attempts.at(-1)
    const reason = block.status === 'held' ? block.reason : last && resultOf(last)
    const next = block.status === 'queued' ? block.at : undefined
    const line: QueueLine = {
      id: block.id,
      received: block.received,
      size: 0,
      from: block.from,
      recipients: block.recipients.length,
      lane: block.lane,
      state: this.#state(block, key),
      ...(next !== undefined && { next }),
      ...(reason !== undefined && { reason }),
    }
    return known === undefined ? line : { ...known, recipients: known.recipients + line.recipients }
  }

  #recipient(block: Block, key: string, recipient: RecipientRecord): QueueRecipient {
    const queued = block.status === 'queued'
    const policy = policyOf(this.#desk.generation().config.queue, undefined)
    return {
      address: recipient.to.raw,
      ...(recipient.original !== undefined && { original: recipient.original.raw }),
      lane: block.lane,
      state: block.status === 'report' ? 'done' : this.#state(block, key),
      ...(queued && { next: block.at, expires: expiresAt(block, policy) }),
      attempts: recipient.attempts.map(attempt => ({
        at: attempt.at,
        result: resultOf(attempt),
        ...(attempt.remote !== undefined && { remote: attempt.remote.host }),
      })),
    }
  }
}

/** Whether the lane's index leads to all that match. A held block is in none. */
const byLane = (filter: QueueFilter): filter is QueueFilter & { readonly lane: string } =>
  filter.lane !== undefined && filter.state !== 'held'

const fitsSender = (from: string, wanted: string): boolean =>
  wanted === '' || wanted === '<>' ? from === '' : matchesAddress(from, wanted)

/** `defer 451 4.7.1 try again`, the peer's own words where it spoke. */
export function resultOf(attempt: Attempt): string {
  const { kind, remote } = attempt
  const words = remote && [remote.code, remote.enhanced, ...remote.lines]
  const own =
    kind === 'defer' || kind === 'reject'
      ? [attempt.code, attempt.enhanced, attempt.text]
      : [attempt.by ?? attempt.text]
  return [kind, ...(words ?? own)].filter(part => part !== undefined && part !== '').join(' ')
}

function readable<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

function match(key: string, value: Uint8Array): Match | undefined {
  const name = parseBlockKey(key)
  const block = name && readable(() => decodeBlock(name.id, name.n, value))
  return block && { block, key, value }
}

async function* all(storage: Reader): AsyncGenerator<Match[]> {
  for await (const batch of storage.range({ gte: 'r/', lt: 'r0' })) {
    yield batch.map(([key, value]) => match(key, value)).filter(found => found !== undefined)
  }
}

async function* inLane(storage: Reader, lane: string): AsyncGenerator<Match[]> {
  for await (const entries of laneEntries(storage, encodeLane(lane))) {
    for (let i = 0; i < entries.length; i += 200) {
      const keys = entries.slice(i, i + 200).map(({ id, n }) => blockKey(id, n))
      const values = await storage.getMany(keys)
      yield keys
        .map((key, j) => {
          const value = values[j]
          return value && match(key, value)
        })
        .filter(found => found !== undefined)
    }
  }
}

/** The blocks of one message. */
export async function* blocks(storage: Reader, id: string): AsyncGenerator<Match> {
  for await (const batch of storage.range(blocksOf(id))) {
    for (const [key, value] of batch) {
      const found = match(key, value)
      if (found !== undefined) yield found
    }
  }
}
