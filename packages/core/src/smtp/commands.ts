// The commands of a session and their table. A command answers with a reply, or with nothing where it has spoken itself.
// The order of commands is judged here and in the files beside (RFC 5321 §4.1.4).
import type { Reply } from '@posthorn/mail'
import { andThen } from '../awaitable.ts'
import type { Awaitable } from '../transaction.ts'
import { auth, mayAuthenticate } from './auth.ts'
import type { Connection } from './connection.ts'
import { bdat, data } from './data.ts'
import { mail, rcpt, takesPriorities } from './envelope.ts'
import * as replies from './replies.ts'
import { mayXclient, xclient } from './xclient.ts'

/** `argument`: what follows the verb, without white space at its end. */
export type Command = (connection: Connection, argument: string, verb: string) => Awaitable<Reply | undefined>

/** RFC 5321 §4.5.3.1.2 allows 255 octets for a domain. */
const maxHello = 255
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const unfitHello = /[\u0000-\u0020\u007f-\u009f\s]/

export const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['HELO', hello],
  ['EHLO', hello],
  ['LHLO', hello],
  ['MAIL', mail],
  ['RCPT', rcpt],
  ['DATA', data],
  ['BDAT', bdat],
  ['RSET', withoutArgument(rset)],
  ['NOOP', () => replies.ok],
  ['QUIT', withoutArgument(() => ({ ...replies.bye, close: true }))],
  ['VRFY', (_, argument) => (argument === '' ? replies.syntax('VRFY address') : replies.cannotVerify)],
  ['EXPN', () => replies.notImplemented],
  ['HELP', () => replies.help],
  ['AUTH', auth],
  ['STARTTLS', withoutArgument(startTls)],
  ['XCLIENT', xclient],
])

/** What a client may say only so often without sending mail. */
export const idleCommands: ReadonlySet<string> = new Set([
  'HELO',
  'EHLO',
  'LHLO',
  'RSET',
  'NOOP',
  'VRFY',
  'EXPN',
  'HELP',
])

function withoutArgument(command: Command): Command {
  return (connection, argument, verb) => (argument === '' ? command(connection, argument, verb) : replies.noArgument)
}

function hello(connection: Connection, argument: string, verb: string): Awaitable<Reply> {
  // RFC 2033 §4.1: LHLO and nothing else in LMTP; nowhere else LHLO.
  if (connection.lmtp !== (verb === 'LHLO')) return replies.wrongHello(connection.lmtp ? 'LHLO' : 'EHLO')
  const said = verb as 'HELO' | 'EHLO' | 'LHLO'
  if (argument === '') return replies.syntax(`${verb} name`)
  // Real clients say bare addresses and worse; what would break a header or a log is refused, judging is for plugins.
  if (Buffer.byteLength(argument) > maxHello || unfitHello.test(argument)) return replies.badHello
  connection.resetTransaction()
  connection.hello = undefined
  return andThen(connection.pipeline.helo(said, argument), refusal => {
    if (refusal !== undefined) return refusal
    connection.hello = said
    const { hostname } = connection.front.listener
    // RFC 2034 §3: no enhanced code in these.
    return { code: 250, lines: said === 'HELO' ? [hostname] : [hostname, ...keywords(connection)] }
  })
}

/** The extensions on offer, as they are now: TLS and a user change them. */
export function keywords(connection: Connection): readonly string[] {
  const { listener, shared } = connection.front
  const { limits } = listener
  const offered = [
    'PIPELINING',
    `SIZE ${limits.messageSize}`,
    '8BITMIME',
    'SMTPUTF8',
    'ENHANCEDSTATUSCODES',
    'DSN',
    'CHUNKING',
  ]
  if (listener.binarymime) offered.push('BINARYMIME')
  if (mayStartTls(connection)) offered.push('STARTTLS')
  if (mayAuthenticate(connection)) offered.push('AUTH PLAIN LOGIN')
  if (takesPriorities(connection)) offered.push('MT-PRIORITY')
  // RFC 9422
  offered.push(`LIMITS RCPTMAX=${limits.recipients} MAILMAX=${limits.messagesPerConnection}`)
  // RFC 8689 §2: over TLS only, and only by those who can keep the promise.
  if (connection.secure && shared.requireTls()) offered.push('REQUIRETLS')
  if (mayXclient(connection)) offered.push('XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT')
  return offered
}

function rset(connection: Connection): Reply {
  connection.resetTransaction()
  return replies.ok
}

function mayStartTls(connection: Connection): boolean {
  return !connection.secure && connection.front.offersStartTls
}

function startTls(connection: Connection): Awaitable<Reply | undefined> {
  if (connection.secure) return replies.tlsActive
  if (!mayStartTls(connection)) return replies.notImplemented
  if (connection.transaction !== undefined) return replies.outOfSequence
  connection.reply(replies.startTls)
  // RFC 3207 §4.2, §6: what the client said before is forgotten, what it has sent after STARTTLS in plain text is
  // dropped; smtp-server's `upgrade` closes the old stream and makes a new one.
  connection.upgrade(() => {})
  return undefined
}
