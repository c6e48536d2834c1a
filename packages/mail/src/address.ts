// Envelope addresses: the paths of MAIL and RCPT, taken apart and printed. Header addresses are another grammar.
import { canonicalDomain, isAscii, unicodeDomain } from './domain.ts'
import { isMalformed, type Malformed } from './malformed.ts'

/**
 * An address of an envelope, taken apart once, where it came in.
 *
 * `local` is the local part without quotes or backslashes. `domain` is in A-label form, lower case, to compare and
 * route by; '' for the bare `<Postmaster>` (RFC 5321 §4.1.1.3), `[…]` for an address literal. `raw` is the text
 * between the angle brackets as it was received.
 */
export interface Mailbox {
  readonly local: string
  readonly domain: string
  readonly raw: string
}

export interface PathOptions {
  /** Whether non-ASCII is allowed: the transaction is SMTPUTF8 (RFC 6531 §3.4). */
  readonly smtputf8: boolean
  /** Chooses the codes, and what is allowed: `<>` only for a sender, `<Postmaster>` only for a recipient. */
  readonly as: 'sender' | 'recipient'
  /** Octets of a local part; default 64 (RFC 5321 §4.5.3.1.1). */
  readonly maxLocal?: number
}

const maxPath = 256 // RFC 5321 §4.5.3.1.3, brackets included
const dotString =
  /^[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\u{10ffff}]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\u{10ffff}]+)*$/u
// C0, C1, and what a decoder leaves of octets that are not UTF-8.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const unfit = /[\u0000-\u001f\u007f-\u009f\ufffd]|[\ud800-\udfff]/u

/**
 * Reads the `<...>` of MAIL FROM: and RCPT TO: and gives what follows it, without the space between. Strict: brackets
 * are required, and a source route is checked and ignored (RFC 5321 §4.1.1.3). Refuses by value:
 * 501 5.1.7 (sender), 501 5.1.3 (recipient), 553 5.6.7 (non-ASCII without SMTPUTF8, RFC 6531 §3.5).
 */
export function parsePath(
  text: string,
  options: PathOptions,
): { readonly mailbox: Mailbox | null; readonly rest: string } | Malformed {
  const refuse = (error: string): Malformed => ({
    error,
    code: 501,
    enhanced: options.as === 'sender' ? '5.1.7' : '5.1.3',
  })
  let start = 0
  while (text[start] === ' ') start++
  if (text[start] !== '<') return refuse('Address must be in angle brackets')
  const end = closing(text, start + 1)
  if (end < 0) return refuse(`Address without closing bracket, or over ${maxPath} octets`)
  const raw = text.slice(start + 1, end)
  if (Buffer.byteLength(raw) > maxPath - 2) return refuse(`Address over ${maxPath} octets`)
  const after = text[end + 1]
  if (after !== undefined && after !== ' ') return refuse('Text after the closing bracket')
  let next = end + 1
  while (text[next] === ' ') next++
  const rest = text.slice(next)
  if (raw === '') return options.as === 'sender' ? { mailbox: null, rest } : refuse('Empty address')
  if (unfit.test(raw)) return refuse('Address with control characters or malformed UTF-8')
  if (!options.smtputf8 && !isAscii(raw)) {
    return { error: 'Non-ASCII address needs SMTPUTF8', code: 553, enhanced: '5.6.7' }
  }
  const mailbox = takeApart(raw, options.maxLocal ?? 64)
  if (typeof mailbox === 'string') return refuse(mailbox)
  if (mailbox.domain === '' && options.as === 'sender') return refuse('Address without a domain')
  return { mailbox, rest }
}

/** An address as people write it in a config file or on a command line: no brackets, U-labels and UTF-8 welcome. */
export function parseAddress(text: string): Mailbox | Malformed {
  const found = parsePath(`<${text}>`, { smtputf8: true, as: 'recipient' })
  if (isMalformed(found)) return found
  const { mailbox } = found
  if (mailbox === null || mailbox.raw !== text || mailbox.raw.startsWith('@')) {
    return { error: 'Not an address', code: 501, enhanced: '5.1.3' }
  }
  return mailbox
}

/**
 * The address without brackets, quoted only where it must be. `utf8`: the domain in U-labels, for people and for
 * SMTPUTF8 peers (RFC 6531 §3.7); a local part that is not ASCII stays so in either case ({@link needsSmtputf8}).
 */
export function formatAddress(
  mailbox: Pick<Mailbox, 'local' | 'domain'>,
  options: { readonly utf8?: boolean } = {},
): string {
  const { local, domain } = mailbox
  const left = dotString.test(local) ? local : `"${local.replace(/["\\]/g, '\\$&')}"`
  if (domain === '') return left
  return `${left}@${options.utf8 ? unicodeDomain(domain) : domain}`
}

/** No ASCII form of the address exists, so only an SMTPUTF8 peer can take it. U-label domains have one. */
export function needsSmtputf8(mailbox: Pick<Mailbox, 'local'>): boolean {
  return !isAscii(mailbox.local)
}

/** Equal for equal addresses: the domain without case, the local part as it is, but `postmaster` in any case (RFC 5321 §4.5.1). */
export function addressKey(mailbox: Pick<Mailbox, 'local' | 'domain'>): string {
  const { local } = mailbox
  const left = local.length === 10 && local.toLowerCase() === 'postmaster' ? 'postmaster' : local
  return `${left}@${mailbox.domain.toLowerCase()}`
}

/** Compares by {@link addressKey}; null reverse-paths are equal to each other. */
export function sameAddress(
  a: Pick<Mailbox, 'local' | 'domain'> | null,
  b: Pick<Mailbox, 'local' | 'domain'> | null,
): boolean {
  if (a === null || b === null) return a === b
  return addressKey(a) === addressKey(b)
}

/** The index of the bracket that closes the path, one inside a quoted string not counted; -1 for none within reach. */
function closing(text: string, from: number): number {
  let quoted = false
  const limit = Math.min(text.length, from + maxPath)
  for (let i = from; i < limit; i++) {
    const c = text[i]
    if (quoted && c === '\\') i++
    else if (c === '"') quoted = !quoted
    else if (c === '>' && !quoted) return i
  }
  return -1
}

/** The mailbox, or why there is none. */
function takeApart(raw: string, maxLocal: number): Mailbox | string {
  let at = 0
  if (raw[0] === '@') {
    at = afterRoute(raw)
    if (at < 0) return 'Malformed source route'
  }
  let local = ''
  if (raw[at] === '"') {
    at++
    // RFC 5321 §4.1.2 Quoted-string: any printable character, after a backslash too.
    for (; at < raw.length && raw[at] !== '"'; at++) {
      if (raw[at] === '\\') at++
      local += raw[at] ?? ''
    }
    if (raw[at] !== '"') return 'Malformed quoted string'
    at++
  } else {
    const end = raw.indexOf('@', at)
    local = raw.slice(at, end < 0 ? raw.length : end)
    if (!dotString.test(local)) return 'Malformed local part'
    at += local.length
  }
  if (Buffer.byteLength(local) > maxLocal) return `Local part over ${maxLocal} octets`
  if (at === raw.length)
    return local.toLowerCase() === 'postmaster' ? { local, domain: '', raw } : 'Address without a domain'
  if (raw[at] !== '@') return 'Malformed local part'
  const domain = canonicalDomain(raw.slice(at + 1))
  return domain === undefined ? 'Malformed domain' : { local, domain, raw }
}

/** Where the mailbox begins after `@a,@b:`; -1 where that is malformed. */
function afterRoute(raw: string): number {
  let at = 0
  for (;;) {
    const literal = raw[at + 1] === '['
    const end = literal ? raw.indexOf(']', at) + 1 : raw.slice(at).search(/[,:]/) + at
    if (end <= at || canonicalDomain(raw.slice(at + 1, end)) === undefined) return -1
    if (raw[end] === ':') return end + 1
    if (raw[end] !== ',' || raw[end + 1] !== '@') return -1
    at = end + 1
  }
}
