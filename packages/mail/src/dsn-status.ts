// The second part of a report, for programs: fields about the message, then about each recipient (RFC 3464 §2).
import { isIP, isIPv4 } from 'node:net'
import { formatAddress, type Mailbox, needsSmtputf8 } from './address.ts'
import { formatDate } from './date.ts'
import { canonicalDomain, isAscii } from './domain.ts'
import type { Report, ReportedRecipient } from './dsn.ts'
import { foldField } from './field.ts'
import type { RemoteReply } from './reply.ts'
import { encodeUnitext } from './xtext.ts'

const maxText = 2000
// 240 characters of four octets stay under the limit of a line.
const longWord = /[^ ]{240}(?=[^ ])/gu

/** `utf8`: message/global-delivery-status is welcome (RFC 6533 §4.1); without it the result is ASCII. */
export function formatStatus(report: Report, recipients: readonly ReportedRecipient[], utf8: boolean): string {
  const field = (name: string, value: string) => foldField(name, clean(value, utf8), { utf8 })
  let out = ''
  if (report.envid !== undefined) out += field('Original-Envelope-Id', report.envid)
  out += field('Reporting-MTA', `dns; ${report.reportingMta}`)
  const client = receivedFrom(report)
  if (client !== undefined) out += field('Received-From-MTA', `dns; ${client}`)
  out += field('Arrival-Date', formatDate(report.arrival))
  for (const recipient of recipients) {
    out += '\r\n'
    if (recipient.orcpt !== undefined) out += field('Original-Recipient', original(recipient.orcpt, utf8))
    out += field('Final-Recipient', final(recipient.address, utf8))
    out += field('Action', recipient.action)
    out += field('Status', statusCode(recipient))
    const { remote, diagnostic } = recipient
    if (remote) {
      out += field('Remote-MTA', `dns; ${mta(remote.host)}`)
      out += field('Diagnostic-Code', `smtp; ${replyText(remote)}`)
    } else if (diagnostic !== undefined && clean(diagnostic, utf8).trim() !== '') {
      out += field('Diagnostic-Code', `x-posthorn; ${diagnostic}`)
    }
    if (recipient.lastAttempt !== undefined) out += field('Last-Attempt-Date', formatDate(recipient.lastAttempt))
    if (recipient.logId !== undefined) out += field('Final-Log-ID', recipient.logId)
    // RFC 3464 §2.3.9: in no other kind.
    if (recipient.action === 'delayed' && recipient.willRetryUntil !== undefined) {
      out += field('Will-Retry-Until', formatDate(recipient.willRetryUntil))
    }
  }
  return out
}

/** RFC 3464 §2.2.4: the name that the client gave, and its address in a comment. */
function receivedFrom({ receivedFrom: name, receivedFromIp: ip }: Report): string | undefined {
  const literal = ip === undefined ? undefined : mta(ip)
  if (name === undefined) return literal
  const said = mta(name)
  return literal === undefined || literal === said ? said : `${said} (${literal})`
}

/** RFC 3461 §9.3: a domain name, or an address literal. Nothing that opens a comment or a quote comes through. */
function mta(host: string): string {
  if (isIP(host) !== 0) return isIPv4(host) ? `[${host}]` : `[IPv6:${host}]`
  const plain = isAscii(host) ? host : (canonicalDomain(host) ?? host)
  return plain.slice(0, 255).replace(/[^A-Za-z0-9._:[\]-]/g, '?') || 'unknown'
}

/** The peer's reply on one line, its codes once. */
export function replyText(remote: Pick<RemoteReply, 'code' | 'enhanced' | 'lines'>): string {
  return [remote.code, remote.enhanced, ...remote.lines].filter(text => text !== undefined && text !== '').join(' ')
}

/** RFC 3464 §2.3.4: no leading zeros; a class that contradicts nothing. */
export function statusCode(recipient: Pick<ReportedRecipient, 'action' | 'status'>): string {
  const found = /^([245])\.(\d{1,3})\.(\d{1,3})$/.exec(recipient.status)
  if (found) return `${found[1]}.${Number(found[2])}.${Number(found[3])}`
  return recipient.action === 'failed' ? '5.0.0' : recipient.action === 'delayed' ? '4.0.0' : '2.0.0'
}

function original(orcpt: string, utf8: boolean): string {
  const at = orcpt.indexOf(';')
  if (at < 0) return `rfc822; ${orcpt}`
  const type = orcpt.slice(0, at)
  const address = orcpt.slice(at + 1)
  // RFC 6533 §3: utf-8-addr-xtext in a 7-bit part, the address itself in a global one.
  return `${type}; ${type.toLowerCase() === 'utf-8' && !utf8 ? encodeUnitext(address, { ascii: true }) : address}`
}

/** RFC 3464 §2.3.2: as it was in the envelope, its case too. */
function final(address: Mailbox, utf8: boolean): string {
  const { raw } = address
  if (!needsSmtputf8(address))
    return `rfc822; ${raw !== '' && raw[0] !== '@' && isAscii(raw) ? raw : formatAddress(address)}`
  const full = formatAddress(address, { utf8: true })
  return `utf-8; ${utf8 ? full : encodeUnitext(full, { ascii: true })}`
}

/** Fit for one field: no controls, words short enough to fold. */
function clean(value: string, utf8: boolean): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  let safe = value.slice(0, maxText).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
  safe = utf8 ? safe.toWellFormed() : safe.replace(/[^ -~]/gu, '?')
  return safe.replace(longWord, '$& ')
}
