// A group: the batches that share one sync. Octets go to LevelDB's native batch as they come, so that nothing is copied twice.
import type { Op, StorageError } from '@posthorn/core'
import type { Database } from './database.ts'
import { encode, lendEncoded } from './value.ts'

interface Waiter {
  readonly stored: boolean
  resolve(stored: boolean): void
  reject(error: StorageError): void
}

/** Octets after which a group takes no more: a longer one would stall the writers behind it. */
const capacity = 4 * 1024 * 1024

/** `sync` when any batch in it must be durable. */
export class Group {
  readonly #batch: ReturnType<Database['batch']>
  readonly #ops: (readonly Op[])[] = []
  readonly #waiters: Waiter[] = []
  /** The last op of each key, for the first `#indexed` batches; built when somebody asks. */
  #index: Map<string, Op> | undefined
  #indexed = 0
  sync = false
  octets = 0

  constructor(db: Database) {
    this.#batch = db.batch()
  }

  get size(): number {
    return this.#waiters.length
  }

  get full(): boolean {
    return this.octets >= capacity
  }

  /** `ops` must stay as they are until the result settles: an error compares them with what is stored. */
  add(ops: readonly Op[], durable: boolean): Promise<boolean> {
    const batch = this.#batch
    for (const op of ops) {
      if (op.type === 'put') {
        this.octets += op.key.length + op.value.length
        batch.put(op.key, lendEncoded(op.value))
      } else {
        this.octets += op.key.length
        batch.del(op.key)
      }
    }
    this.#ops.push(ops)
    if (durable) this.sync = true
    return this.wait(true)
  }

  /** Settles with the group, writing nothing: for who saw what is not durable yet. */
  wait(stored: boolean): Promise<boolean> {
    return new Promise((resolve, reject) => this.#waiters.push({ stored, resolve, reject }))
  }

  /** What this group makes of a key: octets, null where it removes it, undefined where it leaves it alone. */
  find(key: string): Uint8Array | null | undefined {
    const op = this.index().get(key)
    if (op === undefined) return undefined
    return op.type === 'put' ? op.value : null
  }

  index(): ReadonlyMap<string, Op> {
    this.#index ??= new Map()
    for (; this.#indexed < this.#ops.length; this.#indexed++)
      for (const op of this.#ops[this.#indexed] as readonly Op[]) this.#index.set(op.key, op)
    return this.#index
  }

  get ops(): readonly (readonly Op[])[] {
    return this.#ops
  }

  commit(): Promise<void> {
    return this.#batch.write({ sync: this.sync })
  }

  /** Whether the database has what the group wanted. A group is one record of the log, so it is all or nothing. */
  isIn(db: Database): boolean {
    for (const [key, op] of this.index()) {
      const stored = db.getSync(key)
      if (
        op.type === 'del'
          ? stored !== undefined
          : stored === undefined || Buffer.compare(stored, encode(op.value)) !== 0
      )
        return false
    }
    return true
  }

  resolve(): void {
    for (const waiter of this.#waiters) waiter.resolve(waiter.stored)
  }

  reject(error: StorageError): void {
    for (const waiter of this.#waiters) waiter.reject(error)
  }
}
