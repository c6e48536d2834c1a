// One attempt at a block: read it where it is not in memory, ask for the route, send, and write what came of it.
import type { Generation } from '../boot/contract.ts'
import type { Outcome } from '../delivery.ts'
import { Roster } from '../roster.ts'
import { type Op, StorageError } from '../storage/contract.ts'
import { type Desk, delayedAt, removeMessage } from './desk.ts'
import type { Entry } from './entry.ts'
import { reasonOf } from './errors.ts'
import { delayKey, unrouted } from './keys.ts'
import type { Lane } from './lane.ts'
import type { Loaded } from './messages.ts'
import { type Fate, isDelivered, type Settled, settle, wantsReport } from './outcome.ts'
import { indexKey, losable, type Part, partition, replaceBlock } from './partition.ts'
import { type Block, decodeBlock, type RecipientRecord } from './records.ts'
import type { Policy } from './retry.ts'
import { type Routed, routeTarget } from './routing.ts'
import { isFault, Sending, targetOf } from './sending.ts'
import { tell } from './telling.ts'

/** What the scheduler does with the entry: `again`: it goes on behind others; `later`: the store could not be read. */
export type After = 'gone' | 'again' | 'later'

/** Milliseconds that a block waits whose delivery found no free slot. */
const throttledFor = 5000

export class Attempts {
  readonly #desk: Desk
  /** Records that cannot be read: told of once, left alone until a person looks. */
  readonly #broken = new Set<string>()
  /** By the record's key. */
  readonly #sendings = new Roster<Sending>()
  #alarmedAt = Number.NEGATIVE_INFINITY

  constructor(desk: Desk) {
    this.#desk = desk
  }

  broken(key: string): boolean {
    return this.#broken.has(key)
  }

  /** The server stops: deliveries under way are told to end, and soon taken as ended. */
  hurry(): void {
    for (const sending of this.#sendings.values()) sending.hurry()
  }

  /** Never rejects. */
  async run(entry: Entry, lane: Lane): Promise<After> {
    const generation = this.#desk.generation()
    const release = generation.hold()
    let sending = false
    try {
      if (entry.block === undefined) {
        const read = await this.#read(entry)
        if (read !== undefined) return read
      }
      const block = entry.block as Block
      const message = entry.message as Loaded
      if (entry.expired)
        return await this.#settled(entry, message, block.recipients, expiry(block, lane), lane, generation)
      if (entry.routedBy !== generation.number) await this.#route(entry, block, message, generation)
      const routes = entry.routes as ReadonlyMap<string, Routed>
      const moved = this.#moved(block, routes)
      if (moved !== undefined) return await this.#write(entry, message, moved, generation)
      const refused = block.recipients.filter(r => routes.get(r.id)?.outcome !== undefined)
      if (refused.length > 0) {
        const lost = refused.filter(r => routes.get(r.id)?.entry === undefined)
        if (lost.length > 0) this.#alarm()
        // Only looked at because of a reload, which brought no route: that is no attempt.
        if (block.at > this.#desk.clock.now() && lost.length === block.recipients.length) {
          entry.left = [block]
          return 'gone'
        }
        const outcomes = new Map(refused.map(r => [r.id, routes.get(r.id)?.outcome as Outcome]))
        const by = routes.get(refused[0]?.id ?? '')?.entry?.plugin
        return await this.#settled(entry, message, refused, outcomes, lane, generation, 0, by)
      }
      sending = true
      return await this.#send(entry, message, lane, generation, release)
    } catch (error) {
      this.#desk.log.error({ id: entry.id, lane: lane.name, error: reasonOf(error) }, 'a delivery could not begin')
      const { block } = entry
      // The store may recover; what is wrong with the message itself will not, and must not stop its lane.
      if (block === undefined || (error instanceof StorageError && error.kind !== 'corrupt')) return 'later'
      return this.#setAside(entry, block, reasonOf(error))
    } finally {
      if (!sending) release()
    }
  }

  /** Somebody must be told that mail has nowhere to go: it waits, it is never bounced for that. */
  #alarm(): void {
    const now = this.#desk.clock.monotonic()
    if (now - this.#alarmedAt < 60_000) return
    this.#alarmedAt = now
    const text =
      'mail has no route and waits: no plugin claims its recipients, or one failed; see `posthorn queue lanes`'
    this.#desk.log.error({ lane: unrouted }, text)
  }

  async #read(entry: Entry): Promise<After | undefined> {
    const { storage, messages, journal, leases, log } = this.#desk
    let block: Block | undefined
    try {
      const value = await storage.get(entry.key)
      block = value && decodeBlock(entry.id, entry.n, value)
    } catch (error) {
      if (error instanceof StorageError && error.kind !== 'corrupt') return 'later'
      this.#broken.add(entry.key)
      log.error(
        { id: entry.id, key: entry.key, error: reasonOf(error) },
        'a queue record cannot be read; run posthorn fsck',
      )
      return 'gone'
    }
    if (block === undefined || indexKey(block) !== entry.index) {
      // An index key that outlived its block: what it stood for is done, or stands elsewhere.
      await journal.write([{ type: 'del', key: entry.index }], true, leases.fence(entry.lane.shard))
      // Where it stands may have been read, and passed over, while this entry stood for it.
      if (block !== undefined) entry.left = [block]
      return 'gone'
    }
    try {
      entry.message = await messages.load(entry.id)
    } catch (error) {
      if (error instanceof StorageError && error.kind !== 'corrupt') return 'later'
      return this.#setAside(entry, block, reasonOf(error))
    }
    if (entry.message === undefined) return this.#setAside(entry, block, 'its message record is missing')
    entry.block = block
    return undefined
  }

  /** Without its message nothing can be sent; a person must see it. */
  async #setAside(entry: Entry, block: Block, reason: string): Promise<After> {
    const { clock, log, journal, leases, tally } = this.#desk
    log.error({ id: block.id, reason, recipients: block.recipients.length }, 'mail cannot be delivered and is held')
    const held: Block = { ...block, status: 'held', at: clock.now(), reason }
    const written = await journal.write(replaceBlock(block, [held]), false, leases.fence(entry.lane.shard))
    if (written) tally.replace(block, [held])
    return 'gone'
  }

  async #route(entry: Entry, block: Block, message: Loaded, generation: Generation): Promise<void> {
    const { clock, log } = this.#desk
    const context = { agents: generation.plan.agents, clock, log }
    const queued = message.variant(block.variant)
    const routes = new Map<string, Routed>()
    for (const recipient of block.recipients) {
      const answer = routeTarget(targetOf(recipient), queued, block.pin, context)
      routes.set(recipient.id, answer instanceof Promise ? await answer : answer)
    }
    entry.routes = routes
    entry.routedBy = generation.number
  }

  /** Recipients whose lane is another one now: they move in one batch, and it is no attempt. */
  #moved(block: Block, routes: ReadonlyMap<string, Routed>): Block[] | undefined {
    const staying: RecipientRecord[] = []
    const moving = new Map<string, RecipientRecord[]>()
    for (const recipient of block.recipients) {
      const routed = routes.get(recipient.id)
      // An agent's own refusal is an outcome, wherever the recipient is.
      const refused = routed?.outcome !== undefined && routed.entry !== undefined
      if (routed === undefined || refused || routed.lane === block.lane) staying.push(recipient)
      else moving.set(routed.lane, [...(moving.get(routed.lane) ?? []), recipient])
    }
    if (moving.size === 0) return undefined
    const parts: Part[] = [{ recipients: staying }]
    const now = this.#desk.clock.now()
    for (const [lane, recipients] of moving) parts.push({ lane, recipients, at: now })
    return partition(block, parts)
  }

  async #send(entry: Entry, message: Loaded, lane: Lane, generation: Generation, release: () => void): Promise<After> {
    const { clock, timers, log, throttles } = this.#desk
    const block = entry.block as Block
    const chosen = choose(
      block.recipients,
      entry.routes as ReadonlyMap<string, Routed>,
      lane.policy?.maxRecipients ?? 1,
    )
    const { entry: agent, route } = chosen.routed
    if (agent === undefined || route === undefined) {
      release()
      return 'gone'
    }
    const targets = chosen.recipients.map(recipient => targetOf(recipient))
    const sending = new Sending(targets, { clock, timers, log, throttles, retired: generation.retired })
    let interim: Promise<unknown> | undefined
    if (targets.length > 1) {
      let scheduled = false
      sending.reported = () => {
        if (scheduled) return
        scheduled = true
        setImmediate(() => {
          const written = this.#interim(entry, message, sending)
          interim = written?.finally(() => {
            scheduled = false
          })
          if (interim === undefined) scheduled = false
        })
      }
    }
    const began = clock.now()
    this.#sendings.set(entry.key, sending)
    const sent = await sending.run(agent, message.variant(block.variant), route, release)
    this.#sendings.delete(entry.key)
    sending.reported = undefined
    const ms = clock.now() - began
    if (interim !== undefined) await interim
    const tried = chosen.recipients.filter(recipient => sent.outcomes.has(recipient.id))
    this.#judge(lane, sent.outcomes, sent.keys, began)
    if (sent.throttled && tried.length === 0) return this.#throttled(entry, message, generation)
    return this.#settled(entry, message, tried, sent.outcomes, lane, generation, ms, agent.plugin)
  }

  /** Stores what is known while others of the same `send` are still under way: a crash then repeats less. */
  #interim(entry: Entry, message: Loaded, sending: Sending): Promise<unknown> | undefined {
    const block = entry.block
    if (block === undefined || sending.reported === undefined) return undefined
    const { from } = message.record.variants[block.variant] ?? { from: null }
    const left = block.recipients.filter(recipient => {
      const outcome = sending.outcomes.get(recipient.id)
      if (outcome === undefined || !isDelivered(outcome)) return true
      return outcome.noReport !== true && wantsReport(from, recipient.notify, outcome.kind)
    })
    if (left.length === block.recipients.length || left.length === 0) return undefined
    const ops = replaceBlock(block, [{ ...block, recipients: left }])
    return this.#desk.journal.write(ops, true, this.#desk.leases.fence(entry.lane.shard))
  }

  /** No slot came: not an attempt, but others shall have their turn first. */
  #throttled(entry: Entry, message: Loaded, generation: Generation): Promise<After> {
    const block = entry.block as Block
    const at = this.#desk.clock.now() + Math.round(throttledFor * (1 + this.#desk.random()))
    return this.#write(entry, message, [{ ...block, at }], generation)
  }

  /** What the outcomes say of the lane, and of the keys that the delivery was throttled by. */
  #judge(lane: Lane, outcomes: ReadonlyMap<string, Outcome>, keys: readonly string[], began: number): void {
    const { clock, random, throttles } = this.#desk
    let answered = false
    for (const outcome of outcomes.values()) {
      if ((outcome.kind === 'defer' || outcome.kind === 'reject') && outcome.scope === 'lane') {
        const reason = outcome.reason ?? outcome.text
        lane.failed(began, clock.now(), reason, outcome.retryAfter, random())
        return
      }
      if (!isFault(outcome)) answered = true
    }
    if (!answered) return
    lane.alive()
    for (const key of keys) throttles.alive(key)
  }

  async #settled(
    entry: Entry,
    message: Loaded,
    tried: readonly RecipientRecord[],
    outcomes: ReadonlyMap<string, Outcome>,
    lane: Lane,
    generation: Generation,
    ms = 0,
    plugin: string | undefined = undefined,
  ): Promise<After> {
    const { clock, random } = this.#desk
    const block = entry.block as Block
    const { queue } = generation.config
    const from = message.record.variants[block.variant]?.from ?? null
    const policy = lane.policy as Policy
    const gather = block.solo ? 0 : queue.gather
    const result = settle(block, tried, outcomes, { now: clock.now(), from, policy, gather, random })
    tell(this.#desk, block, result, {
      ms,
      plugin,
      generation,
      message: message.variant(block.variant),
      lane: lane.name,
    })
    count(this.#desk.tally.done, result)
    return this.#write(entry, message, result.next, generation, true)
  }

  async #write(
    entry: Entry,
    message: Loaded,
    next: readonly Block[],
    generation: Generation,
    attempted = false,
  ): Promise<After> {
    const { clock, blobs, journal, leases, tally, late } = this.#desk
    const { queue } = generation.config
    const block = entry.block as Block
    const { record } = message
    const ops: Op[] = replaceBlock(block, next, entry)
    let relaxed = losable(block, next)
    let marked = false
    if (next.length === 0 && block.solo) {
      removeMessage(record, blobs, ops, queue, block.recipients[0]?.tries !== 0)
      relaxed = record.body.inline
    } else if (attempted) marked = markDelay(block, next, record.variants[block.variant]?.from ?? null, queue, ops)
    if (!(await journal.write(ops, relaxed, leases.fence(entry.lane.shard)))) return 'gone'
    tally.replace(block, next)
    if (next.length === 0 && block.solo) tally.messages--
    if (marked) late(delayedAt(block.received, queue))
    let after: After = 'gone'
    const now = clock.now()
    const left: Block[] = []
    for (const one of next) {
      if (one.n === entry.n && one.status === 'queued' && one.lane === block.lane && one.at <= now) {
        entry.block = one
        entry.index = indexKey(one)
        after = 'again'
      } else left.push(one)
    }
    entry.left = left
    return after
  }
}

/** The recipients that one `send` takes: the first, and those with the same route after it. */
function choose(
  recipients: readonly RecipientRecord[],
  routes: ReadonlyMap<string, Routed>,
  most: number,
): { recipients: readonly RecipientRecord[]; routed: Routed } {
  const routed = routes.get((recipients[0] as RecipientRecord).id) as Routed
  if (recipients.length === 1) return { recipients, routed }
  const data = JSON.stringify(routed.route?.data)
  const chosen: RecipientRecord[] = []
  for (const recipient of recipients) {
    const other = routes.get(recipient.id)
    if (other?.entry !== routed.entry) continue
    if (other?.route !== routed.route && JSON.stringify(other?.route?.data) !== data) continue
    chosen.push(recipient)
    if (chosen.length === most) break
  }
  return { recipients: chosen, routed }
}

/** Every recipient of a block that grew too old while its lane did not answer. */
function expiry(block: Block, lane: Lane): Map<string, Outcome> {
  const text = lane.reason ?? 'delivery time expired'
  const outcome: Outcome = { kind: 'defer', code: 451, enhanced: '4.4.7', text, scope: 'recipient' }
  return new Map(block.recipients.map(recipient => [recipient.id, outcome]))
}

/** Notes that senders may be owed a delay report, with the retry that goes past its time; whether it did. */
function markDelay(
  before: Block,
  next: readonly Block[],
  from: Parameters<typeof wantsReport>[0],
  queue: Parameters<typeof delayedAt>[1],
  ops: Op[],
): boolean {
  for (const block of next) {
    if (block.status !== 'queued') continue
    const due = delayedAt(block.received, queue)
    if (before.at >= due || block.at < due) continue
    if (!block.recipients.some(r => wantsReport(from, r.notify, 'delayed'))) continue
    ops.push({ type: 'put', key: delayKey(due, block.id), value: new Uint8Array(0) })
    return true
  }
  return false
}

function count(done: Record<Fate, number>, { fates }: Settled): void {
  for (const { fate } of fates) done[fate]++
}
