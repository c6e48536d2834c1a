// One message over the first of several next hops that works: what relay, routes and outbound have in common. Each
// target gets one outcome; another hop is tried only where nothing of the message can be at the last one.
import type { DeliveryAgent, DeliveryTarget, Outcome, Queued } from '../../delivery.ts'
import type { Id } from '../../envelope.ts'
import { plainText } from '../../plain-text.ts'
import type { SmtpConnection } from './connection.ts'
import type { SmtpFailure } from './failure.ts'
import { placeKey } from './identity.ts'
import type { HopMemory } from './memory.ts'
import { endpointName, type NextHop } from './next-hop.ts'
import { type HopOutcome, outcomeOf, outcomeOfFailure } from './outcome.ts'
import type { SmtpPool } from './pool.ts'
import { addressUnfit, bareLineEnds, tooManyRecipients, unreadable } from './requirements.ts'
import type { Answer } from './transaction.ts'

/** What an agent's `send` gets last. */
export type SendCall = Parameters<DeliveryAgent['send']>[3]

export interface FailOver {
  readonly pool: SmtpPool
  readonly memory: HopMemory
  /** The agent's name, for outcomes. */
  readonly by: string
  /** Hops that are tried for one `send`; default 5: each may take minutes to fail. */
  readonly attempts?: number
  /** A slot that is shared with other lanes, taken before the hop is dialled. */
  readonly throttle?: (hop: NextHop) => string | undefined
  /** Told which hop answered, and which failed. */
  readonly tried?: (hop: NextHop, failure: SmtpFailure | undefined) => void
}

/**
 * Reports every target, in the end. `hops` is asked for the next one only where it is needed; `nowhere` is the outcome
 * where it had none at all. Rejects with what `call.throttle` or `hops` rejects with: then nobody was reported who is
 * not done.
 */
export async function sendThrough(
  message: Queued,
  to: readonly DeliveryTarget[],
  hops: Iterable<NextHop> | AsyncIterable<NextHop>,
  call: SendCall,
  how: FailOver,
  nowhere: () => Outcome,
): Promise<void> {
  const { pool, memory, by, attempts = 5, throttle, tried } = how
  const told: string[] = []
  /** What is known of those whose fate another hop may better. */
  let kept: Map<Id, HopOutcome> | undefined
  let open = to
  let last: HopOutcome | undefined
  let count = 0
  for await (const hop of hops) {
    if (count++ === attempts) break
    const key = throttle?.(hop)
    const slot = key === undefined ? undefined : await call.throttle(key)
    const context = { by, final: hop.protocol === 'lmtp' }
    const batch = open
    const done = new Set<Id>()
    const report = (index: number, answer: Answer, connection: SmtpConnection) => {
      const { id } = batch[index] as DeliveryTarget
      const outcome = { ...outcomeOf(answer, context), via: via(hop, connection) }
      if (mayBetter(answer)) {
        kept ??= new Map()
        kept.set(id, outcome)
      } else {
        done.add(id)
        call.report(id, outcome)
      }
    }
    let failure: SmtpFailure | undefined
    try {
      failure = await pool.send(hop, message, batch, report, call)
    } finally {
      slot?.[Symbol.dispose]()
    }
    open = done.size === batch.length ? [] : batch.filter(({ id }) => !done.has(id))
    tried?.(hop, failure)
    if (failure === undefined) memory.worked(placeKey(hop))
    else {
      told.push(`${endpointName(hop.endpoint)}: ${failure.message}`)
      const again = mayFailOver(failure)
      if (again) memory.failed(placeKey(hop), call.now())
      last = { ...failed(message, failure, told), via: via(hop) }
      // What a hop said for the time being tells more than that another one is down. But not of a message that may
      // have been sent meanwhile, nor of one that this other one could have taken.
      for (const { id } of open) if (!again || kept?.get(id)?.kind !== 'defer') kept?.delete(id)
      if (!again) break
      const { phase, kind } = failure
      call.log.warn({ id: message.id, hop: endpointName(hop.endpoint), phase, kind }, failure.message)
    }
    if (open.length === 0) return
  }
  for (const { id } of open) call.report(id, kept?.get(id) ?? last ?? nowhere())
}

/** Whether another hop may be tried: the fault is this hop's, and nothing of the message can be there. */
function mayFailOver({ phase, kind, unknown }: SmtpFailure): boolean {
  if (unknown || kind === 'aborted' || kind === 'closed') return false
  return phase === 'connect' || phase === 'hello' || phase === 'mail'
}

/** Whether another hop may take what this one did not: it lacks something, or refused to talk of a message at all. */
function mayBetter(answer: Answer): boolean {
  if (answer.kind === 'refused') return answer.reply.phase === 'mail' && answer.reply.code < 500
  if (answer.kind === 'accepted') return false
  return answer !== unreadable && answer !== bareLineEnds && answer !== addressUnfit && answer !== tooManyRecipients
}

function failed({ params, from }: Queued, failure: SmtpFailure, told: readonly string[]): HopOutcome {
  const outcome = outcomeOfFailure(failure)
  // RFC 8689 §4.2.1: what must not go without TLS is returned where TLS cannot be had.
  if (params.requireTls && from !== null && failure.kind === 'tls') {
    return { ...outcome, kind: 'reject', code: 550, enhanced: '5.7.10', scope: 'message' }
  }
  return told.length === 1 ? outcome : { ...outcome, reason: plainText(told.join('; ')) }
}

/** `mx1.example.org[192.0.2.1]:25 TLSv1.3 verified`: for log and trace. */
function via({ endpoint }: NextHop, connection?: SmtpConnection): string {
  const { name } = endpoint as { readonly name?: string }
  const where = name === undefined || 'path' in endpoint ? endpointName(endpoint) : named(name, endpoint)
  const secured = connection?.secured
  if (secured === undefined) return where
  return `${where} ${secured.protocol}${secured.verified ? ' verified' : ''}`
}

const named = (name: string, { host, port }: { readonly host: string; readonly port: number }) =>
  `${name}[${host}]:${port}`
