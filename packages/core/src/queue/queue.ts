// The durable queue: takes what was accepted, in one durable batch with everything that belongs to it, and sees to it
// that each recipient is delivered, reported on, or visibly held. Its parts meet here, and nowhere else.
import type { Generation } from '../boot/contract.ts'
import type { Clock } from '../clock.ts'
import type { DeliveryTarget, Outcome, Queued } from '../delivery.ts'
import { Timers } from '../hooks/timers.ts'
import type { Log } from '../log.ts'
import type { Submission } from '../pipeline/submission.ts'
import type { Blobs, Op, Storage } from '../storage/contract.ts'
import { makeBlocks, messageRecord, type NewBlock } from './accept.ts'
import { Active } from './active.ts'
import { Aging } from './aging.ts'
import { Attempts } from './attempt.ts'
import type { Accepted, QueueIntake, TraceSink } from './contract.ts'
import type { Desk } from './desk.ts'
import { badId, reasonOf } from './errors.ts'
import { HeldBounces } from './held.ts'
import { Journal } from './journal.ts'
import { blockKey, isQueueId, messageKey, parseDueKey } from './keys.ts'
import type { Lane } from './lane.ts'
import { Leases } from './leases.ts'
import { Messages } from './messages.ts'
import { Operations } from './operations.ts'
import { loadPauses } from './pauses.ts'
import { type Block, encodeMessage } from './records.ts'
import { Recovery } from './recovery.ts'
import { Reports } from './reports.ts'
import { Scheduler } from './scheduler.ts'
import { Tally } from './tally.ts'
import { Throttles } from './throttle.ts'
import { Wakeups } from './wakeups.ts'

export interface QueueOptions {
  readonly storage: Storage
  readonly blobs: Blobs
  readonly clock: Clock
  readonly log: Log
  /** The configuration at work: its agents, its limits. */
  readonly generation: () => Generation
  /** Reports go in by it; asked for when the first is due. */
  readonly submission: () => Submission | undefined
  readonly trace: TraceSink
  /** For the `outcome` observers. */
  readonly outcome?: (message: Queued, to: DeliveryTarget, outcome: Outcome, generation: Generation) => void
  /** Seeded in tests. */
  readonly random?: () => number
  /** This node among those that share the store: the same after each restart, another on each machine. */
  readonly node?: string
  /** Other nodes serve the same store: share lanes with them, and watch for what they write. */
  readonly shared?: boolean
  /** Deliveries at once, over all lanes. */
  readonly sends?: number
  readonly shards?: number
  /** Milliseconds that a lease on lanes holds. */
  readonly lease?: number
}

export class Queue implements QueueIntake {
  readonly operations: Operations
  readonly tally = new Tally()
  readonly #options: QueueOptions
  readonly #desk: Desk
  readonly #journal: Journal
  readonly #leases: Leases
  readonly #throttles: Throttles
  readonly #active: Active
  readonly #scheduler: Scheduler
  readonly #reports: Reports
  readonly #held: HeldBounces
  readonly #aging: Aging
  readonly #recovery: Recovery
  readonly #wakeups: Wakeups<Lane>
  #watching: Disposable | undefined
  readonly #attempts: Attempts
  #background: Promise<unknown> = Promise.resolve()
  #started = false

  constructor(options: QueueOptions) {
    this.#options = options
    const { storage, blobs, clock, log, generation, trace } = options
    const shards = options.shards ?? 16
    this.#journal = new Journal(storage, clock, log)
    this.#throttles = new Throttles(clock, () => generation().config.queue.concurrency)
    this.#leases = new Leases({
      storage,
      clock,
      log,
      node: options.node ?? 'posthorn',
      shared: options.shared ?? false,
      shards,
      hold: options.lease ?? 30_000,
      busy: shard => this.#scheduler.lanes.busy(shard),
      gained: gained => this.#gained(new Set(gained)),
      lost: shard => this.#scheduler.lost(shard),
    })
    const desk: Desk = {
      storage,
      blobs,
      clock,
      log,
      generation,
      trace,
      random: options.random ?? Math.random,
      journal: this.#journal,
      leases: this.#leases,
      messages: new Messages(storage, blobs),
      ending: new Set(),
      throttles: this.#throttles,
      timers: new Timers(clock),
      tally: this.tally,
      outcome: options.outcome ?? (() => {}),
      written: block => this.#written(block),
      late: at => this.#reports.note(at),
      rested: id => void this.#reports.rested(id),
    }
    this.#desk = desk
    this.#attempts = new Attempts(desk)
    this.#active = new Active(desk.messages)
    this.#wakeups = new Wakeups<Lane>(clock, lane => this.#scheduler.woken(lane))
    const limits = { sends: options.sends ?? 500, window: 5000, shards }
    this.#scheduler = new Scheduler(desk, this.#active, this.#attempts, limits, (lane, at) =>
      this.#wakeups.set(lane, at),
    )
    this.#reports = new Reports(desk, options.submission, shards)
    this.#held = new HeldBounces(desk, key => this.#active.claim(key))
    this.#aging = new Aging(desk, this.#scheduler)
    this.#recovery = new Recovery(desk, block => this.#written(block))
    this.operations = new Operations(desk, this.#scheduler, this.#active, block => this.#written(block))
  }

  /**
   * Takes the leases and begins to deliver. Resolves before the index was read: new mail need not wait for old mail.
   * Rejects with StorageError where the store cannot be used.
   */
  async start(): Promise<void> {
    const { storage } = this.#options
    this.#recovery.start()
    for (const [lane, pause] of await loadPauses(storage)) this.#scheduler.pause(lane, pause)
    this.#scheduler.start()
    await this.#leases.open()
    this.#started = true
    if (this.#options.shared) {
      this.#watching = storage.watch('d/', key => {
        const due = parseDueKey(key)
        if (due === undefined) return
        this.#scheduler.seen(decodeURIComponent(due.lane), due.rank, key, blockKey(due.id, due.n))
      })
    }
    this.#aging.start()
    this.#held.start()
  }

  /**
   * Begins nothing more, waits for what is under way, and gives the leases back. What is queued stays queued. `within`:
   * milliseconds that deliveries under way may still take; then their signals abort. Default: as long as they take.
   */
  async stop(within = Number.POSITIVE_INFINITY): Promise<void> {
    this.#watching?.[Symbol.dispose]()
    this.#aging.stop()
    this.#held.stop()
    this.#recovery.stop()
    this.#wakeups.stop()
    await this.#reports.stop()
    const patient = within === Number.POSITIVE_INFINITY
    const cancel = patient ? undefined : this.#options.clock.after(within, () => this.#attempts.hurry())
    await this.#scheduler.stop()
    cancel?.()
    await this.#background
    await this.#leases.close()
    this.#journal.close()
  }

  /** After a reload: what had no route may have one now. */
  reloaded(): void {
    this.#scheduler.reloaded()
  }

  async commit(message: Accepted, options: { readonly with?: readonly Op[] } = {}): Promise<void> {
    if (!isQueueId(message.id)) throw badId(message.id)
    const { storage, blobs, clock, log } = this.#options
    const { random, messages } = this.#desk
    const generation = this.#options.generation()
    const release = generation.hold()
    try {
      const record = messageRecord(message)
      const loaded = messages.fresh(record, message.body)
      const ops: Op[] = [
        ...message.body.ops,
        ...blobs.own(message.body.ref, message.id),
        { type: 'put', key: messageKey(message.id), value: encodeMessage(record) },
      ]
      const made = await makeBlocks(message, loaded, { generation, clock, log, random }, ops)
      if (made.length === 0) {
        log.info({ id: message.id }, 'nothing to deliver, and nobody to tell')
        if (options.with !== undefined) await storage.write(options.with)
        return
      }
      for (const { block, key } of made) if (block.status === 'queued') this.#active.reserve(key)
      if (options.with !== undefined) for (const op of options.with) ops.push(op)
      try {
        await storage.write(ops)
      } catch (error) {
        for (const { block, key } of made) if (block.status === 'queued') this.#active.unreserve(key)
        throw error
      }
      this.tally.messages++
      this.tally.accepted++
      for (const one of made) this.#accepted(one, loaded, generation)
    } finally {
      release()
    }
  }

  async knows(id: string): Promise<boolean> {
    return (await this.#options.storage.get(messageKey(id))) !== undefined
  }

  /** Figures for status and metrics. */
  get stats() {
    return { ...this.#scheduler.stats, heldBounces: this.#held.count, blocked: this.#journal.blocked }
  }

  #accepted(made: NewBlock, loaded: Parameters<Scheduler['handOver']>[1], generation: Generation): void {
    const { block, size, key, handed } = made
    this.tally.add(block, size)
    if (block.status === 'queued' && handed) {
      this.#scheduler.handOver(made, loaded, generation)
      return
    }
    if (block.status === 'queued') this.#active.unreserve(key)
    this.#written(block)
  }

  #written(block: Block): void {
    if (block.status === 'queued') this.#scheduler.written(block)
    else if (block.status === 'report') this.#reports.note(block.at)
    else if (block.bounce) this.#held.note()
  }

  #gained(shards: ReadonlySet<number>): void {
    const look = async () => {
      try {
        await this.#scheduler.discover(shards)
        this.#reports.note(0)
      } catch (error) {
        this.#options.log.error({ error: reasonOf(error) }, 'the queue could not be looked through; trying again')
        this.#options.clock.after(5000, () => this.#gained(shards))
      }
    }
    this.#background = Promise.all([this.#background, look()])
  }

  get started(): boolean {
    return this.#started
  }
}
