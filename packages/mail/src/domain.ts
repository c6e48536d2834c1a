// Domains of envelope addresses: names in A-label form and address literals. No DNS.
import { isIPv4, isIPv6 } from 'node:net'
import { domainToASCII, domainToUnicode } from 'node:url'

// RFC 5321 §4.1.2 sub-domain; the underscore is not in it, but hosts with one exist and send mail.
const name = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is the point
const ascii = /^[\x00-\x7f]*$/

/** Whether every character is ASCII. */
export function isAscii(text: string): boolean {
  return ascii.test(text)
}

/**
 * The form to compare and route by: A-labels, lower case; `[192.0.2.1]` and `[IPv6:2001:db8::1]` in canonical form.
 * `undefined` for what is no domain: empty labels (a trailing dot too), labels over 63 or names over 255 octets
 * (RFC 5321 §4.5.3.1.2), invalid address literals, U-labels that IDNA would have to change (RFC 5891 §5.4).
 */
export function canonicalDomain(text: string): string | undefined {
  if (text.length === 0 || text.length > 255) return undefined
  if (text.startsWith('[')) return canonicalLiteral(text)
  const lower = text.toLowerCase()
  if (isAscii(text)) return name.test(lower) ? lower : undefined
  const found = domainToASCII(text)
  if (found.length > 255 || !name.test(found)) return undefined
  // The way back must end where it began: domainToASCII is the URL parser's, which also cuts at '/', decodes '%41', drops
  // soft hyphens and makes an IPv4 address of a number.
  return domainToUnicode(found) === lower.normalize('NFC') ? found : undefined
}

/** U-labels for people and SMTPUTF8 peers (RFC 6531 §3.7); as it is where there are none, or where they would not lead back. */
export function unicodeDomain(domain: string): string {
  if (!domain.includes('xn--')) return domain
  const found = domainToUnicode(domain)
  return canonicalDomain(found) === domain ? found : domain
}

function canonicalLiteral(text: string): string | undefined {
  if (!text.endsWith(']')) return undefined
  const inner = text.slice(1, -1)
  if (isIPv4(inner)) return `[${inner}]`
  const address = /^ipv6:([0-9a-f:.]+)$/i.exec(inner)?.[1]
  if (address === undefined || !isIPv6(address)) return undefined
  return `[IPv6:${new URL(`http://[${address}]`).hostname.slice(1, -1)}]`
}
