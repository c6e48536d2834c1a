// What an operator can do to queued mail: for one message, or for all that match. Each block is taken out of the
// scheduler's hands first, after a delivery that is under way; what is done is durable, logged and traced.

import type { QueueFilter, QueueListing, QueueMessage, QueueProgress } from '../control/contract.ts'
import { PosthornError } from '../errors.ts'
import type { Op } from '../storage/contract.ts'
import type { Active } from './active.ts'
import { type Desk, finish, removeMessage } from './desk.ts'
import { unknownMessage } from './errors.ts'
import { messageKey } from './keys.ts'
import { type LaneState, laneStates } from './lane-table.ts'
import { blocks, inSteps, Listing, type Match } from './listing.ts'
import { wantsReport, withAttempt } from './outcome.ts'
import { type Part, partition, replaceBlock } from './partition.ts'
import { storePause } from './pauses.ts'
import { type Block, decodeBlock, decodeMessage, type Pin } from './records.ts'
import type { Scheduler } from './scheduler.ts'

export type QueueAction =
  /** Due now; lanes that back off try again. */
  | { readonly kind: 'retry' }
  | { readonly kind: 'hold'; readonly reason?: string }
  /** Held mail is due now; the time in hold does not count for its age. */
  | { readonly kind: 'release' }
  /** Fails now, and the sender is told. */
  | { readonly kind: 'bounce'; readonly reason?: string }
  /** Gone, and nobody is told. */
  | { readonly kind: 'delete' }
  /** To this plugin, or this lane of it, whatever `route` says; without `to` as `route` says again. */
  | { readonly kind: 'reroute'; readonly to?: Pin }

export interface Applied {
  readonly messages: number
  readonly recipients: number
}

/** Milliseconds between two words of progress: a million messages are thirty thousand steps. */
const tellEvery = 1000

export class Operations {
  readonly #desk: Desk
  readonly #scheduler: Scheduler
  readonly #active: Active
  readonly #written: (block: Block) => void
  readonly #listing: Listing

  constructor(desk: Desk, scheduler: Scheduler, active: Active, written: (block: Block) => void) {
    this.#desk = desk
    this.#scheduler = scheduler
    this.#active = active
    this.#written = written
    this.#listing = new Listing(desk, key => active.sending(key))
  }

  list(filter: QueueFilter = {}): Promise<QueueListing> {
    return this.#listing.list(filter)
  }

  totals() {
    return this.#listing.totals()
  }

  /** Rejects with POSTHORN_QUEUE_UNKNOWN. */
  async show(id: string): Promise<QueueMessage> {
    const message = await this.#listing.show(id)
    if (message === undefined) throw unknownMessage(id)
    return message
  }

  lanes(): LaneState[] {
    return laneStates(this.#desk, this.#scheduler)
  }

  /** Nothing of the lane is delivered until it is resumed, restarts included. */
  async pauseLane(name: string, reason: string): Promise<void> {
    const pause = { since: this.#desk.clock.now(), reason }
    await storePause(this.#desk.storage, name, pause)
    this.#scheduler.pause(name, pause)
    this.#desk.log.warn({ lane: name, reason }, 'lane paused')
  }

  async resumeLane(name: string): Promise<void> {
    await storePause(this.#desk.storage, name, undefined)
    this.#scheduler.pause(name, undefined)
    this.#scheduler.nudge(this.#scheduler.lane(name))
    this.#desk.log.warn({ lane: name }, 'lane resumed')
  }

  /** Rejects with POSTHORN_QUEUE_UNKNOWN. */
  async apply(action: QueueAction, id: string): Promise<Applied> {
    if ((await this.#desk.storage.get(messageKey(id))) === undefined) throw unknownMessage(id)
    const found: Match[] = []
    for await (const match of blocks(this.#desk.storage, id)) found.push(match)
    return this.#all(action, inSteps(found), { messages: 0, recipients: 0 })
  }

  /** To all that match as of now. `progress`: how far it is, once a second. */
  applyAll(action: QueueAction, filter: QueueFilter, progress?: (at: QueueProgress) => void): Promise<Applied> {
    const { limit: _, ...whole } = filter
    const { clock } = this.#desk
    const all = this.#listing.toSee(whole)
    const done = { messages: 0, recipients: 0 }
    let seen = 0
    let told = clock.monotonic()
    const looked = (recipients: number) => {
      seen += recipients
      if (progress === undefined || clock.monotonic() - told < tellEvery) return
      told = clock.monotonic()
      // What came in meanwhile is looked at too.
      progress({ recipients: done.recipients, seen, ...(all !== undefined && { of: Math.max(all, seen) }) })
    }
    return this.#all(action, this.#listing.matches(whole, looked), done)
  }

  /** Counts in `done` as it goes. */
  async #all(
    action: QueueAction,
    steps: AsyncIterable<readonly Match[]> | Iterable<readonly Match[]>,
    done: { messages: number; recipients: number },
  ): Promise<Applied> {
    let last: string | undefined
    for await (const step of steps) {
      const counts = await Promise.all(step.map(match => this.#one(action, match)))
      for (const [i, count] of counts.entries()) {
        if (count === 0) continue
        done.recipients += count
        if (step[i]?.block.id !== last) done.messages++
        last = step[i]?.block.id
      }
    }
    return done
  }

  /** How many recipients it was done to. */
  async #one(action: QueueAction, { key, block: seen }: Match): Promise<number> {
    const lane = this.#scheduler.lane(seen.lane)
    if (seen.status === 'queued' && !this.#desk.leases.owns(lane.shard)) throw elsewhere(seen.lane, lane.shard)
    const { done, left } = await this.#claimed(action, key, seen)
    // Only now may the scheduler have it again.
    for (const block of left) this.#written(block)
    if (action.kind === 'retry' || action.kind === 'reroute') this.#scheduler.nudge(lane)
    return done
  }

  async #claimed(action: QueueAction, key: string, seen: Block): Promise<{ done: number; left: readonly Block[] }> {
    const { storage, journal, tally, clock, log, trace } = this.#desk
    using _claim = await this.#active.claim(key)
    const value = await storage.get(key)
    if (value === undefined) return { done: 0, left: [] }
    const block = decodeBlock(seen.id, seen.n, value)
    const parts = this.#parts(action, block, clock.now())
    if (parts === undefined) return { done: 0, left: [block] }
    const next = partition(plain(action, block), parts)
    const ops: Op[] = replaceBlock(block, next)
    const record = next.length === 0 ? await this.#record(block.id) : undefined
    if (record !== undefined && block.solo) {
      removeMessage(record, this.#desk.blobs, ops, this.#desk.generation().config.queue, true)
    }
    // Nobody may have changed it meanwhile, here or on another node.
    if (!(await journal.write(ops, false, { key, equals: value }))) return { done: 0, left: [block] }
    tally.replace(block, next)
    if (next.length === 0 && block.solo) tally.messages--
    else if (record !== undefined) await finish(this.#desk, record)
    const reason = 'reason' in action && action.reason !== undefined ? action.reason : 'by the operator'
    log.warn(
      { id: block.id, recipients: block.recipients.length, action: action.kind, reason },
      'an operator changed queued mail',
    )
    trace.append(block.id, [
      { at: clock.now(), stage: 'operator', verdict: action.kind, reason, count: block.recipients.length },
    ])
    return { done: block.recipients.length, left: next }
  }

  /** What becomes of a block; `undefined`: it is not for such blocks. */
  #parts(action: QueueAction, block: Block, now: number): Part[] | undefined {
    const { recipients, status } = block
    if (status === 'report') return undefined
    switch (action.kind) {
      case 'retry':
        return status === 'queued' ? [{ recipients, at: now }] : undefined
      case 'hold':
        if (status !== 'queued') return undefined
        return [{ recipients, status: 'held', at: now, reason: action.reason ?? 'held by the operator' }]
      case 'release': {
        if (status !== 'held') return undefined
        return [{ recipients, status: 'queued', at: now, waited: block.waited + now - block.at }]
      }
      case 'bounce': {
        const text = action.reason ?? 'removed from the queue by the operator'
        const failed = recipients
          .map(r => withAttempt(r, { at: now, lane: block.lane, kind: 'reject', code: 550, enhanced: '5.7.0', text }))
          .map(r => ({ ...r, action: 'failed' as const }))
          .filter(r => block.from !== '' && wantsReport(nobody, r.notify, 'failed'))
        return [{ recipients: failed, status: 'report', at: now }]
      }
      case 'delete':
        return []
      case 'reroute': {
        return [{ recipients, at: status === 'queued' ? now : block.at, ...(action.to && { pin: action.to }) }]
      }
    }
  }

  async #record(id: string) {
    const value = await this.#desk.storage.get(messageKey(id))
    return value && decodeMessage(id, value)
  }
}

/** The block without what the action takes off it. */
function plain(action: QueueAction, block: Block): Block {
  if (action.kind === 'reroute') {
    const { pin: _, ...rest } = block
    return rest
  }
  if (action.kind !== 'release') return block
  const { reason: _, bounce: __, ...rest } = block
  return rest
}

// Any reverse-path but the null one: only that it is there counts.
const nobody = { local: '', domain: '', raw: '' }

const elsewhere = (lane: string, shard: number) =>
  new PosthornError('POSTHORN_QUEUE_ELSEWHERE', `lane ${lane} (shard ${shard}) is served by another node`, {
    fix: 'Run the command on the node that `posthorn queue lanes` names for it.',
  })
