// The Dns service over a literal table: no sockets, no cache, and a record of what was asked.

import { Dns, type DnsAnswer, type DnsData, DnsError, type DnsType, type Token } from '@posthorn/core'
import { confirmedNames, reverse, wireName } from '@posthorn/core/runtime'
import { negativeTtl, type Zones, ZoneTable } from './zone.ts'

export interface FakeDnsOptions {
  /** What answers say of names that do not say themselves; default false. */
  readonly secure?: boolean
}

export interface FakeDns extends Dns {
  /** Every question, oldest first, names in lower case and without a final dot. */
  readonly queries: readonly { readonly name: string; readonly type: DnsType }[]
  /** How many questions: all, of a name, of a name and type. */
  count(name?: string, type?: DnsType): number
  /** Puts another table in its place; the record of questions stays. */
  replace(zones: Zones): void
  /** For `services` of a harness: `harness([plugin], { services: [dns.service] })`. */
  readonly service: readonly [Token<Dns>, Dns]
}

/**
 * `fakeDns({ 'example.test': { MX: '10 mx.example.test' }, '192.0.2.1': { PTR: 'mx.example.test' } })`. Names that are not
 * in the table are nxdomain, those between are nodata.
 */
export function fakeDns(zones: Zones = {}, { secure = false }: FakeDnsOptions = {}): FakeDns {
  let table = new ZoneTable(zones)
  const queries: { readonly name: string; readonly type: DnsType }[] = []

  const resolve = async <T extends DnsType>(name: string, type: T, signal?: AbortSignal): Promise<DnsAnswer<T>> => {
    if (signal?.aborted) throw new DnsError('aborted', `nobody waits for ${type} ${name} any more`)
    const wire = wireName(name)
    if (wire === undefined) return { status: 'nxdomain', records: [], name: '', secure: false, ttl: negativeTtl }
    queries.push({ name: wire, type })
    const answer = table.ask(wire, type, secure)
    if (answer === 'hang') {
      return new Promise((_, fail) => {
        signal?.addEventListener('abort', () => fail(new DnsError('aborted', `nobody waits for ${type} ${wire}`)), {
          once: true,
        })
      })
    }
    if (typeof answer === 'string') throw new DnsError(answer, `${type} ${wire}: ${answer}, as the test says`)
    const ttl = Math.min(...answer.records.map(record => record.ttl), answer.status === 'ok' ? Infinity : negativeTtl)
    const records = answer.records.filter(record => record.type === type).map(record => record.data as DnsData[T])
    return { status: answer.status, records, name: answer.name, secure: answer.secure, ttl }
  }
  const dns: FakeDns = {
    resolve,
    reverse: (ip, signal) => reverse(dns, ip, signal),
    confirmedNames: (ip, signal) => confirmedNames(dns, ip, signal),
    queries,
    count: (name, type) => {
      const wire = name === undefined ? undefined : wireName(name)
      return queries.filter(q => (name === undefined || q.name === wire) && (type === undefined || q.type === type))
        .length
    },
    replace(next) {
      table = new ZoneTable(next)
    },
    get service() {
      return [Dns, dns] as const
    },
  }
  return dns
}
