// Zones as a literal table, and what a server that holds them answers. For `fakeDns` and `dnsServer`.

import type { DnsAnswer, DnsData, DnsType } from '@posthorn/core'
import { reverseName, wireName } from '@posthorn/core/runtime'

type OneOrMore<T> = T | readonly T[]

/** What goes wrong with a name: `hang` never answers, `timeout` is what a resolver says of that after its time. */
export type ZoneFault = 'servfail' | 'refused' | 'timeout' | 'malformed' | 'hang'

/**
 * The records of one name. MX, SRV, TLSA, CAA and SOA may be written as in a zone file: `'10 mx.example.test'`,
 * `'0 1 587 mail.example.test'`, `'3 1 1 <hex>'`, `'0 issue "ca.test"'`, `'ns. hostmaster. 1 7200 900 1209600 300'`.
 */
export type ZoneName = {
  readonly [T in DnsType]?: OneOrMore<DnsData[T] | string>
} & {
  /** Of every question for this name, or by type. */
  readonly fail?: ZoneFault | { readonly [T in DnsType]?: ZoneFault }
  /** Seconds; default 3600. */
  readonly ttl?: number
  /** Instead of what the whole table says. */
  readonly secure?: boolean
}

/** By name (any case, U-labels too); an IP address stands for its name under in-addr.arpa or ip6.arpa. No wildcards. */
export type Zones = Readonly<Record<string, ZoneName>>

/** Seconds that a negative answer may be kept. */
export const negativeTtl = 300

/** One record on its way into an answer. */
export type ZoneRecord = {
  [T in DnsType]: { readonly name: string; readonly type: T; readonly ttl: number; readonly data: DnsData[T] }
}[DnsType]

export interface ZoneAnswer {
  readonly status: DnsAnswer['status']
  /** CNAMEs in the order of the chain, then the records. */
  readonly records: readonly ZoneRecord[]
  readonly name: string
  readonly secure: boolean
}

/** A table made ready to be asked. `ask` gives the fault of a question that has one. */
export class ZoneTable {
  readonly #names = new Map<string, ZoneName>()

  constructor(zones: Zones) {
    for (const [name, zone] of Object.entries(zones)) {
      const key = reverseName(name) ?? wireName(name)
      if (key === undefined) throw new TypeError(`${JSON.stringify(name)} is no name of a zone`)
      this.#names.set(key, zone)
    }
  }

  /** `secure`: of names that do not say. */
  ask(asked: string, type: DnsType, secure = false): ZoneAnswer | ZoneFault {
    const records: ZoneRecord[] = []
    const seen = new Set<string>()
    let name = wireName(asked) ?? ''
    let safe = true
    for (;;) {
      const zone = this.#names.get(name)
      const fault = typeof zone?.fail === 'object' ? zone.fail[type] : zone?.fail
      if (fault !== undefined) return fault
      safe &&= zone?.secure ?? secure
      const found = zone === undefined ? [] : recordsOf(name, type, zone)
      const [alias] = zone === undefined || type === 'CNAME' ? [] : recordsOf(name, 'CNAME', zone)
      records.push(...found)
      if (found.length > 0 || alias === undefined) {
        const status = found.length > 0 ? 'ok' : this.#exists(name) ? 'nodata' : 'nxdomain'
        return { status, records, name, secure: safe }
      }
      records.push(alias)
      // A chain of more than eight, or a loop: what our resolver says of it.
      if (seen.has(name) || seen.size >= 8) return 'malformed'
      seen.add(name)
      name = wireName((alias as { data: string }).data) ?? ''
    }
  }

  #exists(name: string): boolean {
    for (const known of this.#names.keys()) if (known === name || known.endsWith(`.${name}`)) return true
    return false
  }
}

function recordsOf(name: string, type: DnsType, zone: ZoneName): ZoneRecord[] {
  const given = zone[type] as OneOrMore<DnsData[DnsType] | string> | undefined
  if (given === undefined) return []
  const all = Array.isArray(given) ? given : [given]
  return all.map(data => ({ name, type, ttl: zone.ttl ?? 3_600, data: dataOf(type, data) }) as ZoneRecord)
}

const host = (name = '') => wireName(name) ?? (name === '.' ? '' : name)

/** Record data as the resolver gives it: parsed from zone-file text where it is that, names in lower case. */
function dataOf(type: DnsType, data: DnsData[DnsType] | string): DnsData[DnsType] {
  if (typeof data !== 'string') return data
  const words = data.trim().split(/\s+/)
  const number = (at: number) => {
    const value = Number(words[at])
    if (Number.isInteger(value)) return value
    throw new TypeError(`${JSON.stringify(data)} is no ${type} record`)
  }
  switch (type) {
    case 'MX':
      return { preference: number(0), exchange: host(words[1]) }
    case 'SRV':
      return { priority: number(0), weight: number(1), port: number(2), target: host(words[3]) }
    case 'TLSA':
      return {
        usage: number(0),
        selector: number(1),
        matching: number(2),
        data: new Uint8Array(Buffer.from(words.slice(3).join(''), 'hex')),
      }
    case 'CAA':
      return {
        critical: (number(0) & 128) !== 0,
        tag: words[1] ?? '',
        value: words.slice(2).join(' ').replace(/^"|"$/g, ''),
      }
    case 'SOA':
      return { mname: host(words[0]), rname: host(words[1]), serial: number(2), minimum: number(6) }
    case 'A':
    case 'AAAA':
    case 'TXT':
      return data
    default:
      return host(data)
  }
}
