// Removed keys stay on disk, and in the way of scans, until LevelDB compacts their range. This sees to it in quiet times.
import type { Clock, Log, Op } from '@posthorn/core'

/** A first read behind 500,000 removed keys took 30-61 ms, 0.2 ms after compaction. */
const worthwhile = 50_000
/** So many are compacted even when it is never quiet. */
const urgent = 1_000_000
const interval = 15_000
/** Fewer batches than this in an interval is quiet. */
const quiet = 1_500

interface Range {
  removed: number
  first: string
  last: string
}

export interface DebtOptions {
  readonly clock: Clock
  readonly log: Log
  compact(gte: string, lt: string): Promise<void>
}

/** Counts removals by the first character of their keys: `m`, `r`, `d`, `B`. */
export class Debt {
  readonly #options: DebtOptions
  readonly #ranges = new Map<number, Range>()
  #batches = 0
  #cancel: (() => void) | undefined
  #stopped = false
  #running: Promise<void> | undefined

  constructor(options: DebtOptions) {
    this.#options = options
  }

  count(ops: readonly Op[]): void {
    this.#batches++
    for (const op of ops) {
      if (op.type !== 'del') continue
      const kind = op.key.charCodeAt(0)
      const range = this.#ranges.get(kind)
      if (range === undefined) {
        this.#ranges.set(kind, { removed: 1, first: op.key, last: op.key })
        this.#cancel ??= this.#later()
        continue
      }
      range.removed++
      // JavaScript's order will do: a bound that is a little off only compacts a little less.
      if (op.key < range.first) range.first = op.key
      else if (op.key > range.last) range.last = op.key
    }
  }

  /** Compacts what is due; resolves when that is done. */
  settle(force = false): Promise<void> {
    this.#running ??= this.#settle(force).finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  stop(): void {
    this.#stopped = true
    this.#cancel?.()
  }

  #later(): () => void {
    return this.#options.clock.after(interval, () => {
      this.#cancel = undefined
      void this.settle().then(() => {
        if (!this.#stopped && this.#ranges.size > 0) this.#cancel ??= this.#later()
      })
    })
  }

  async #settle(force: boolean): Promise<void> {
    const busy = this.#batches > quiet
    this.#batches = 0
    for (const [kind, { removed, first, last }] of this.#ranges) {
      if (this.#stopped) return
      if (!force && removed < (busy ? urgent : worthwhile)) continue
      this.#ranges.delete(kind)
      const started = this.#options.clock.monotonic()
      try {
        await this.#options.compact(first, `${last}\0`)
        const ms = Math.round(this.#options.clock.monotonic() - started)
        this.#options.log.debug({ removed, first, last, ms }, 'compacted a range of the store')
      } catch (error) {
        this.#options.log.warn({ err: error, first, last }, 'compacting a range of the store failed')
      }
    }
  }
}
