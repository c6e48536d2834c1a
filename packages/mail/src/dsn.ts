// Delivery status notifications: a whole multipart/report message from what became of each recipient
// (RFC 3461 §6, RFC 3464, RFC 6522, RFC 6533). Who gets one, and when, is the queue's business.
import { randomBytes } from 'node:crypto'
import { formatAddress, type Mailbox, needsSmtputf8 } from './address.ts'
import { formatDate } from './date.ts'
import { isAscii } from './domain.ts'
import { type ReturnedPart, returnedPart } from './dsn-original.ts'
import { formatStatus } from './dsn-status.ts'
import { formatText } from './dsn-text.ts'
import { foldField } from './field.ts'
import { fieldValues, scanHeader } from './header.ts'
import { encodeQuotedPrintable } from './quoted-printable.ts'
import type { RemoteReply } from './reply.ts'

/** RFC 3464 §2.3.3. `relayed`: handed to a system that will not confirm. `expanded`: became several recipients. */
export type ReportAction = 'failed' | 'delayed' | 'delivered' | 'relayed' | 'expanded'

export interface ReportedRecipient {
  readonly address: Mailbox
  /** As {@link RcptParams} keeps it: `addr-type;decoded address`. */
  readonly orcpt?: string
  readonly action: ReportAction
  /** RFC 3463, `5.1.1`. What is malformed becomes the class's `x.0.0`. */
  readonly status: string
  /** The peer's own words. */
  readonly remote?: RemoteReply
  /** Our own reason, where no peer spoke. Goes to the sender: no paths, no configuration. */
  readonly diagnostic?: string
  /** Replaces the human explanation, for rejections that explain themselves. May have several lines. */
  readonly text?: string
  /** Milliseconds since the epoch, as all dates here. */
  readonly lastAttempt?: number
  /** Only for `delayed`. */
  readonly willRetryUntil?: number
  /** Our id of the message, which leads from the report to our log. */
  readonly logId?: string
}

export interface Report {
  /** Makes `<id@reportingMta>` the Message-ID. */
  readonly id: string
  /** Our host name. */
  readonly reportingMta: string
  /** The reverse-path of the message. */
  readonly to: Mailbox
  readonly date: number
  /** When the message came in. */
  readonly arrival: number
  /** What the client that brought it called itself. */
  readonly receivedFrom?: string
  /** And the address it came from. */
  readonly receivedFromIp?: string
  /** Decoded, as {@link MailParams} keeps it. */
  readonly envid?: string
  /** At least one. The first 100 are reported, the others counted. */
  readonly recipients: readonly ReportedRecipient[]
  /** Further recipients that the caller left out, to be counted too. */
  readonly more?: number
  /** The message as accepted, or its header alone. Whole only in a report of failure, and where it can be sent as it is. */
  readonly original: { readonly bytes: Uint8Array; readonly what: 'full' | 'headers' }
  /** The message was SMTPUTF8, so its sender can read UTF-8 (RFC 6533 §4). */
  readonly smtputf8?: boolean
}

export interface FormattedReport {
  /** The whole message, CRLF throughout, no dots stuffed. Send it from `<>` (RFC 3461 §6.1). */
  readonly bytes: Uint8Array
  /** It can only be sent with SMTPUTF8. */
  readonly smtputf8: boolean
  /** It has octets over 127: BODY=8BITMIME. */
  readonly eightBit: boolean
}

const maxRecipients = 100

/** Builds the report. Hostile text (replies, names, the original) cannot change its structure; it never throws for it. */
export function formatReport(report: Report): FormattedReport {
  const utf8 = report.smtputf8 === true || needsSmtputf8(report.to)
  const shown = report.recipients.slice(0, maxRecipients)
  const more = report.recipients.length - shown.length + (report.more ?? 0)
  const failed = report.recipients.some(recipient => recipient.action === 'failed')
  const status = formatStatus(report, shown, utf8)
  const original = returnedPart(report.original.bytes, failed ? report.original.what : 'headers', utf8)
  const text = formatText(report, shown, more, original.whole)
  const statusIsAscii = isAscii(status)
  const parts = [
    textPart(text),
    part(
      `message/${statusIsAscii ? '' : 'global-'}delivery-status`,
      statusIsAscii ? '7bit' : '8bit',
      'Delivery report',
      Buffer.from(status),
    ),
    part(original.type, original.encoding, original.whole ? 'Your message' : 'Header of your message', original.bytes),
  ]
  const boundary = boundaryFor(parts)
  const eightBit = !statusIsAscii || original.encoding === '8bit'
  const chunks: Uint8Array[] = [Buffer.from(header(report, shown, boundary, utf8, eightBit))]
  for (const one of parts) chunks.push(Buffer.from(`--${boundary}\r\n`), one, Buffer.from('\r\n'))
  chunks.push(Buffer.from(`--${boundary}--\r\n`))
  return {
    bytes: Buffer.concat(chunks),
    smtputf8: needsSmtputf8(report.to) || (original.type.startsWith('message/global') && original.encoding === '8bit'),
    eightBit: eightBit || needsSmtputf8(report.to),
  }
}

function header(
  report: Report,
  shown: readonly ReportedRecipient[],
  boundary: string,
  utf8: boolean,
  eightBit: boolean,
): string {
  const host = hostName(report.reportingMta)
  const reference = messageId(report.original.bytes)
  return [
    foldField('From', `Mail Delivery System <MAILER-DAEMON@${host}>`),
    foldField('To', `<${formatAddress(report.to, { utf8: needsSmtputf8(report.to) })}>`, { utf8 }),
    foldField('Subject', subject(shown)),
    foldField('Date', formatDate(report.date)),
    foldField('Message-ID', `<${report.id.slice(0, 200).replace(/[^A-Za-z0-9._-]/g, '-')}@${host}>`),
    reference ? foldField('References', reference) : '',
    // RFC 3834 §3.1.7: nobody answers this automatically.
    foldField('Auto-Submitted', 'auto-replied'),
    foldField('MIME-Version', '1.0'),
    `Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="${boundary}"\r\n`,
    // RFC 2045 §6.4: what is around parts of 8 bits says so too.
    eightBit ? 'Content-Transfer-Encoding: 8bit\r\n\r\n' : '\r\n',
  ].join('')
}

function subject(shown: readonly ReportedRecipient[]): string {
  const actions = new Set(shown.map(recipient => recipient.action))
  if (actions.has('failed')) return 'Undelivered mail returned to sender'
  if (actions.has('delayed')) return 'Delayed mail (still being tried)'
  return 'Successful mail delivery report'
}

/** Of the original, for threading; only where it is plainly one. */
function messageId(original: Uint8Array): string | undefined {
  const found = fieldValues(scanHeader(original), 'message-id')[0]
  return found !== undefined && /^<[!-;=?-~]{1,250}@[!-;=?-~]{1,250}>$/.test(found) ? found : undefined
}

function textPart(text: string): Uint8Array {
  const octets = Buffer.from(text)
  if (isAscii(text)) return part('text/plain; charset=us-ascii', '7bit', 'Explanation', octets)
  return part(
    'text/plain; charset=utf-8',
    'quoted-printable',
    'Explanation',
    Buffer.from(encodeQuotedPrintable(octets)),
  )
}

function part(type: string, encoding: ReturnedPart['encoding'], description: string, body: Uint8Array): Uint8Array {
  const head = `Content-Type: ${type}\r\nContent-Description: ${description}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), body])
}

/** In none of the parts: 128 random bits, and looked for. `=_` cannot come out of quoted-printable or base64 (RFC 2045 §6.7). */
function boundaryFor(parts: readonly Uint8Array[]): string {
  for (;;) {
    const boundary = `=_${randomBytes(16).toString('hex')}`
    if (!parts.some(one => Buffer.from(one.buffer, one.byteOffset, one.byteLength).includes(boundary))) return boundary
  }
}

function hostName(host: string): string {
  return host.replace(/[^A-Za-z0-9._:[\]-]/g, '-').slice(0, 255) || 'localhost'
}
