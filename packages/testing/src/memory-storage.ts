// A Storage in memory that keeps the contract to the letter: what a unit test finds here, it finds in LevelDB.
import {
  type Awaitable,
  assertKey,
  type Condition,
  compareKeys,
  dooms,
  type Entry,
  type Op,
  type Range,
  type Storage,
  StorageError,
  type Tx,
  type WriteOptions,
} from '@posthorn/core'
import { type Snapshot, SortedMap } from './sorted-map.ts'

const batchSize = 1000

/** A write on its way. */
export interface PendingWrite {
  readonly ops: readonly Op[]
  readonly when: readonly Condition[] | undefined
  readonly relaxed: boolean
  resolve(stored: boolean): void
  reject(error: StorageError): void
}

// Not slice(): a Buffer's is a view.
const copy = (value: Uint8Array): Uint8Array => new Uint8Array(value)

const sameOctets = (a: Uint8Array | null | undefined, b: Uint8Array | null): boolean => {
  if (a === null || a === undefined || b === null) return (a ?? null) === b
  return Buffer.compare(a, b) === 0
}

/**
 * A Storage in memory. A write is visible when it resolves, not when it is called, as in a real store; values are
 * copied in and out.
 */
export class MemoryStorage implements Storage {
  readonly #map = new SortedMap()
  readonly #watchers = new Map<string, Set<(key: string) => void>>()
  readonly #scopes = new Map<string, Promise<unknown>>()
  #waiting: PendingWrite[] = []
  #closed: StorageError | undefined

  constructor(entries: Iterable<Entry> = []) {
    for (const [key, value] of entries) this.#map.set(key, copy(value))
  }

  /** How many keys there are. */
  get size(): number {
    return this.#map.size
  }

  /** What is stored now, in key order; copied. */
  entries(): Entry[] {
    return Array.from(this.#map.entries('\u0001', '\u{10ffff}', false), ([key, value]) => [key, copy(value)] as const)
  }

  /** Every later call, and every write that waits, fails. */
  close(reason = new StorageError('closed', 'the store is closed')): void {
    this.#closed ??= reason
    const waiting = this.#waiting
    this.#waiting = []
    for (const write of waiting) write.reject(this.#closed)
  }

  get(key: string): Awaitable<Uint8Array | undefined> {
    this.#assertOpen()
    return this.#stored(key)
  }

  async getMany(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.#assertOpen()
    return keys.map(key => this.#stored(key))
  }

  async *range(range: Range): AsyncGenerator<readonly Entry[]> {
    this.#assertOpen()
    yield* batches(this.#map.snapshot(), range)
  }

  write(ops: readonly Op[], options: WriteOptions = {}): Promise<boolean> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const copies: Op[] = []
    for (const op of ops) {
      try {
        assertKey(op.key)
      } catch (error) {
        return Promise.reject(error)
      }
      copies.push(op.type === 'put' ? { type: 'put', key: op.key, value: copy(op.value) } : op)
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        ops: copies,
        when: options.when,
        relaxed: options.relaxed === true && !dooms(ops),
        resolve,
        reject,
      })
      if (this.#waiting.length === 1) queueMicrotask(() => this.flush())
    })
  }

  async transact<T>(scope: string, fn: (tx: Tx) => Awaitable<T>): Promise<T> {
    this.#assertOpen()
    const before = this.#scopes.get(scope)
    const turn = (async () => {
      if (before !== undefined) await before
      const tx = new MemoryTx(this)
      try {
        const result = await fn(tx)
        await this.write(tx.end())
        return result
      } finally {
        tx.end()
      }
    })()
    const settled = turn.then(
      () => {},
      () => {},
    )
    this.#scopes.set(scope, settled)
    try {
      return await turn
    } finally {
      if (this.#scopes.get(scope) === settled) this.#scopes.delete(scope)
    }
  }

  watch(prefix: string, changed: (key: string) => void): Disposable {
    const listeners = this.#watchers.get(prefix) ?? new Set()
    this.#watchers.set(prefix, listeners.add(changed))
    return { [Symbol.dispose]: () => void listeners.delete(changed) }
  }

  /** Stores what waits, in order. Runs by itself a microtask after the first write. */
  protected flush(): void {
    const group = this.#waiting
    this.#waiting = []
    for (const write of group) {
      if (write.when?.some(c => !sameOctets(this.#map.get(c.key), c.equals))) {
        write.resolve(false)
        continue
      }
      if (!this.store(write)) continue
      for (const op of write.ops) {
        if (op.type === 'put') this.#map.set(op.key, op.value)
        else this.#map.delete(op.key)
      }
      write.resolve(true)
      this.#tell(write.ops)
    }
  }

  /** Before a batch whose conditions hold is stored. False: it is not, and the write was settled otherwise. */
  protected store(_write: PendingWrite): boolean {
    return true
  }

  #tell(ops: readonly Op[]): void {
    if (this.#watchers.size === 0) return
    for (const [prefix, listeners] of this.#watchers)
      for (const { key } of ops) if (key.startsWith(prefix)) for (const changed of listeners) changed(key)
  }

  #stored(key: string): Uint8Array | undefined {
    const value = this.#map.get(key)
    return value && copy(value)
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) throw this.#closed
  }
}

/** A transaction's view: its own writes over the store. */
class MemoryTx implements Tx {
  readonly #storage: MemoryStorage
  readonly #writes = new Map<string, Uint8Array | undefined>()
  #over = false

  constructor(storage: MemoryStorage) {
    this.#storage = storage
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    this.#assertLive()
    if (!this.#writes.has(key)) return this.#storage.get(key)
    const own = this.#writes.get(key)
    return own && copy(own)
  }

  async *range(range: Range): AsyncGenerator<readonly Entry[]> {
    this.#assertLive()
    const seen = new SortedMap()
    for await (const batch of this.#storage.range({ gte: range.gte, lt: range.lt }))
      for (const [key, value] of batch) seen.set(key, value)
    for (const [key, value] of this.#writes) {
      if (compareKeys(key, range.gte) < 0 || compareKeys(key, range.lt) >= 0) continue
      if (value === undefined) seen.delete(key)
      else seen.set(key, value)
    }
    yield* batches(seen, range)
  }

  put(key: string, value: Uint8Array): void {
    this.#assertLive()
    assertKey(key)
    this.#writes.set(key, copy(value))
  }

  del(key: string): void {
    this.#assertLive()
    assertKey(key)
    this.#writes.set(key, undefined)
  }

  end(): Op[] {
    this.#over = true
    return Array.from(this.#writes, ([key, value]) =>
      value === undefined ? { type: 'del', key } : { type: 'put', key, value },
    )
  }

  #assertLive(): void {
    if (this.#over) throw new StorageError('closed', 'this transaction is over')
  }
}

function* batches(from: Snapshot, { gte, lt, limit = Infinity, reverse = false }: Range): Generator<readonly Entry[]> {
  let batch: Entry[] = []
  let left = limit
  if (left <= 0) return
  for (const [key, value] of from.entries(gte, lt, reverse)) {
    batch.push([key, copy(value)])
    left--
    if (batch.length === batchSize || left === 0) {
      yield batch
      batch = []
      if (left === 0) return
    }
  }
  if (batch.length > 0) yield batch
}

/** A Storage in memory, empty or with these entries. */
export function memoryStorage(entries?: Iterable<Entry>): MemoryStorage {
  return new MemoryStorage(entries)
}
