// Which records a mail server's domains need, and why: what every such server wants, and what plugins want beside it.
import type { DnsRecord } from '@posthorn/core'
import { type DnsFacts, reverseName } from '@posthorn/core/runtime'

export interface PlannedRecord extends DnsRecord {
  /** Whose it is; absent: the server's own, once for all domains. */
  readonly domain?: string
}

export interface Plan {
  readonly hostname: string
  readonly domains: readonly string[]
  /** Of this server, as others see it. */
  readonly addresses: readonly string[]
  readonly records: readonly PlannedRecord[]
}

/** What a record is for; it decides how it is compared with what is published. */
export type Kind =
  | 'mx'
  | 'address'
  | 'spf'
  | 'dkim'
  | 'dmarc'
  | 'mta-sts'
  | 'tls-rpt'
  | 'tlsa'
  | 'service'
  | 'reverse'
  | 'other'

const versions: readonly (readonly [RegExp, Kind])[] = [
  [/^v=spf1(\s|$)/i, 'spf'],
  [/^v=DMARC1(\s*;|$)/i, 'dmarc'],
  [/^v=STSv1(\s*;|$)/, 'mta-sts'],
  [/^v=TLSRPTv1(\s*;|$)/, 'tls-rpt'],
]

export function kindOf({ name, type, value }: Pick<DnsRecord, 'name' | 'type' | 'value'>): Kind {
  if (type === 'MX') return 'mx'
  if (type === 'A' || type === 'AAAA') return 'address'
  if (type === 'TLSA') return 'tlsa'
  if (type === 'SRV') return 'service'
  if (type === 'PTR') return 'reverse'
  if (type !== 'TXT') return 'other'
  if (/(^|\.)_domainkey\./.test(name)) return 'dkim'
  return versions.find(([form]) => form.test(value))?.[1] ?? 'other'
}

/** The records of these domains, the server's own first. */
export function planRecords(facts: DnsFacts, domains: readonly string[], addresses: readonly string[]): Plan {
  const { hostname } = facts
  const records = [
    ...ofServer(facts, addresses),
    ...domains.flatMap(domain => {
      const said = facts.records[domain] ?? []
      // What a plugin says of the same thing is better founded.
      const theirs = new Set(said.map(record => `${record.name} ${kindOf(record)}`))
      const ours = [...ofDomain(facts, domain)].filter(record => !theirs.has(`${record.name} ${kindOf(record)}`))
      return [...ours, ...said].map(record => ({ ...record, domain }))
    }),
  ]
  return { hostname, domains, addresses, records: unique(records) }
}

function* ofServer({ hostname, listeners, key }: DnsFacts, addresses: readonly string[]): Generator<PlannedRecord> {
  for (const address of addresses) {
    const type = address.includes(':') ? 'AAAA' : 'A'
    yield { name: hostname, type, value: address, why: 'Where this server is.' }
  }
  yield {
    name: hostname,
    type: 'TXT',
    value: 'v=spf1 a -all',
    why: `Only this server says EHLO ${hostname}; bounces have no other sender that could be checked (RFC 7208 §2.3).`,
  }
  for (const address of addresses) {
    const name = reverseName(address)
    if (name === undefined) continue
    yield {
      name,
      type: 'PTR',
      value: `${hostname}.`,
      why: 'The name of the address. Whoever gave you the address sets it, not you; without it many servers refuse mail.',
    }
  }
  if (key !== undefined && listeners.some(({ role, tls }) => role === 'mx' && tls !== 'none')) {
    yield {
      name: `_25._tcp.${hostname}`,
      type: 'TLSA',
      value: `3 1 1 ${key}`,
      why: "The public key of our certificate, so that nobody can stand in for us (DANE, RFC 7672). Only where the zone is signed with DNSSEC; publish the next key before the certificate's key changes.",
      advice: true,
    }
  }
}

function* ofDomain({ hostname, listeners }: DnsFacts, domain: string): Generator<DnsRecord> {
  if (listeners.some(({ role }) => role === 'mx')) {
    yield { name: domain, type: 'MX', value: `10 ${hostname}.`, why: `Mail for ${domain} comes to this server.` }
  }
  if (domain !== hostname) {
    yield {
      name: domain,
      type: 'TXT',
      value: `v=spf1 mx a:${hostname} -all`,
      why: `Mail from ${domain} leaves from this server and from nowhere else (SPF). If it also leaves elsewhere, by a relay or a newsletter service, add what they tell you before -all.`,
    }
  }
  yield {
    name: `_dmarc.${domain}`,
    type: 'TXT',
    value: `v=DMARC1; p=none; rua=mailto:postmaster@${domain}`,
    why: 'What others shall do with mail that is neither signed by us nor from our servers: none, and tell us (DMARC). When the reports show nothing of yours any more, make it p=quarantine, then p=reject.',
  }
  yield {
    name: `_smtp._tls.${domain}`,
    type: 'TXT',
    value: `v=TLSRPTv1; rua=mailto:postmaster@${domain}`,
    why: 'Where others report that they could not send to us over TLS (RFC 8460).',
    advice: true,
  }
  yield {
    name: `_mta-sts.${domain}`,
    type: 'TXT',
    value: 'v=STSv1; id=1',
    why: `That https://mta-sts.${domain}/.well-known/mta-sts.txt says: send to us only over TLS (RFC 8461). Only once that file is there; another id after each change of it.`,
    advice: true,
  }
  for (const { role, tls, port } of listeners) {
    if (role !== 'submission' || tls === 'none') continue
    const implicit = tls === 'implicit'
    yield {
      name: `${implicit ? '_submissions' : '_submission'}._tcp.${domain}`,
      type: 'SRV',
      value: `0 1 ${port ?? (implicit ? 465 : 587)} ${hostname}.`,
      why: `Where mail programs hand in mail (RFC 6186${implicit ? ', RFC 8314 §5.1' : ''}).`,
      advice: true,
    }
  }
}

function unique(records: readonly PlannedRecord[]): PlannedRecord[] {
  const seen = new Set<string>()
  return records.filter(({ name, type, value }) => {
    const key = `${name} ${type} ${value}`
    return !seen.has(key) && seen.add(key)
  })
}
