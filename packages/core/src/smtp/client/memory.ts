// Which of several next hops to try first: in the given order, but those that failed lately last. Remembers a bounded
// number of them, for a time that doubles with each failure in a row.

interface Failed {
  readonly times: number
  readonly until: number
}

/** Milliseconds that a hop which failed once is tried after the others; at most so long. */
const first = 30_000
const longest = 600_000

export class HopMemory {
  readonly #failed = new Map<string, Failed>()
  readonly #max: number

  /** `max`: how many are remembered; beyond it the one that failed longest ago is forgotten. */
  constructor(max = 10_000) {
    this.#max = max
  }

  get size(): number {
    return this.#failed.size
  }

  /** Whether it failed a moment ago. `now`: milliseconds, of any clock that goes on. */
  avoids(key: string, now: number): boolean {
    const failed = this.#failed.size === 0 ? undefined : this.#failed.get(key)
    return failed !== undefined && now < failed.until
  }

  /** Always all of them: where all failed, all are tried again. */
  order<T>(hops: readonly T[], keyOf: (hop: T) => string, now: number): readonly T[] {
    if (this.#failed.size === 0 || hops.length < 2) return hops
    const good: T[] = []
    const bad: T[] = []
    for (const hop of hops) (this.avoids(keyOf(hop), now) ? bad : good).push(hop)
    return [...good, ...bad]
  }

  failed(key: string, now: number): void {
    const before = this.#failed.get(key)
    // Deliveries under way at the same time fail together: that is one failure. Long after the last it is the first.
    if (before !== undefined && now < before.until - pause(before.times) / 2) return
    const times = before === undefined || now > before.until + longest ? 1 : before.times + 1
    this.#failed.delete(key)
    if (this.#failed.size >= this.#max) {
      const [oldest] = this.#failed.keys()
      if (oldest !== undefined) this.#failed.delete(oldest)
    }
    this.#failed.set(key, { times, until: now + pause(times) })
  }

  worked(key: string): void {
    if (this.#failed.size > 0) this.#failed.delete(key)
  }
}

const pause = (times: number) => Math.min(first * 2 ** Math.min(times - 1, 10), longest)
