// Answers and failures that are still true, least recently used out first. Bounded by their octets too: an answer may have 64 KiB.
import type { DnsAnswer, DnsError } from './contract.ts'

/** Octets that one entry stands for; larger answers count as several. */
const unit = 1_024

interface Kept {
  readonly value: DnsAnswer | DnsError
  /** By the clock's monotonic time. */
  readonly until: number
  readonly cost: number
}

export class DnsCache {
  readonly #kept = new Map<string, Kept>()
  #cost = 0

  get size(): number {
    return this.#kept.size
  }

  /** What is kept of a question, its TTL what is left of it. */
  get(key: string, now: number): DnsAnswer | DnsError | undefined {
    const kept = this.#kept.get(key)
    if (kept === undefined) return undefined
    this.#kept.delete(key)
    if (kept.until <= now) {
      this.#cost -= kept.cost
      return undefined
    }
    this.#kept.set(key, kept)
    const { value } = kept
    return value instanceof Error ? value : { ...value, ttl: Math.ceil((kept.until - now) / 1_000) }
  }

  /** Keeps it for `ms`; `octets` is the size of its packet, `entries` how many may stay. */
  set(key: string, value: DnsAnswer | DnsError, ms: number, now: number, octets: number, entries: number): void {
    this.#drop(key)
    const cost = Math.max(1, Math.ceil(octets / unit))
    if (ms <= 0 || cost > entries) return
    this.#kept.set(key, { value, until: now + ms, cost })
    this.#cost += cost
    for (const oldest of this.#kept.keys()) {
      if (this.#cost <= entries) break
      this.#drop(oldest)
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
