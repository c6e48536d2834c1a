// Names as questions carry them: A-labels in lower case, no final dot, within the limits of the wire.
import { isIPv4, isIPv6 } from 'node:net'
import { canonicalDomain } from '@posthorn/mail'
import { plainAddress } from '../smtp/networks.ts'

/** As most names come: nothing to change. */
const ready = /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+$/
const ascii = /^[\x20-\x7e]+$/

/**
 * The name to ask for, or `undefined` for one that cannot exist: empty, an empty label, a label over 63 or a name over
 * 253 octets (RFC 1035 §2.3.4), a control character, a U-label that IDNA refuses.
 */
export function wireName(name: string): string | undefined {
  if (name.length <= 253 && ready.test(name)) return name
  const text = name.endsWith('.') ? name.slice(0, -1) : name
  // A U-label never becomes shorter than its count of characters by so much: what is longer needs no closer look.
  if (text.length === 0 || text.length > 1_000) return undefined
  const labels: string[] = []
  // Unicode has more dots (UTS 46 §4). ASCII labels stay as they are, `0/25` of a reverse zone too: IDNA is for hosts.
  for (const label of text.split(/[.\u3002\uff0e\uff61]/)) {
    const plain = ascii.test(label) ? label.toLowerCase() : canonicalDomain(label)
    if (plain === undefined || plain.length > 63) return undefined
    labels.push(plain)
  }
  const wire = labels.join('.')
  return wire.length > 253 ? undefined : wire
}

/** `1.2.0.192.in-addr.arpa` of 192.0.2.1, nibbles under `ip6.arpa` of an IPv6 address; `undefined` for what is no address. */
export function reverseName(ip: string): string | undefined {
  const address = plainAddress(ip)
  if (isIPv4(address)) return `${address.split('.').reverse().join('.')}.in-addr.arpa`
  const groups = ipv6Groups(address)
  if (groups === undefined) return undefined
  const nibbles = groups.map(group => group.toString(16).padStart(4, '0')).join('')
  return `${[...nibbles].reverse().join('.')}.ip6.arpa`
}

/** Whether two spellings are the same address. */
export function sameIp(a: string, b: string): boolean {
  return plainAddress(a) === plainAddress(b)
}

function ipv6Groups(address: string): number[] | undefined {
  if (!isIPv6(address)) return undefined
  // plainAddress gives RFC 5952 form: hexadecimal groups and at most one `::`.
  const [head = '', tail] = address.split('::')
  const parse = (part: string) => (part === '' ? [] : part.split(':').map(group => Number.parseInt(group, 16)))
  const before = parse(head)
  if (tail === undefined) return before
  const after = parse(tail)
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
}
