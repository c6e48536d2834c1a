// The Received field that we write (RFC 5321 §4.4). What the client said of itself is hostile text.
import { isIPv4, isIPv6 } from 'node:net'
import { formatAddress, type Mailbox } from './address.ts'
import { formatDate } from './date.ts'
import { canonicalDomain, isAscii } from './domain.ts'
import { foldField } from './field.ts'

type Suffix = '' | 'A' | 'S' | 'SA'

/** RFC 5321 §4.4.1, RFC 3848, RFC 6531 §4.3. */
export type ReceivedProtocol = 'SMTP' | `${'ESMTP' | 'LMTP' | 'UTF8SMTP' | 'UTF8LMTP'}${Suffix}`

/** The word after `with`: from how the client greeted, and what the session and the transaction use. */
export function receivedProtocol(session: {
  readonly verb: 'HELO' | 'EHLO' | 'LHLO'
  readonly tls: boolean
  readonly auth: boolean
  readonly smtputf8: boolean
}): ReceivedProtocol {
  if (session.verb === 'HELO') return 'SMTP'
  const suffix: Suffix = session.tls ? (session.auth ? 'SA' : 'S') : session.auth ? 'A' : ''
  const lmtp = session.verb === 'LHLO'
  if (session.smtputf8) return lmtp ? `UTF8LMTP${suffix}` : `UTF8SMTP${suffix}`
  return lmtp ? `LMTP${suffix}` : `ESMTP${suffix}`
}

/** What all messages of a session have in common. */
export interface ReceivedSession {
  /** What the client called itself. Without `helo` and `ip` there is no `from` clause: mail that began here. */
  readonly helo?: string
  readonly ip?: string
  /** The client's name by DNS, confirmed. */
  readonly name?: string
  /** Our host name. */
  readonly by: string
  readonly protocol?: ReceivedProtocol
  readonly tls?: { readonly protocol: string; readonly cipher: string }
}

export interface Received extends ReceivedSession {
  readonly id: string
  /** Only for a single recipient: a list would tell them of each other (RFC 5321 §7.2). */
  readonly for?: Pick<Mailbox, 'local' | 'domain'>
  /** Milliseconds since the epoch. */
  readonly date: number
}

/** The clauses before `id`, to be made once for a session. Never throws: what is unfit in a name becomes `?`. */
export function receivedClauses({ helo, ip, name, by, protocol, tls }: ReceivedSession): string {
  let value = ''
  if (helo !== undefined || ip !== undefined) value = `from ${host(helo)}${connection(name, ip)}\r\n\t`
  value += `by ${host(by)}`
  if (protocol !== undefined) value += ` with ${protocol}`
  if (tls) value += ` (${word(tls.protocol)} ${word(tls.cipher)})`
  return value
}

/**
 * The whole field, folded, CRLF at its end. Never throws: what is unfit in a name becomes `?`. `clauses`: what
 * {@link receivedClauses} says of the session, where it is known.
 */
export function formatReceived(received: Received, clauses: string = receivedClauses(received)): string {
  let value = `${clauses}\r\n\tid ${word(received.id)}`
  const recipient = received.for && path(received.for, received.protocol?.startsWith('UTF8') === true)
  if (recipient) value += ` for ${recipient}`
  return foldField('Received', `${value};\r\n\t${formatDate(received.date)}`, { utf8: true })
}

/** RFC 5321 §4.4: TCP-info, in a comment after the name that the client gave. */
function connection(name: string | undefined, ip: string | undefined): string {
  const literal = ip === undefined ? '' : isIPv4(ip) ? `[${ip}]` : isIPv6(ip) ? `[IPv6:${word(ip)}]` : ''
  const known = name === undefined ? '' : host(name)
  if (literal === '' && known === '') return ''
  return ` (${known}${known && literal ? ' ' : ''}${literal})`
}

// What ends a comment, opens a quote or breaks a line cannot come through.
function host(text: string | undefined): string {
  if (!text) return 'unknown'
  const plain = isAscii(text) ? text : (canonicalDomain(text) ?? text)
  return plain.slice(0, 255).replace(/[^A-Za-z0-9._:[\]-]/g, '?')
}

function word(text: string): string {
  return text.slice(0, 255).replace(/[^A-Za-z0-9._:-]/g, '?') || 'unknown'
}

function path(mailbox: Pick<Mailbox, 'local' | 'domain'>, utf8: boolean): string | undefined {
  const address = formatAddress(mailbox, { utf8 })
  // White space inside quotes would be folded, and brackets misread by those who do not know quotes.
  return /^[!-'*-:=?-~\u00a1-\u{10ffff}]{1,320}$/u.test(address) && (utf8 || isAscii(address))
    ? `<${address}>`
    : undefined
}
