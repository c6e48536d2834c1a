// The questions of one message: each asked once, counted, and shared out, so that what a stranger's records can cost is
// bounded and no method starves the others.
import { type Dns, type DnsAnswer, DnsError } from '@posthorn/core'
import type { Answer, AskedType, Purpose } from './wire.ts'

/** RFC 1035 §2.3.4. */
const possible = (name: string) =>
  name.length <= 253 && name.split('.').every(label => label !== '' && label.length <= 63)

/** Records of one answer that anybody looks at. */
const mostRecords = 500

/**
 * How many questions may have been asked when one for this purpose is still let through, of `all` (29). Most come
 * before the body: SPF may take 10 mechanisms, each MX of them several hosts. DMARC always has 5 left.
 */
const ceilings = (all: number): Readonly<Record<Purpose, number>> => ({
  iprev: all - 11,
  spf: all - 11,
  key: all - 5,
  dmarc: all,
  bimi: all,
})

export class Lookups {
  readonly #dns: Pick<Dns, 'resolve' | 'reverse'>
  readonly #ceilings: Readonly<Record<Purpose, number>>
  readonly #answers = new Map<string, Promise<Answer>>()

  constructor(dns: Pick<Dns, 'resolve' | 'reverse'>, all: number) {
    this.#dns = dns
    this.#ceilings = ceilings(all)
  }

  /** Never rejects. */
  ask(name: string, type: AskedType, purpose: Purpose): Promise<Answer> {
    const plain = name.toLowerCase().replace(/\.$/, '')
    if (!possible(plain)) return Promise.resolve({ code: 'ENOTFOUND' })
    return this.#once(`${type} ${plain}`, type, purpose, () => this.#dns.resolve(plain, type))
  }

  /** PTR of an address. */
  reverse(ip: string): Promise<Answer> {
    return this.#once(`PTR ${ip}`, 'PTR', 'iprev', () => this.#dns.reverse(ip))
  }

  #once(question: string, type: AskedType, purpose: Purpose, resolve: () => Promise<DnsAnswer>): Promise<Answer> {
    const known = this.#answers.get(question)
    if (known !== undefined) return known
    if (this.#answers.size >= this.#ceilings[purpose]) return Promise.resolve({ code: 'ELIMIT' })
    const answer = answered(type, resolve)
    this.#answers.set(question, answer)
    return answer
  }
}

async function answered(type: AskedType, resolve: () => Promise<DnsAnswer>): Promise<Answer> {
  try {
    const { status, records, secure } = await resolve()
    if (status === 'nxdomain') return { code: 'ENOTFOUND' }
    const some = records.length > mostRecords ? records.slice(0, mostRecords) : records
    const shaped = some.flatMap<Shaped>(record => shape(type, record as Parameters<typeof shape>[1]))
    return shaped.length === 0 ? { code: 'ENODATA' } : { records: shaped, secure }
  } catch (error) {
    return { code: error instanceof DnsError && error.kind === 'timeout' ? 'ETIMEOUT' : 'ESERVFAIL' }
  }
}

type Shaped = Extract<Answer, { readonly records: unknown }>['records'][number]

/** As node:dns gives it. A null MX (RFC 7505) names no host, so it is none. */
function shape(type: AskedType, record: string | { readonly preference: number; readonly exchange: string }): Shaped[] {
  if (typeof record === 'string') return [type === 'TXT' ? [record] : record]
  return record.exchange === '' ? [] : [{ priority: record.preference, exchange: record.exchange }]
}
