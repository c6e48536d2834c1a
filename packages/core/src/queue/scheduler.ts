// Which block goes next. Lanes that may have something to do stand in a ring and are served in turn; the others wait
// for a time, a free slot, or an operator. Memory holds a window of each lane, the index knows the rest.

import type { Generation } from '../boot/contract.ts'
import type { NewBlock } from './accept.ts'
import type { Active } from './active.ts'
import type { After, Attempts } from './attempt.ts'
import type { Desk } from './desk.ts'
import { Discovery } from './discovery.ts'
import { Entry } from './entry.ts'
import { reasonOf } from './errors.ts'
import { Fifo } from './fifo.ts'
import { blockKey, rankOf } from './keys.ts'
import type { Lane, Pause } from './lane.ts'
import { hasPolicy } from './lane-policy.ts'
import { Lanes } from './lanes.ts'
import type { Loaded } from './messages.ts'
import { indexKey } from './partition.ts'
import type { Block } from './records.ts'
import { type Found, scanLane } from './scan.ts'

export interface SchedulerOptions {
  /** Deliveries at once, over all lanes. */
  readonly sends: number
  /** Entries read from the index that may wait in memory, over all lanes. */
  readonly window: number
  readonly shards: number
}

const laneWindow = 256
const scansAtOnce = 64
/** Milliseconds until what could not be read is looked at again. */
const rereadAfter = 5000
/** Lanes in memory; beyond it those that only wait for a time are forgotten and found again by a look at the index. */
const mostLanes = 200_000
const rediscoverAfter = 60_000

export class Scheduler {
  readonly #desk: Desk
  readonly #attempts: Attempts
  readonly #options: SchedulerOptions
  readonly lanes: Lanes
  readonly #active: Active
  readonly #ring = new Fifo<Lane>()
  readonly #wake: (lane: Lane, at: number) => void
  #sends = 0
  #scans = 0
  #stopped = true
  #pumping = false
  #forgot = false
  #idle: (() => void)[] = []
  readonly #discovery: Discovery

  constructor(
    desk: Desk,
    active: Active,
    attempts: Attempts,
    options: SchedulerOptions,
    wake: (lane: Lane, at: number) => void,
  ) {
    this.#desk = desk
    this.#active = active
    this.#attempts = attempts
    this.#options = options
    this.lanes = new Lanes(options.shards)
    this.#wake = wake
    this.#discovery = new Discovery(desk, active, this.lanes, {
      take: (lane, found, now) => {
        const room = active.indexed < options.window && lane.indexed < laneWindow
        if (found.due > now || !room || lane.failures > 0) lane.note(found.rank, found.key)
        else this.#take(lane, found)
      },
      arouse: lane => this.#arouse(lane),
    })
    desk.journal.resumed = () => this.#pump()
  }

  get stats() {
    return {
      sends: this.#sends,
      lanes: this.lanes.size,
      indexed: this.#active.indexed,
      handed: this.#active.handed,
      handedBytes: this.#active.handedBytes,
      active: this.#active.size,
    }
  }

  start(): void {
    this.#stopped = false
    this.#pump()
  }

  /** Begins nothing more; resolves when what was begun has ended. */
  stop(): Promise<void> {
    this.#stopped = true
    this.#discovery.stop()
    if (this.#sends === 0) return Promise.resolve()
    return new Promise(resolve => this.#idle.push(resolve))
  }

  lane(name: string): Lane {
    return this.lanes.of(name)
  }

  /** The shard is another node's now: forget its lanes. */
  lost(shard: number): void {
    for (const lane of this.lanes.values()) {
      if (lane.shard !== shard) continue
      this.#evict(lane)
      lane.takeLows()
      if (lane.inflight === 0) this.lanes.delete(lane.name)
    }
  }

  /** Looks through the index for lanes of the shards, in the background of everything else. */
  discover(shards: ReadonlySet<number> | undefined): Promise<void> {
    return this.#discovery.run(shards)
  }

  /** A block just accepted and durable: kept in memory where there is room, else found through the index. */
  handOver({ block, routes, key, index }: NewBlock, message: Loaded, generation: Generation): void {
    const lane = this.lane(block.lane)
    const bytes = (message.body.bytes?.length ?? 0) + 1024 + block.recipients.length * 512
    const room =
      !this.#stopped &&
      this.#desk.leases.owns(lane.shard) &&
      lane.pause === undefined &&
      lane.failures === 0 &&
      this.#active.hasRoom(lane, bytes, generation.config.queue)
    if (!room) {
      this.#active.unreserve(key)
      this.written(block, index)
      return
    }
    const entry = new Entry(lane, key, index, block.id, block.n, rankOf(block.priority), block.sender, bytes)
    entry.block = block
    entry.message = this.#desk.messages.hold(message)
    entry.routes = routes
    entry.routedBy = generation.number
    this.#active.add(entry)
    lane.push(entry)
    this.#arouse(lane)
  }

  /** A block that waits in the index. */
  written(block: Block, index = indexKey(block)): void {
    const lane = this.lane(block.lane)
    if (!this.#desk.leases.owns(lane.shard)) {
      this.#forget(lane)
      return
    }
    lane.note(rankOf(block.priority), index)
    this.#arouse(lane)
  }

  /** Another node wrote into the index of a lane that may be ours. */
  seen(name: string, rank: number, key: string, block: string): void {
    if (this.#active.has(block) || !this.#desk.leases.owns(this.lanes.shard(name))) return
    const lane = this.lane(name)
    lane.note(rank, key)
    this.#arouse(lane)
  }

  pause(name: string, pause: Pause | undefined): void {
    const lane = this.lanes.pause(name, pause)
    if (pause !== undefined) this.#evict(lane)
    this.#arouse(lane)
  }

  /** Ends a back-off: an operator knows better. */
  nudge(lane: Lane): void {
    lane.alive()
    this.#arouse(lane)
  }

  /**
   * A new configuration may have routes for what had none, and none for what had one: such mail is routed again now,
   * not hours later when it falls due, so that the alarm comes while the reload is still in mind.
   */
  reloaded(): void {
    const plugins = new Set(this.#desk.generation().plan.agents.map(({ plugin }) => plugin))
    for (const lane of this.lanes.values()) {
      if (plugins.has(lane.plugin)) continue
      lane.lookAgain()
      this.nudge(lane)
    }
    this.#pump()
  }

  /** The lane may have something to do now. */
  #arouse(lane: Lane): void {
    if (!lane.ready) {
      lane.ready = true
      this.#ring.push(lane)
    }
    this.#pump()
  }

  woken(lane: Lane): void {
    this.#arouse(lane)
  }

  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    while (!this.#stopped && !this.#desk.journal.blocked && this.#sends < this.#options.sends) {
      const lane = this.#ring.shift()
      if (lane === undefined) break
      lane.ready = false
      this.#serve(lane)
    }
    this.#pumping = false
  }

  /** Begins one delivery of the lane, if it may; puts the lane back where it may have more. */
  #serve(lane: Lane): void {
    const { clock, leases } = this.#desk
    if (lane.pause !== undefined) return
    if (!leases.owns(lane.shard)) {
      this.#forget(lane)
      return
    }
    const now = clock.now()
    if (lane.blockedUntil > now) {
      this.#wake(lane, lane.blockedUntil)
      return
    }
    if (!hasPolicy(lane, this.#desk, () => this.#arouse(lane))) return
    const most = Math.min(lane.slots, lane.policy?.concurrency ?? 1)
    // A delivery that ends puts the lane back.
    if (lane.inflight >= most) return
    if (lane.indexed === 0 && !lane.scanning && lane.nextDue <= now && this.#scans < scansAtOnce) this.#scan(lane, now)
    if (lane.waiting === 0) {
      if (lane.scanning) return
      const due = lane.nextDue
      if (due <= now) this.#lateScan.push(lane)
      else if (due < Infinity) this.#await(lane, due)
      else this.#forget(lane)
      return
    }
    const wait = lane.takeToken(now)
    if (wait > 0) {
      this.#wake(lane, now + wait)
      return
    }
    const entry = lane.next()
    if (entry !== undefined) this.#begin(entry, lane)
    if (!lane.ready) {
      lane.ready = true
      this.#ring.push(lane)
    }
  }

  readonly #lateScan = new Fifo<Lane>()

  #await(lane: Lane, due: number): void {
    if (this.lanes.size > mostLanes && lane.failures === 0 && lane.inflight === 0) {
      this.lanes.delete(lane.name)
      if (this.#forgot) return
      this.#forgot = true
      this.#desk.clock.after(rediscoverAfter, () => {
        this.#forgot = false
        void this.discover(undefined).catch(error => this.#cannotRead(error))
      })
      return
    }
    this.#wake(lane, due)
  }

  #scan(lane: Lane, now: number): void {
    lane.scanning = true
    this.#scans++
    const room = Math.max(1, Math.min(laneWindow, this.#options.window - this.#active.indexed))
    void this.#refill(lane, now, room)
      .catch(error => {
        this.#cannotRead(error)
        lane.blockedUntil = Math.max(lane.blockedUntil, this.#desk.clock.now() + rereadAfter)
      })
      .finally(() => {
        lane.scanning = false
        this.#scans--
        const late = this.#lateScan.shift()
        if (late !== undefined) this.#arouse(late)
        this.#arouse(lane)
      })
  }

  async #refill(lane: Lane, now: number, room: number): Promise<void> {
    for await (const found of scanLane(this.#desk.storage, lane, now, room)) this.#take(lane, found)
  }

  /** An entry of the index: into the lane's window, unless it is in memory already. */
  #take(lane: Lane, found: Found): void {
    const key = blockKey(found.id, found.n)
    if (this.#active.has(key) || this.#attempts.broken(key)) return
    if (lane.pause !== undefined || !this.#desk.leases.owns(lane.shard)) {
      lane.note(found.rank, found.key)
      return
    }
    const entry = new Entry(lane, key, found.key, found.id, found.n, found.rank, found.sender, 0)
    this.#active.add(entry)
    lane.push(entry)
  }

  /** Fails a block without a try; used where its lane does not answer and it grew too old. */
  expire(lane: Lane, index: string, id: string, n: number, rank: number, sender: string): Promise<void> {
    const key = blockKey(id, n)
    if (this.#active.has(key) || this.#stopped) return Promise.resolve()
    const entry = new Entry(lane, key, index, id, n, rank, sender, 0)
    entry.expired = true
    this.#active.add(entry)
    this.#begin(entry, lane)
    return entry.whenOver()
  }

  #begin(entry: Entry, lane: Lane): void {
    entry.state = 'busy'
    this.#sends++
    lane.inflight++
    // Never rejects.
    void this.#attempts.run(entry, lane).then(after => this.#ended(entry, lane, after))
  }

  #ended(entry: Entry, lane: Lane, after: After): void {
    this.#sends--
    lane.inflight--
    const { left } = entry
    entry.left = []
    if (lane.failures > 0) this.#evict(lane)
    if (after === 'again' && lane.failures === 0 && lane.pause === undefined && !this.#stopped) {
      entry.state = 'waiting'
      lane.push(entry)
    } else {
      const { id } = entry
      const shared = entry.block?.solo === false
      if (after !== 'gone') lane.note(entry.rank, entry.index)
      if (after === 'later') lane.blockedUntil = Math.max(lane.blockedUntil, this.#desk.clock.now() + rereadAfter)
      this.#active.end(entry)
      this.#discovery.ended()
      if (shared && !this.#desk.messages.active(id)) this.#desk.rested(id)
    }
    for (const block of left) this.#desk.written(block)
    // A reload came between: it may have a route for what just had none.
    const { routedBy } = entry
    if (lane.plugin === '' && routedBy > 0 && routedBy !== this.#desk.generation().number) lane.lookAgain()
    if (this.#stopped && this.#sends === 0) {
      const told = this.#idle
      this.#idle = []
      for (const tell of told) tell()
    }
    this.#arouse(lane)
  }

  /** Back to the index with all that waits: the lane does not move. */
  #evict(lane: Lane): void {
    for (let entry = lane.next(); entry !== undefined; entry = lane.next()) {
      this.#active.end(entry)
    }
  }

  #forget(lane: Lane): void {
    if (lane.idle && !lane.ready) this.lanes.delete(lane.name)
  }

  #cannotRead(error: unknown): void {
    this.#desk.log.error({ error: reasonOf(error) }, 'the index of the queue cannot be read; trying again')
  }
}
