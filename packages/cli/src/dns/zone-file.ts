// Records as a zone file that a name server takes: needed ones as they are, advice and records of others' zones as comments.
import type { DnsRecord } from '@posthorn/core'
import { printable } from '../table.ts'
import type { Plan, PlannedRecord } from './plan.ts'

/** Seconds. Short enough that a mistake can be mended within the hour. */
const ttl = 3_600

export function zoneFile({ hostname, domains, addresses, records }: Plan): string[] {
  const needed = (domain?: string) => records.filter(one => one.domain === domain && !elsewhere(one))
  const section = (title: string, list: readonly PlannedRecord[]) =>
    list.length === 0 ? [] : ['', `; ${title}`, ...list.flatMap(lines)]
  return [
    `; Records for mail, by posthorn dns, for ${hostname}${addresses.length > 0 ? ` at ${addresses.join(', ')}` : ''}`,
    ...section(`The server itself, ${hostname}`, needed()),
    ...domains.flatMap(domain => section(domain, needed(domain))),
    ...section(
      "In the reverse zones of the addresses' owner",
      records.filter(one => one.type === 'PTR'),
    ),
    ...section(
      'Worth having; take away the semicolon of those that you want',
      records.filter(one => one.advice === true && one.type !== 'PTR'),
    ),
  ]
}

const elsewhere = ({ type, advice }: PlannedRecord) => type === 'PTR' || advice === true

function lines(record: PlannedRecord): string[] {
  const text = recordLine(record)
  return [
    '',
    ...wrapped(printable(record.why)),
    ...(elsewhere(record) ? text.split('\n').map(line => `; ${line}`) : [text]),
  ]
}

/** As comments of at most 100 columns. */
const wrapped = (text: string) => (text.match(/\S.{0,96}(?=\s|$)/g) ?? []).map(line => `; ${line}`)

/** `example.org. 3600 IN MX 10 mail.example.org.` */
export function recordLine({ name, type, value }: Pick<DnsRecord, 'name' | 'type' | 'value'>): string {
  return `${printable(name)}. ${ttl} IN ${type} ${type === 'TXT' ? quoted(value) : printable(value)}`
}

/** Strings of at most 255 octets, which a reader joins (RFC 7208 §3.3). */
function quoted(value: string): string {
  const octets = Buffer.from(value, 'utf8')
  const strings: string[] = []
  for (let at = 0; at === 0 || at < octets.length; at += 255) {
    strings.push(`"${[...octets.subarray(at, at + 255)].map(escaped).join('')}"`)
  }
  return strings.length === 1 ? (strings[0] as string) : `( ${strings.join('\n    ')} )`
}

function escaped(octet: number): string {
  const char = String.fromCharCode(octet)
  if (char === '"' || char === '\\') return `\\${char}`
  return octet < 0x20 || octet > 0x7e ? `\\${String(octet).padStart(3, '0')}` : char
}
