// MAIL and RCPT: addresses and parameters are parsed by ourselves, so that whatever RFC 5321 allows comes through as
// it was written, and nothing of a refused command is remembered.
import {
  isAscii,
  isMalformed,
  type Malformed,
  parseMailParams,
  parsePath,
  parseRcptParams,
  type Reply,
} from '@posthorn/mail'
import { andThen } from '../awaitable.ts'
import type { Awaitable } from '../transaction.ts'
import type { Connection } from './connection.ts'
import * as replies from './replies.ts'

// RFC 5321 §4.5.3.1.1: 64 octets are what must be taken, not the most that may be: SRS and VERP make longer ones.
const maxLocal = 254

const accepted = (reply: Reply) => reply.code >= 200 && reply.code < 300
const refusal = ({ code, enhanced, error }: Malformed): Reply => ({ code, enhanced, lines: [error] })

/** What follows `FROM:` or `TO:`. A space after the colon is wrong and common (RFC 5321 §3.3), so it is let through. */
function path(argument: string, keyword: 'FROM:' | 'TO:'): string | undefined {
  if (argument.slice(0, keyword.length).toUpperCase() !== keyword) return undefined
  return argument.slice(keyword.length).trimStart()
}

/** RFC 6710: on offer where somebody's word counts; a client that has not logged in is heard and not obeyed. */
export function takesPriorities({ front: { listener }, user }: Connection): boolean {
  return listener.priorities === 'users' ? listener.auth !== 'off' || user !== undefined : listener.priorities === 'all'
}

export function mail(connection: Connection, argument: string): Awaitable<Reply> {
  const { listener, shared } = connection.front
  const { limits } = listener
  if (connection.hello === undefined) return replies.helloFirst(connection.lmtp ? 'LHLO' : 'EHLO')
  if (connection.transaction !== undefined) return replies.nested
  if (listener.requireTls && !connection.secure) return replies.tlsRequired
  if (listener.auth === 'required' && connection.user === undefined) return replies.authRequired
  if (connection.messages >= limits.messagesPerConnection) return replies.tooManyMessages
  const text = path(argument, 'FROM:')
  if (text === undefined) return replies.syntax('MAIL FROM:<address>')
  const from = parsePath(text, { smtputf8: true, as: 'sender', maxLocal })
  if (isMalformed(from)) return refusal(from)
  const params = parseMailParams(from.rest)
  if (isMalformed(params)) return refusal(params)
  if (!params.smtputf8 && from.mailbox !== null && !isAscii(from.mailbox.raw)) {
    // RFC 6531 §3.5
    return { code: 553, enhanced: '5.6.7', lines: ['Non-ASCII address needs SMTPUTF8'] }
  }
  const { 'MT-PRIORITY': priority, ...unknown } = params.other
  // RFC 5321 §4.1.1.11: what is not offered is not understood.
  if (Object.keys(unknown).length > 0) return replies.unknownParameter
  if (priority !== undefined) {
    if (!takesPriorities(connection)) return replies.unknownParameter
    if (priority === true || !/^(?:0|-?[1-9])$/.test(priority)) return replies.syntax('MT-PRIORITY=-9 to 9')
  }
  if (params.body === 'binarymime' && !listener.binarymime) return replies.unknownParameter
  if (params.requireTls && !shared.requireTls()) return replies.unknownParameter
  if (params.requireTls && !connection.secure) return replies.requireTlsRefused
  // RFC 1870 §6.1
  if (params.size !== undefined && params.size > limits.messageSize) return replies.tooLarge
  const counts = priority === undefined || listener.priorities === 'all' || connection.user !== undefined
  const kept = counts ? params : { ...params, other: unknown }
  return andThen(connection.pipeline.mail(from.mailbox, kept), reply => {
    if (accepted(reply) && !connection.closing) connection.transaction = { params: kept, accepted: 0 }
    return reply
  })
}

export function rcpt(connection: Connection, argument: string): Awaitable<Reply> {
  const { transaction } = connection
  if (transaction === undefined) return replies.mailFirst
  if (transaction.chunks !== undefined) return replies.outOfSequence
  const text = path(argument, 'TO:')
  if (text === undefined) return replies.syntax('RCPT TO:<address>')
  const { smtputf8 } = transaction.params
  const to = parsePath(text, { smtputf8, as: 'recipient', maxLocal })
  if (isMalformed(to)) return refusal(to)
  const params = parseRcptParams(to.rest, { smtputf8 })
  if (isMalformed(params)) return refusal(params)
  if (Object.keys(params.other).length > 0) return replies.unknownParameter
  // RFC 5321 §4.5.3.1.10
  if (transaction.accepted >= connection.front.listener.limits.recipients) return replies.tooManyRecipients
  if (to.mailbox === null) return replies.syntax('RCPT TO:<address>')
  return andThen(connection.pipeline.rcpt(to.mailbox, params), reply => {
    if (accepted(reply)) transaction.accepted++
    return reply
  })
}
