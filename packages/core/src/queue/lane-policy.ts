// What a lane may do: its agent's limits over the operator's defaults, asked once for each configuration.
import { isPending } from '../awaitable.ts'
import type { LaneLimits } from '../delivery.ts'
import type { Desk } from './desk.ts'
import { reasonOf } from './errors.ts'
import type { Lane } from './lane.ts'
import { policyOf } from './retry.ts'

/** Whether the lane's policy is known; else `known` is called when it is. An agent that fails to say gets the defaults. */
export function hasPolicy(lane: Lane, desk: Desk, known: () => void): boolean {
  const generation = desk.generation()
  if (lane.policyOf === generation.number) return true
  if (lane.policyOf === -1) return false
  const agent = generation.plan.agents.find(entry => entry.plugin === lane.plugin)?.agent
  const set = (limits: LaneLimits | undefined) => {
    lane.policy = policyOf(generation.config.queue, limits)
    lane.policyOf = generation.number
  }
  const failed = (error: unknown) => {
    const fields = { lane: lane.name, plugin: lane.plugin, error: reasonOf(error) }
    desk.log.error(fields, 'no limits for a lane; defaults hold')
    set(undefined)
  }
  try {
    const limits = agent?.limits?.(lane.local)
    if (isPending(limits)) {
      lane.policyOf = -1
      void limits.then(set, failed).finally(known)
      return false
    }
    set(limits)
  } catch (error) {
    failed(error)
  }
  return true
}
