// What is published, held against what should be: one verdict for each record, with the difference in plain words.
import type { DnsType } from '@posthorn/core'
import { Networks } from '@posthorn/core'
import { type DnsFound, sameIp } from '@posthorn/core/runtime'
import { type Kind, kindOf, type Plan, type PlannedRecord } from './plan.ts'

/** `optional`: not there, and nothing is wrong with that. `unknown`: nobody answered. */
export type Verdict = 'ok' | 'missing' | 'differs' | 'optional' | 'unknown'

export interface Checked {
  readonly record: PlannedRecord
  readonly verdict: Verdict
  /** What is published there, as in a zone file. */
  readonly found: readonly string[]
  /** The difference, or what is worth knowing; `''` where there is nothing to say. */
  readonly text: string
}

/** Rejects where nobody answers. */
export type Lookup = (name: string, type: DnsType) => Promise<DnsFound>

export function checkPlan(plan: Plan, lookup: Lookup): Promise<Checked[]> {
  return Promise.all(
    plan.records.map(async record => {
      let answer: DnsFound
      try {
        answer = await lookup(record.name, record.type)
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error)
        return { record, verdict: 'unknown' as const, found: [], text: `Nobody could say: ${text}.` }
      }
      const [verdict, text = ''] = judges[kindOf(record)](record, answer, plan)
      return { record, verdict, found: answer.records, text }
    }),
  )
}

type Judgement = readonly [verdict: Verdict, text?: string]
type Judge = (record: PlannedRecord, answer: DnsFound, plan: Plan) => Judgement

const list = (values: readonly string[]) => values.join(', ')
const plain = (name: string) => name.replace(/\.$/, '').toLowerCase()

const judges: Readonly<Record<Kind, Judge>> = {
  mx({ name }, { records }, { hostname }) {
    const hosts = records
      .map(text => text.split(' '))
      .sort(([a], [b]) => Number(a) - Number(b))
      .map(([, host = '']) => plain(host))
    if (hosts.length === 0)
      return ['missing', `${name} has no MX: others try the address of ${name} itself, if it has one.`]
    if (hosts[0] === '') return ['differs', `${name} says that it takes no mail at all (a null MX, RFC 7505).`]
    if (!hosts.includes(hostname)) return ['differs', `Mail for ${name} goes to ${list(hosts)}, not to this server.`]
    const others = hosts.filter(host => host !== hostname)
    if (hosts[0] !== hostname) return ['ok', `Others try ${hosts[0]} first; this server is only asked after it.`]
    return others.length === 0 ? ['ok'] : ['ok', `Also ${list(others)}: mail that comes there must reach you too.`]
  },

  address({ name, value }, answer) {
    const { records } = answer
    // RFC 2181 §10.3
    if (records.length > 0 && answer.name !== name) {
      return ['differs', `${name} is an alias (CNAME) of ${answer.name}; the name in an MX must not be one.`]
    }
    if (records.length === 0)
      return ['missing', `${name} has no ${value.includes(':') ? 'IPv6' : 'IPv4'} address: nobody can send to it.`]
    if (records.some(address => sameIp(address, value))) return ['ok']
    return ['differs', `${name} is ${list(records)}, but this server is at ${value}.`]
  },

  spf(record, { records }, plan) {
    const { name } = record
    const found = records.filter(text => kindOf({ ...record, value: text }) === 'spf')
    const [one] = found
    if (one === undefined) return ['missing', `${name} has no SPF record: anybody may send in its name.`]
    if (found.length > 1)
      return ['differs', `${name} has ${found.length} SPF records, which is an error: none of them counts.`]
    return spf(one, record, plan)
  },

  dkim({ name, value }, { records }) {
    const wanted = tags(value)
    const keys = records.map(tags).filter(found => found.has('p'))
    const [key] = keys
    if (key === undefined) return ['missing', `There is no key at ${name}: nobody can check what we sign with it.`]
    if (keys.length > 1)
      return ['differs', `There are ${keys.length} keys at ${name}; it is not said which one counts.`]
    if (key.get('p') === '') return ['differs', `The key at ${name} is revoked: what we sign with it does not verify.`]
    const same = (tag: string, none: string) => (key.get(tag) ?? none) === (wanted.get(tag) ?? none)
    if (same('p', '') && same('k', 'rsa')) return ['ok']
    return ['differs', `The key at ${name} is not the one that we sign with: our signatures do not verify.`]
  },

  dmarc(record, { records }) {
    const found = records.filter(text => kindOf({ ...record, value: text }) === 'dmarc')
    const [one] = found
    const domain = record.name.replace(/^_dmarc\./, '')
    if (one === undefined) return ['missing', `${domain} does not say what to do with forged mail (no DMARC record).`]
    if (found.length > 1) return ['differs', `${domain} has ${found.length} DMARC records: none of them counts.`]
    const policy = tags(one).get('p')?.toLowerCase()
    if (policy === 'reject' || policy === 'quarantine') return ['ok']
    if (policy === 'none') return ['ok', 'p=none only watches: forged mail is delivered.']
    return ['differs', `The DMARC record of ${domain} has no policy that anybody knows (p=${policy ?? ''}).`]
  },

  'mta-sts': (record, answer) => onePolicy('mta-sts', record, answer),
  'tls-rpt': (record, answer) => onePolicy('tls-rpt', record, answer),

  tlsa({ name, value }, { records, secure }) {
    if (records.length === 0) return ['optional']
    if (records.some(text => text.toLowerCase() === value.toLowerCase())) {
      return secure ? ['ok'] : ['ok', `The zone is not validated by DNSSEC, so nobody heeds ${name}.`]
    }
    if (records.some(text => /^[02] /.test(text)))
      return ['ok', `${name} names an authority, not our key: it cannot be checked here.`]
    return ['differs', `${name} names other keys than our certificate's: servers that heed DANE do not deliver to us.`]
  },

  service({ name, value }, { records }) {
    const target = (text: string) => text.toLowerCase().split(' ').slice(2).join(' ')
    if (records.length === 0) return ['optional']
    if (records.some(text => target(text) === target(value))) return ['ok']
    return ['differs', `${name} sends mail programs to ${list(records.map(target))}, not to ${target(value)}.`]
  },

  reverse({ name, value }, { records }) {
    if (records.length === 0)
      return ['missing', `The address of ${name} has no name: many servers refuse mail from it.`]
    if (records.some(text => plain(text) === plain(value))) return ['ok']
    return [
      'differs',
      `The address is called ${list(records.map(plain))}, not ${plain(value)}, as it introduces itself.`,
    ]
  },

  other({ name, type, value, advice }, { records }) {
    if (records.some(text => text === value || (type !== 'TXT' && text.toLowerCase() === value.toLowerCase())))
      return ['ok']
    if (records.length === 0) return advice === true ? ['optional'] : ['missing', `${name} has no ${type} record.`]
    if (type === 'TXT' && advice === true) return ['optional']
    return ['differs', `${name} has other ${type} records.`]
  },
}

function onePolicy(kind: Kind, record: PlannedRecord, { records }: DnsFound): Judgement {
  const found = records.filter(text => kindOf({ ...record, value: text }) === kind)
  if (found.length > 1) return ['differs', `${record.name} has ${found.length} such records: none of them counts.`]
  if (found.length === 1) return ['ok']
  return record.advice === true ? ['optional'] : ['missing', `${record.name} has no such record.`]
}

/** `v=DKIM1; p=…` as a map: tags in lower case, values without white space. */
function tags(text: string): Map<string, string> {
  return new Map(
    text.split(';').flatMap(part => {
      const at = part.indexOf('=')
      return at < 0 ? [] : [[part.slice(0, at).trim().toLowerCase(), part.slice(at + 1).replace(/\s+/g, '')] as const]
    }),
  )
}

/** Whether an SPF record lets this server send, as far as its own words tell. */
function spf(text: string, { name, value }: PlannedRecord, { hostname, addresses }: Plan): Judgement {
  if (text === value) return ['ok']
  const terms = text.toLowerCase().split(/\s+/).slice(1).filter(Boolean)
  if (terms.some(term => /^\+?all$/.test(term)))
    return ['differs', `${name} lets everybody send in its name (it ends in +all).`]
  const passing = terms.filter(term => !/^[-~?]/.test(term)).map(term => term.replace(/^\+/, ''))
  const names = new Set(['mx', `a:${hostname}`, `mx:${name}`, ...(name === hostname ? ['a'] : [])])
  const networks = passing.flatMap(term => /^ip[46]:([0-9a-f.:/]+)$/.exec(term)?.[1] ?? [])
  const covered = (address: string) => networks.some(network => inNetwork(network, address))
  if (passing.some(term => names.has(term)) || (addresses.length > 0 && addresses.every(covered))) return ['ok']
  if (terms.some(term => /^(redirect=|\+?(include|exists):)/.test(term)))
    return ['ok', `What ${name} publishes hands on to others: whether they name this server is not checked.`]
  return ['differs', `The SPF record of ${name} does not name this server: mail from here fails. Add a:${hostname}.`]
}

function inNetwork(network: string, address: string): boolean {
  try {
    return new Networks([network], 'spf').has(address)
  } catch {
    return false
  }
}
