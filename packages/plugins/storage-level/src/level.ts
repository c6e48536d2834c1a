// Storage on LevelDB: group commit. One group is in flight; who writes meanwhile forms the next. Recovery is in recovery.ts.
import {
  type Awaitable,
  assertKey,
  type Clock,
  dooms,
  type Entry,
  type Log,
  type Op,
  type Range,
  type Storage,
  StorageError,
  silentLog,
  systemClock,
  type Tx,
  type WriteOptions,
} from '@posthorn/core'
import { Debt } from './compaction.ts'
import { Conditions } from './conditions.ts'
import { type Database, openDatabase, stepEntries, stepOctets } from './database.ts'
import { Group } from './group.ts'
import { Recovery } from './recovery.ts'
import { Scopes } from './scopes.ts'
import { defaultReserve, Space, troubleOf } from './trouble.ts'
import { flaw, payload } from './value.ts'
import { Watchers } from './watchers.ts'

/** Larger octets belong in Blobs; LevelDB holds several copies of a value while writing it. */
const maxValue = 64 * 1024 * 1024

export interface LevelOptions {
  /** The folder of the database. */
  readonly path: string
  /** Octets of the disk that are left free; default three write buffers and 64 MB, what reopening may need. */
  readonly free?: number
  readonly clock?: Clock
  readonly log?: Log
  /** Told of each group that was synced, and how many milliseconds that took. */
  readonly synced?: (ms: number) => void
}

/** Counted since the store was opened. */
export interface StoreStats {
  /** Groups written, of which synced. */
  groups: number
  syncs: number
  batches: number
  octets: number
  /** Milliseconds the last group took, and the longest one. */
  lastCommit: number
  longestCommit: number
  /** Batches refused because the disk was nearly full, and errors that made the store reopen. */
  refused: number
  recoveries: number
}

export class LevelStorage implements Storage {
  readonly path: string
  readonly stats: StoreStats = {
    groups: 0,
    syncs: 0,
    batches: 0,
    octets: 0,
    lastCommit: 0,
    longestCommit: 0,
    refused: 0,
    recoveries: 0,
  }
  readonly #space: Space
  readonly debt: Debt
  readonly #clock: Clock
  readonly #log: Log
  readonly #synced: ((ms: number) => void) | undefined
  readonly #watchers: Watchers
  readonly #scopes: Scopes
  readonly #recovery: Recovery
  #db: Database
  #flying: Group | undefined
  /** Those that wait, oldest first; only the last takes more. */
  #forming: Group[] = []
  #scheduled = false
  #era = 0
  readonly #conditions = new Conditions(key => {
    const found = this.pending(key)
    return found === undefined ? (this.#read(key) ?? null) : found
  })
  #closed: StorageError | undefined
  #drained: (() => void) | undefined

  private constructor(db: Database, options: LevelOptions) {
    this.#db = db
    this.path = options.path
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
    this.#synced = options.synced
    this.#space = new Space(options.path, options.free ?? defaultReserve, this.#clock)
    this.#watchers = new Watchers(this.#log)
    this.#scopes = new Scopes(this)
    this.#recovery = new Recovery({ path: options.path, clock: this.#clock, log: this.#log, space: this.#space })
    this.debt = new Debt({ clock: this.#clock, log: this.#log, compact: (gte, lt) => this.compact(gte, lt) })
  }

  /** Opens or creates the store. Throws PosthornError POSTHORN_STORE_*. */
  static async open(options: LevelOptions): Promise<LevelStorage> {
    return new LevelStorage(await openDatabase(options.path), options)
  }

  /** Grows when writes that were waiting are dropped: what was read in an earlier era may never be stored. */
  get era(): number {
    return this.#era
  }

  get(key: string): Awaitable<Uint8Array | undefined> {
    if (this.#recovery.trouble !== undefined) return this.#recovery.ready().then(() => this.get(key))
    this.#assertOpen()
    return this.#read(key)
  }

  async getMany(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    await this.#readable()
    const stored = await this.#db.getMany(keys as string[])
    return stored.map((value, i) => this.#decode(keys[i] as string, value))
  }

  async *range({ gte, lt, limit = -1, reverse = false }: Range): AsyncGenerator<readonly Entry[]> {
    await this.#readable()
    const iterator = this.#db.iterator({
      // Keys that begin with NUL are the store's own.
      gte: gte.charCodeAt(0) > 0 ? gte : '\u0001',
      lt,
      limit,
      reverse,
      highWaterMarkBytes: stepOctets,
    })
    try {
      for (;;) {
        const step = (await iterator.nextv(stepEntries)) as [string, Uint8Array][]
        if (step.length === 0) return
        const bad = this.#decodeAll(step)
        if (step.length > 0) yield step
        if (bad !== undefined) throw bad
      }
    } catch (error) {
      throw this.#recovery.trouble ?? troubleOf(error, `reading ${this.path}`)
    } finally {
      await iterator.close()
    }
  }

  write(ops: readonly Op[], options?: WriteOptions): Promise<boolean> {
    const refusal = this.#refusal(ops)
    if (refusal !== undefined) return Promise.reject(refusal)
    if (options?.when !== undefined && !this.#conditions.areMet(options.when)) return this.settled(false)
    // A batch that hands a blob to the collector is never relaxed: its file goes next.
    return this.#join(ops, options?.relaxed !== true || dooms(ops))
  }

  transact<T>(scope: string, fn: (tx: Tx) => Awaitable<T>): Promise<T> {
    return this.#scopes.run(scope, fn)
  }

  watch(prefix: string, changed: (key: string) => void): Disposable {
    return this.#watchers.add(prefix, changed)
  }

  /** Resolves to `value` when all that was written so far is durable; rejects when it is not. */
  settled(value: boolean): Promise<boolean> {
    const last = this.#forming.at(-1) ?? this.#flying
    return last === undefined ? Promise.resolve(value) : last.wait(value)
  }

  /** What batches not yet stored make of a key: octets, null where they remove it, undefined where none touches it. */
  pending(key: string): Uint8Array | null | undefined {
    for (let i = this.#forming.length - 1; i >= 0; i--) {
      const found = this.#forming[i]?.find(key)
      if (found !== undefined) return found
    }
    return this.#flying?.find(key)
  }

  /** The last op of each key that is not yet stored. */
  pendingOps(): Map<string, Op> {
    const all = new Map<string, Op>(this.#flying?.index())
    for (const group of this.#forming) for (const [key, op] of group.index()) all.set(key, op)
    return all
  }

  /** Takes the room of removed keys back from [gte, lt). Costs disk traffic in the order of what is left there. */
  async compact(gte: string, lt: string): Promise<void> {
    await this.#readable()
    await this.#db.compactRange(gte, lt)
  }

  /** The open database, for a backup. Throws while there is none. */
  database(): Database {
    this.#assertOpen()
    if (this.#recovery.trouble !== undefined) throw this.#recovery.trouble
    return this.#db
  }

  /** Writes what waits, then closes. */
  async close(): Promise<void> {
    if (this.#closed !== undefined) return
    this.#closed = new StorageError('closed', 'the store is closed')
    this.debt.stop()
    this.#recovery.stop()
    if (this.#flying !== undefined || this.#forming.length > 0)
      await new Promise<void>(resolve => {
        this.#drained = resolve
      })
    await this.#recovery.ended()
    await this.#db.close()
  }

  #refusal(ops: readonly Op[]): StorageError | TypeError | undefined {
    const closed = this.#closed ?? this.#recovery.trouble
    if (closed !== undefined) return closed
    let taken = 0
    let removals = 0
    try {
      for (const op of ops) {
        assertKey(op.key)
        if (op.type === 'del') removals++
        else taken += op.value.length
      }
    } catch (error) {
      return error as TypeError
    }
    if (taken > maxValue) return new TypeError(`a batch of ${taken} octets is too large: put them into Blobs`)
    const refusal = this.#space.refusal(removals > 0 && taken < 4096)
    if (refusal !== undefined) this.stats.refused++
    return refusal
  }

  #join(ops: readonly Op[], durable: boolean): Promise<boolean> {
    let group = this.#forming.at(-1)
    if (group === undefined || group.full) {
      group = new Group(this.#db)
      this.#forming.push(group)
    }
    try {
      const written = group.add(ops, durable)
      this.#conditions.written(ops)
      this.#schedule()
      return written
    } catch (error) {
      // Half of it may be in the native batch, so nothing of that group may be written.
      const trouble = troubleOf(error, `writing ${this.path}`)
      this.#drop(trouble)
      return Promise.reject(trouble)
    }
  }

  /** Rejects all that was not handed to LevelDB yet. */
  #drop(trouble: StorageError): void {
    this.#era++
    this.#conditions.forget()
    const waiting = this.#forming
    this.#forming = []
    for (const group of waiting) group.reject(trouble)
  }

  #schedule(): void {
    if (this.#scheduled || this.#flying !== undefined) return
    this.#scheduled = true
    // After the sockets of this turn were read, so that who is ready now rides along.
    setImmediate(() => {
      this.#scheduled = false
      this.#launch()
    })
  }

  #launch(): void {
    if (this.#flying !== undefined) return
    const group = this.#forming.shift()
    if (group === undefined) {
      this.#drained?.()
      return
    }
    this.#flying = group
    const started = this.#clock.monotonic()
    group.commit().then(
      () => this.#landed(group, this.#clock.monotonic() - started),
      error => this.#poison(group, error),
    )
  }

  #landed(group: Group, took: number): void {
    const { stats } = this
    stats.groups++
    if (group.sync) {
      stats.syncs++
      this.#synced?.(took)
    }
    stats.batches += group.size
    stats.octets += group.octets
    stats.lastCommit = took
    if (took > stats.longestCommit) stats.longestCommit = took
    this.#flying = undefined
    // The next sync runs while this group's writers go on.
    this.#launch()
    group.resolve()
    this.#tell(group)
  }

  #tell(group: Group): void {
    for (const ops of group.ops) {
      this.debt.count(ops)
      this.#watchers.tell(ops)
    }
  }

  /**
   * After any rejected write, append or sync: nothing is acknowledged until the database was closed, reopened and read.
   * LevelDB itself goes on acknowledging after a full disk cut an append, and loses it all.
   */
  #poison(group: Group, error: unknown): void {
    const trouble = troubleOf(error, `writing ${this.path}`)
    this.stats.recoveries++
    this.#recovery.start(this.#db, trouble, {
      reopened: db => {
        this.#db = db
        this.#judge(group, db, trouble)
      },
      // It may be there all the same: who is told so now will try again, and a duplicate is no loss.
      failed: () => group.reject(trouble),
      over: () => {
        this.#flying = undefined
        this.#launch()
      },
    })
    this.#drop(trouble)
  }

  #judge(group: Group, db: Database, trouble: StorageError): void {
    if (!group.isIn(db)) {
      group.reject(trouble)
      return
    }
    group.resolve()
    this.#tell(group)
  }

  #read(key: string): Uint8Array | undefined {
    try {
      return this.#decode(key, this.#db.getSync(key))
    } catch (error) {
      throw troubleOf(error, `reading ${this.path}`)
    }
  }

  #decode(key: string, stored: Uint8Array | undefined): Uint8Array | undefined {
    if (stored === undefined) return undefined
    const why = flaw(stored)
    if (why === undefined) return payload(stored)
    throw new StorageError('corrupt', `the value of ${JSON.stringify(key)} in ${this.path} ${why}`, undefined, key)
  }

  /** Decodes in place, up to the first value that cannot be trusted. */
  #decodeAll(step: [string, Uint8Array][]): StorageError | undefined {
    for (const [i, entry] of step.entries()) {
      try {
        entry[1] = this.#decode(entry[0], entry[1]) as Uint8Array
      } catch (error) {
        step.length = i
        return error as StorageError
      }
    }
    return undefined
  }

  async #readable(): Promise<void> {
    if (this.#recovery.trouble !== undefined) await this.#recovery.ready()
    this.#assertOpen()
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) throw this.#closed
  }
}
