// From what the client says to what the queue understands: one Outcome for each recipient, with the scope of what
// failed and the peer's words verbatim.
import type { RemoteReply } from '@posthorn/mail'
import type { Outcome } from '../../delivery.ts'
import { plainText } from '../../plain-text.ts'
import type { Defer, DeferCode, Enhanced, Reject, RejectCode } from '../../verdict.ts'
import type { SmtpFailure } from './failure.ts'
import type { Answer } from './transaction.ts'

/** `final`: the peer is where the message stays (LMTP), so it is delivered, not relayed. `by`: the agent's name. */
export interface OutcomeContext {
  readonly by: string
  readonly final: boolean
}

/** What a hop can make of a recipient. */
export type HopOutcome = Exclude<Outcome, { readonly kind: 'discard' | 'hold' }>

/** The outcome of a recipient whose fate the transaction told. */
export function outcomeOf(answer: Answer, { by, final }: OutcomeContext): HopOutcome {
  if (answer.kind === 'accepted') {
    const kind = final ? 'delivered' : 'relayed'
    // RFC 3461 §5.2.2: who takes a message with its DSN parameters takes the duty to report.
    return { kind, by, remote: answer.reply, ...(answer.dsn ? { noReport: true } : {}) }
  }
  if (answer.kind === 'unsent') {
    const { code, enhanced, text } = answer
    const scope = enhanced === addressLacks || enhanced === '5.1.3' || enhanced === '4.5.3' ? 'recipient' : 'message'
    return {
      ...verdict(code, enhanced, text),
      scope,
      // Others of the message went: the rest may follow at once (RFC 5321 §4.5.3.1.10).
      ...(enhanced === '4.5.3' ? { retryAfter: 0 } : {}),
    }
  }
  const { reply, others } = answer
  const scope = reply.phase === 'rcpt' || (reply.phase === 'dot' && final) ? 'recipient' : 'message'
  return { ...said(reply), scope, remote: reply, ...(tooMany(reply) && others ? { retryAfter: 0 } : {}) }
}

/** The outcome of every recipient that was not told when the connection ended. Always temporary. */
export function outcomeOfFailure(failure: SmtpFailure): Extract<Outcome, { readonly kind: 'defer' }> {
  const { reply, phase, kind } = failure
  const text = `${failure.host}: ${failure.message}`
  const unknown = failure.unknown ? '; the final dot was out, so the next hop may have the message' : ''
  // What goes wrong before a recipient is named, or is the peer's farewell, would meet every message of the lane.
  const early = phase === 'connect' || phase === 'hello' || phase === 'mail' || reply?.code === 421
  return {
    kind: 'defer',
    code: 451,
    enhanced: failure.enhanced as Enhanced<4>,
    text: plainText(text),
    reason: `${kind} at ${phase}: ${plainText(failure.message)}${unknown}`,
    cause: failure,
    scope: early && kind !== 'aborted' ? 'lane' : 'message',
    ...(failure.unknown ? { unknown: true } : {}),
    ...(reply === undefined ? {} : { remote: reply }),
  }
}

const addressLacks = '5.6.7'

/** 452, and 552 from old servers (RFC 5321 §4.5.3.1.10), unless the enhanced code says that it is something else. */
function tooMany({ code, enhanced, phase }: RemoteReply): boolean {
  return phase === 'rcpt' && code === 452 && (enhanced === undefined || enhanced === '4.5.3')
}

function said(reply: RemoteReply): Defer | Reject {
  const text = `${reply.host}: ${reply.code} ${reply.enhanced ?? ''} ${reply.lines.join(' ')}`
  const digit = reply.code < 500 ? '4' : '5'
  // RFC 3463 §3.1: X.0.0 where all that is known is the class.
  return verdict(reply.code, reply.enhanced?.startsWith(digit) ? reply.enhanced : `${digit}.0.0`, text)
}

const deferCodes: ReadonlySet<number> = new Set<DeferCode>([421, 450, 451, 452, 454, 455])
const rejectCodes: ReadonlySet<number> = new Set<RejectCode>([521, 530, 535, 550, 551, 552, 553, 554, 556])

/** A verdict with the nearest code that we use; the peer's own is in `remote`. */
function verdict(code: number, enhanced: string, text: string): Defer | Reject {
  if (code < 500) {
    const near = deferCodes.has(code) ? (code as DeferCode) : 451
    return { kind: 'defer', code: near, enhanced: enhanced as Enhanced<4>, text: plainText(text) }
  }
  const near = rejectCodes.has(code) ? (code as RejectCode) : 554
  return { kind: 'reject', code: near, enhanced: enhanced as Enhanced<5>, text: plainText(text) }
}
