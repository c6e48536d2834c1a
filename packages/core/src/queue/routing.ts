// Asking the agents where a recipient goes: first answer wins, in plugin order. A fault or no answer at all is no
// reason to bounce: such recipients wait in the lane `unrouted`.

import { Aborter, aborted } from '../aborter.ts'
import { isPending } from '../awaitable.ts'
import type { Clock } from '../clock.ts'
import type { DeliveryAgent, DeliveryTarget, Outcome, Queued, Route } from '../delivery.ts'
import type { AgentEntry } from '../hooks/contract.ts'
import type { Log } from '../log.ts'
import type { Call } from '../plugin.ts'
import type { Awaitable } from '../transaction.ts'
import { reasonOf } from './errors.ts'
import { unrouted } from './keys.ts'
import type { Pin } from './records.ts'

/** Where a recipient goes, or why nowhere. */
export interface Routed {
  /** With the plugin's name before it, or `unrouted`. */
  readonly lane: string
  readonly entry?: AgentEntry
  readonly route?: Route
  readonly outcome?: Extract<Outcome, { kind: 'defer' | 'reject' | 'discard' | 'hold' }>
}

type Answer = Awaited<ReturnType<DeliveryAgent['route']>>

/** Milliseconds that one `route` may take: it must not do I/O that can hang. */
const patience = 10_000
const longestLane = 400

const temporary = (enhanced: '4.3.0' | '4.4.4', text: string, reason: string): Routed => ({
  lane: unrouted,
  outcome: { kind: 'defer', code: 451, enhanced, text, reason, scope: 'recipient' },
})

export interface RoutingContext {
  readonly agents: readonly AgentEntry[]
  readonly clock: Clock
  readonly log: Log
}

/** Asks for one recipient. At once where the agents answer at once; never throws or rejects. */
export function routeTarget(
  to: DeliveryTarget,
  message: Queued,
  pin: Pin | undefined,
  context: RoutingContext,
): Awaitable<Routed> {
  const agents = pin === undefined ? context.agents : context.agents.filter(a => a.plugin === pin.plugin)
  const pinned = pin?.lane === undefined ? undefined : agents[0]
  if (pinned !== undefined && pin?.lane !== undefined) {
    return routed(pinned, { lane: pin.lane, data: pin.data ?? null }) ?? nonsense(pinned)
  }
  return ask(agents, 0, to, message, context)
}

function ask(
  agents: readonly AgentEntry[],
  from: number,
  to: DeliveryTarget,
  message: Queued,
  context: RoutingContext,
): Awaitable<Routed> {
  for (let i = from; i < agents.length; i++) {
    const entry = agents[i] as AgentEntry
    let answer: Awaitable<Answer>
    const call = new RouteCall(context)
    try {
      answer = entry.agent.route(to, message, call)
    } catch (error) {
      return fault(entry, message, error, context)
    }
    if (isPending(answer)) {
      return call.limit(answer).then(
        settled => routed(entry, settled) ?? ask(agents, i + 1, to, message, context),
        error => fault(entry, message, error, context),
      )
    }
    const found = answer === undefined ? undefined : routed(entry, answer)
    if (found !== undefined) return found
  }
  return temporary('4.4.4', 'no route', 'no plugin has a route for this recipient')
}

function routed(entry: AgentEntry, answer: Answer): Routed | undefined {
  if (answer === undefined || answer === null) return undefined
  if ('kind' in answer) {
    if (answer.kind === 'discard' || answer.kind === 'hold') {
      return typeof answer.reason === 'string' ? { lane: unrouted, entry, outcome: answer } : nonsense(entry)
    }
    if (answer.kind !== 'defer' && answer.kind !== 'reject') return nonsense(entry)
    return { lane: unrouted, entry, outcome: { ...answer, scope: 'recipient' } }
  }
  const { lane } = answer
  if (typeof lane !== 'string' || lane === '' || lane.length > longestLane || !lane.isWellFormed())
    return nonsense(entry)
  return { lane: `${entry.plugin}/${lane}`, entry, route: answer }
}

const nonsense = (entry: AgentEntry): Routed =>
  temporary('4.3.0', 'temporary fault', `${entry.plugin}: route answered what is neither a route nor a verdict`)

function fault(entry: AgentEntry, message: Queued, error: unknown, { log }: RoutingContext): Routed {
  log.error({ id: message.id, plugin: entry.plugin, hook: 'route', error: reasonOf(error) }, 'a plugin failed to route')
  return temporary('4.3.0', 'temporary fault', `${entry.plugin}: route failed: ${reasonOf(error)}`)
}

class RouteCall implements Call {
  readonly log: Log
  readonly now: () => number
  readonly #clock: Clock
  #aborter: Aborter | undefined

  constructor({ log, clock }: RoutingContext) {
    this.log = log
    this.#clock = clock
    this.now = clock.now
  }

  get signal(): AbortSignal {
    this.#aborter ??= new Aborter()
    return this.#aborter.signal
  }

  limit<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = this.#clock.after(patience, () => {
        this.#aborter ??= new Aborter()
        this.#aborter.abort(aborted.timeout)
        reject(aborted.timeout)
      })
      promise.finally(stop).then(resolve, reject)
    })
  }
}
