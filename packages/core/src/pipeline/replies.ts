// Every reply that the stages give by themselves, and how a verdict becomes one.
import type { Reply } from '@posthorn/mail'
import type { StorageError } from '../storage/contract.ts'
import type { Defer, PassedOn, Reject, Verdict } from '../verdict.ts'

const say = (code: number, enhanced: string, text: string, close?: true): Reply => ({
  code,
  enhanced,
  lines: [text],
  ...(close ? { close } : {}),
})

export const replies = {
  sender: say(250, '2.1.0', 'Sender OK'),
  recipient: say(250, '2.1.5', 'Recipient OK'),
  // RFC 5321 §3.5.3 leaves the text free; ids in it are what people quote when they ask.
  queued: (id: string) => say(250, '2.0.0', `OK: queued as ${id}`),
  discarded: (id: string) => say(250, '2.0.0', `OK: ${id}`),
  notOurs: say(550, '5.7.1', 'Relaying denied'),
  badCredentials: say(535, '5.7.8', 'Authentication credentials invalid'),
  // RFC 5321 §4.5.3.1.10: 452, so that the client sends the rest in another transaction.
  tooManyRecipients: say(452, '4.5.3', 'Too many recipients'),
  noRecipients: say(554, '5.5.1', 'No valid recipients'),
  otherPolicy: say(452, '4.5.3', 'Send to this recipient in a transaction of its own'),
  loop: say(554, '5.4.6', 'Mail loop detected'),
  aliasLoop: say(550, '5.4.6', 'Recipient address loops'),
  late: say(451, '4.3.0', 'Processing took too long, try again later'),
  fault: say(451, '4.3.0', 'Temporary failure, try again later'),
  tooMuchState: say(451, '4.3.0', 'Temporary failure, try again later'),
}

/** RFC 3463 §3.4: X.3.1 is "mail system full"; what else goes wrong in a store is also no fault of the message. */
export function storageReply(_error: StorageError): Reply {
  return say(452, '4.3.1', 'Insufficient system storage, try again later')
}

/** The reply of an objection. A discard is a yes to the client. */
export function verdictReply(verdict: Verdict, id: string): Reply {
  if (verdict.kind === 'discard') return replies.discarded(id)
  return refusalReply(verdict)
}

export function refusalReply(verdict: Defer | Reject): Reply {
  return {
    code: verdict.code,
    enhanced: verdict.enhanced,
    lines: [verdict.text],
    ...(verdict.close || verdict.code === 421 ? { close: true } : {}),
  }
}

/** The back end's own words; formatReply sanitises them. An enhanced code of another class than the reply's is not passed on. */
export function passedOnReply({ reply }: PassedOn): Reply {
  const { code, lines } = reply
  if (!(code >= 200 && code < 600) || (code >= 300 && code < 400)) return replies.fault
  const kept = reply.enhanced?.startsWith(`${Math.floor(code / 100)}.`) ? reply.enhanced : undefined
  const enhanced = kept ?? `${Math.floor(code / 100)}.0.0`
  return { code, enhanced, lines: lines.length > 0 ? lines : ['OK'], ...(code === 421 ? { close: true } : {}) }
}

/** A verdict in a few words, for log and trace: `reject 550 5.7.1 Relaying denied`. */
export function describeVerdict(verdict: Verdict | PassedOn): string {
  if (verdict.kind === 'discard') return 'discard'
  if (verdict.kind === 'passed-on') return `passed-on ${verdict.reply.code} ${verdict.reply.lines[0] ?? ''}`
  return `${verdict.kind} ${verdict.code} ${verdict.enhanced} ${verdict.text}`
}
