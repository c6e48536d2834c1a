// The lanes as an operator sees them: what each is doing, and why it is not doing more.
import type { Desk } from './desk.ts'
import { unrouted } from './keys.ts'
import type { Lane } from './lane.ts'
import type { Scheduler } from './scheduler.ts'

export interface LaneState {
  readonly lane: string
  /** `idle`: nothing is due. `elsewhere`: another node serves it. */
  readonly state: 'active' | 'idle' | 'backing off' | 'paused' | 'unrouted' | 'elsewhere'
  readonly reason?: string
  /** When the state ends by itself, or when the next falls due. */
  readonly until?: number
  readonly sending: number
  /** Recipients queued, those being sent to included; after boot it grows until all are counted. */
  readonly recipients: number
  /** Blocks in memory; the index may know of more. */
  readonly waiting: number
  /** Deliveries at once that it may do now, and at most. */
  readonly slots: number
  readonly concurrency?: number
  readonly failures: number
}

export function laneStates(desk: Desk, scheduler: Scheduler): LaneState[] {
  const now = desk.clock.now()
  const states = Array.from(scheduler.lanes.values(), lane =>
    stateOf(lane, desk.tally.lanes.get(lane.name) ?? 0, now, desk.leases.owns(lane.shard)),
  )
  return states.sort((a, b) => (a.lane < b.lane ? -1 : 1))
}

function stateOf(lane: Lane, recipients: number, now: number, ours: boolean): LaneState {
  const due = lane.nextDue
  const waiting = lane.waiting
  const rest = {
    lane: lane.name,
    sending: lane.inflight,
    recipients,
    waiting,
    slots: lane.slots,
    failures: lane.failures,
    ...(lane.policy !== undefined && { concurrency: lane.policy.concurrency }),
  }
  if (lane.pause !== undefined) return { ...rest, state: 'paused', reason: lane.pause.reason }
  if (!ours) return { ...rest, state: 'elsewhere' }
  if (lane.blockedUntil > now) {
    return { ...rest, state: 'backing off', until: lane.blockedUntil, ...(lane.reason && { reason: lane.reason }) }
  }
  const until = due < Infinity ? { until: due } : {}
  if (lane.name === unrouted) return { ...rest, ...until, state: 'unrouted', reason: 'no plugin has a route' }
  if (lane.inflight > 0 || waiting > 0 || due <= now) return { ...rest, state: 'active' }
  return { ...rest, ...until, state: 'idle' }
}
