// Transactions: one at a time per scope, each on top of the one before, whose sync it shares.
import {
  type Awaitable,
  assertKey,
  compareKeys,
  type Entry,
  type Op,
  type Range,
  StorageError,
  type Tx,
} from '@posthorn/core'
import { stepEntries } from './database.ts'
import type { LevelStorage } from './level.ts'

const done = () => {}

export class Scopes {
  readonly #store: LevelStorage
  readonly #tails = new Map<string, Promise<void>>()

  constructor(store: LevelStorage) {
    this.#store = store
  }

  async run<T>(scope: string, fn: (tx: Tx) => Awaitable<T>): Promise<T> {
    const before = this.#tails.get(scope)
    const turn = this.#turn(before, fn)
    const tail = turn.then(done, done)
    this.#tails.set(scope, tail)
    const { result, durable } = await turn.finally(() => {
      if (this.#tails.get(scope) === tail) this.#tails.delete(scope)
    })
    await durable
    return result
  }

  /** Ends when the writes have joined a group: the next in line sees them, and need not wait for the sync. */
  async #turn<T>(
    before: Promise<void> | undefined,
    fn: (tx: Tx) => Awaitable<T>,
  ): Promise<{ result: T; durable: Promise<boolean> }> {
    if (before !== undefined) await before
    const { era } = this.#store
    const tx = new LevelTx(this.#store)
    let ops: readonly Op[]
    let result: T
    try {
      result = await fn(tx)
    } finally {
      ops = tx.end()
    }
    // What it read may have been lost with the group that held it.
    if (era !== this.#store.era) throw new StorageError('failed', 'the store was reopened during the transaction')
    const durable = ops.length > 0 ? this.#store.write(ops) : this.#store.settled(true)
    return { result, durable }
  }
}

/** A transaction's view: its own writes over those not yet stored, over the database. */
class LevelTx implements Tx {
  readonly #store: LevelStorage
  readonly #own = new Map<string, Op>()
  #over = false

  constructor(store: LevelStorage) {
    this.#store = store
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    this.#assertLive()
    const own = this.#own.get(key)
    if (own !== undefined) return own.type === 'put' ? own.value : undefined
    const pending = this.#store.pending(key)
    return pending === undefined ? this.#store.get(key) : (pending ?? undefined)
  }

  async *range(range: Range): AsyncGenerator<readonly Entry[]> {
    this.#assertLive()
    yield* overlaid(
      this.#overlay(range),
      this.#store.range({ gte: range.gte, lt: range.lt, reverse: range.reverse === true }),
      range,
    )
  }

  put(key: string, value: Uint8Array): void {
    this.#assertLive()
    assertKey(key)
    this.#own.set(key, { type: 'put', key, value })
  }

  del(key: string): void {
    this.#assertLive()
    assertKey(key)
    this.#own.set(key, { type: 'del', key })
  }

  end(): readonly Op[] {
    this.#over = true
    return [...this.#own.values()]
  }

  /** Ops of the range that the database does not have yet, in order. */
  #overlay({ gte, lt, reverse = false }: Range): Op[] {
    const all = this.#store.pendingOps()
    for (const [key, op] of this.#own) all.set(key, op)
    const within = [...all.values()].filter(op => compareKeys(op.key, gte) >= 0 && compareKeys(op.key, lt) < 0)
    return within.sort((a, b) => (reverse ? compareKeys(b.key, a.key) : compareKeys(a.key, b.key)))
  }

  #assertLive(): void {
    if (this.#over) throw new StorageError('closed', 'this transaction is over')
  }
}

/** Merges `ops` over stored entries; both are in the order of the range. */
async function* overlaid(
  ops: readonly Op[],
  stored: AsyncIterable<readonly Entry[]>,
  { limit = Infinity, reverse = false }: Range,
): AsyncGenerator<readonly Entry[]> {
  const ahead = (a: string, b: string) => (reverse ? compareKeys(b, a) : compareKeys(a, b))
  let at = 0
  let left = limit
  let out: Entry[] = []
  const emit = (key: string, value: Uint8Array) => {
    out.push([key, value])
    left--
  }
  const emitOp = (op: Op) => {
    if (op.type === 'put') emit(op.key, op.value)
  }
  for await (const step of stored) {
    for (const [key, value] of step) {
      while (left > 0 && at < ops.length && ahead((ops[at] as Op).key, key) < 0) emitOp(ops[at++] as Op)
      if (left <= 0) break
      if (ops[at]?.key === key) emitOp(ops[at++] as Op)
      else emit(key, value)
    }
    if (out.length > 0) yield out
    out = []
    if (left <= 0) return
  }
  while (left > 0 && at < ops.length) {
    emitOp(ops[at++] as Op)
    if (out.length < stepEntries) continue
    yield out
    out = []
  }
  if (out.length > 0) yield out
}
