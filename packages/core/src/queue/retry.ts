// When to try again, and for how long: the schedule of a lane.
import type { QueueConfig } from '../config/contract.ts'
import type { LaneLimits } from '../delivery.ts'

/** An agent's limits for a lane, with the operator's defaults where it has none. */
export interface Policy {
  readonly concurrency: number
  readonly perMinute: number
  readonly maxRecipients: number
  readonly retry: readonly number[]
  readonly expire: number
}

const positive = (value: number | undefined, otherwise: number): number =>
  value !== undefined && value > 0 ? value : otherwise

export function policyOf(config: QueueConfig, limits: LaneLimits | undefined): Policy {
  const retry = limits?.retry?.filter(step => step > 0) ?? []
  return {
    concurrency: positive(limits?.concurrency, config.concurrency),
    perMinute: positive(limits?.perMinute, Infinity),
    maxRecipients: positive(limits?.maxRecipients, config.maxRecipients),
    retry: retry.length > 0 ? retry : config.retry,
    expire: positive(limits?.expire, config.expire),
  }
}

/**
 * Milliseconds until the next try after `tries`. A tenth either way is left to chance, so that what failed together
 * does not come back together. `random`: [0, 1).
 */
export function nextTry(policy: Policy, tries: number, random: number): number {
  const step = policy.retry[Math.min(Math.max(tries, 1), policy.retry.length) - 1] ?? 300_000
  return Math.round(step * (0.9 + 0.2 * random))
}
