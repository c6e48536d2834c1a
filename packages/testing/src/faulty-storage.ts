// A Storage whose power can be cut: what was acknowledged as durable survives, what was not may. Seeded, so that a
// failing run can be run again. Models one log that is synced in order, whose rotation leaves relaxed writes at risk.
import { type Entry, type Op, StorageError } from '@posthorn/core'
import { MemoryStorage, type PendingWrite } from './memory-storage.ts'
import { SortedMap } from './sorted-map.ts'

export interface FaultOptions {
  /** Decides what survives. Default 1. */
  readonly seed?: number
  readonly entries?: Iterable<Entry>
  /** The power goes when the n-th batch (from 1) is being written: it may survive, and is never acknowledged. */
  readonly cutAt?: number
}

/** Numbers in [0, 1) from a seed: Mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

interface Logged {
  readonly ops: readonly Op[]
  safe: boolean
}

export class FaultyStorage extends MemoryStorage {
  readonly #random: () => number
  readonly #cutAt: number
  /** What is on the disk for sure. */
  readonly #disk = new SortedMap()
  /** What was stored since the oldest write that is not. */
  #log: Logged[] = []
  #inFlight: PendingWrite[] = []
  #fault: { kind: 'full' | 'failed'; times: number; stored: boolean } | undefined
  #cut = Promise.withResolvers<void>()
  /** Batches that reached the disk so far: run once to learn how many there are, then cut at each. */
  writes = 0

  constructor(options: FaultOptions = {}) {
    const entries = Array.from(options.entries ?? [])
    super(entries)
    for (const [key, value] of entries) this.#disk.set(key, value)
    this.#random = seeded(options.seed ?? 1)
    this.#cutAt = options.cutAt ?? Infinity
  }

  /** Resolves when the power went at `cutAt`. */
  get cut(): Promise<void> {
    return this.#cut.promise
  }

  /** Rejects the next `times` batches. `stored`: they are on the disk all the same, as after a sync that failed late. */
  fail(kind: 'full' | 'failed', times = 1, stored = false): void {
    this.#fault = { kind, times, stored }
  }

  /**
   * The power goes. Gives the store as the next boot finds it: every durable write that resolved, a part of the others.
   * This one rejects everything from now on.
   */
  powerCut(): FaultyStorage {
    const survivors = new SortedMap()
    for (const [key, value] of this.#disk.entries('', '\u{10ffff}', false)) survivors.set(key, value)
    for (const { ops, safe } of this.#log) if (safe || this.#random() < 0.5) apply(survivors, ops)
    return this.#reborn(survivors)
  }

  /** The process dies, the machine lives on: what was written is there, synced or not; what was on its way may be. */
  kill(): FaultyStorage {
    return this.#reborn(new SortedMap(), this.entries())
  }

  #reborn(survivors: SortedMap, entries: readonly Entry[] = []): FaultyStorage {
    for (const [key, value] of entries) survivors.set(key, value)
    // Batches on their way reach the log in order, up to the moment of the cut.
    const reached = Math.floor(this.#random() * (this.#inFlight.length + 1))
    for (const write of this.#inFlight.slice(0, reached)) apply(survivors, write.ops)
    this.close(new StorageError('closed', 'the power is gone'))
    for (const write of this.#inFlight) write.reject(new StorageError('closed', 'the power is gone'))
    this.#inFlight = []
    return new FaultyStorage({
      seed: Math.floor(this.#random() * 2 ** 32),
      entries: survivors.entries('', '\u{10ffff}', false),
    })
  }

  protected override store(write: PendingWrite): boolean {
    if (this.writes + 1 >= this.#cutAt) {
      // Held, neither stored nor settled, until powerCut() or kill() decides.
      this.#inFlight.push(write)
      this.#cut.resolve()
      return false
    }
    this.writes++
    const fault = this.#fault
    if (fault !== undefined && fault.times > 0) {
      fault.times--
      write.reject(new StorageError(fault.kind, `the disk is ${fault.kind === 'full' ? 'full' : 'faulty'} (injected)`))
      if (!fault.stored) return false
    }
    this.#log.push({ ops: write.ops, safe: !write.relaxed })
    // A sync covers the relaxed writes before it, unless the log was rotated in between.
    if (!write.relaxed && this.#random() < 0.9) {
      for (const { ops } of this.#log) apply(this.#disk, ops)
      this.#log = []
    }
    return true
  }
}

function apply(map: SortedMap, ops: readonly Op[]): void {
  for (const op of ops) {
    if (op.type === 'put') map.set(op.key, op.value)
    else map.delete(op.key)
  }
}

/** A Storage to cut the power of. */
export function faultyStorage(options?: FaultOptions): FaultyStorage {
  return new FaultyStorage(options)
}
