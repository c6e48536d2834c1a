// Answers and failures that are still true; what was not asked for lately goes first. Bounded by their octets too: an
// answer may have 64 KiB.
import type { DnsAnswer, DnsError } from './contract.ts'

/** Octets that one entry stands for; larger answers count as several. */
const unit = 1_024

interface Kept {
  readonly value: DnsAnswer | DnsError
  /** By the clock's monotonic time. */
  readonly until: number
  readonly cost: number
  /** Asked for since it was last passed over. */
  used: boolean
}

export class DnsCache {
  readonly #kept = new Map<string, Kept>()
  #cost = 0

  /** Octets of everything in it, in KiB, each entry at least one. */
  get cost(): number {
    return this.#cost
  }

  get size(): number {
    return this.#kept.size
  }

  /** What is kept of a question, its TTL what is left of it. */
  get(key: string, now: number): DnsAnswer | DnsError | undefined {
    const kept = this.#kept.get(key)
    if (kept === undefined) return undefined
    if (kept.until <= now) {
      this.#drop(key)
      return undefined
    }
    // A mark, not a new place: moving an entry of a large Map at each hit costs ten times the lookup.
    kept.used = true
    const { value } = kept
    return value instanceof Error ? value : { ...value, ttl: Math.ceil((kept.until - now) / 1_000) }
  }

  /** Keeps it for `ms`; `octets` is the size of its packet, `entries` how many may stay. */
  set(key: string, value: DnsAnswer | DnsError, ms: number, now: number, octets: number, entries: number): void {
    this.#drop(key)
    const cost = Math.max(1, Math.ceil(octets / unit))
    if (ms <= 0 || cost > entries) return
    this.#kept.set(key, { value, until: now + ms, cost, used: false })
    this.#cost += cost
    // Entries that are put back are met again at the end, without their mark: this ends.
    for (const [oldest, one] of this.#kept) {
      if (this.#cost <= entries) break
      this.#kept.delete(oldest)
      if ((one.used && one.until > now) || oldest === key) {
        one.used = false
        this.#kept.set(oldest, one)
      } else this.#cost -= one.cost
    }
  }

  clear(): void {
    this.#kept.clear()
    this.#cost = 0
  }

  #drop(key: string): void {
    const kept = this.#kept.get(key)
    if (kept === undefined) return
    this.#kept.delete(key)
    this.#cost -= kept.cost
  }
}
