// A resolver that asks servers on loopback, its time in the test's hands.

import type { ConfigInput } from '@posthorn/core'
import { Meter } from '@posthorn/core'
import { type DnsServer, fakeClock, type Zones } from '@posthorn/testing'
import { configOf } from '../../src/config/validate.ts'
import { DnsResolver } from '../../src/dns/resolver.ts'
import { silentLog } from '../../src/log.ts'

/** What most tests ask about. */
export const zones: Zones = {
  'example.test': {
    MX: ['10 mx1.example.test', '20 mx2.example.test'],
    TXT: ['v=spf1 mx -all', 'grüße'],
    NS: 'ns.example.test',
    SOA: 'ns.example.test. hostmaster.example.test. 7 7200 900 1209600 60',
    CAA: ['0 issue "ca.test"', '128 iodef "mailto:a@example.test"'],
  },
  'mx1.example.test': { A: ['192.0.2.1', '192.0.2.2'], AAAA: '2001:db8::1' },
  'null.test': { MX: '0 .' },
  '_25._tcp.mx1.example.test': { TLSA: '3 1 1 00ff10', secure: true },
  '_imaps._tcp.example.test': { SRV: '0 1 993 mx1.example.test' },
  'a.alias.test': { CNAME: 'b.alias.test', ttl: 30 },
  'b.alias.test': { CNAME: 'mx1.example.test' },
  'to-nowhere.test': { CNAME: 'nowhere.test' },
  '192.0.2.1': { PTR: 'mx1.example.test' },
  '2001:db8::1': { PTR: 'mx1.example.test' },
  'xn--bcher-kva.example': { A: '192.0.2.80' },
}

type DnsInput = NonNullable<ConfigInput['dns']>

export async function dnsConfig(dns: DnsInput) {
  return (await configOf({ hostname: 'mx.test', listeners: { mx: { listen: 0 } }, dns }, '/')).dns
}

export async function resolverFor(servers: readonly (DnsServer | string)[], dns: DnsInput = {}) {
  const clock = fakeClock()
  const meter = new Meter()
  const lines: string[] = []
  const note = (level: string) => (_: object, text?: string) => void lines.push(`${level} ${text}`)
  const log = { ...silentLog, info: note('info'), warn: note('warn') }
  const labels = servers.map(server => (typeof server === 'string' ? server : server.address))
  const resolver = new DnsResolver({ config: await dnsConfig({ servers: labels, ...dns }), clock, log, meter })
  const value = (name: string, ...labels: string[]) => {
    const family = meter.families.find(one => one.name === name)
    if (family === undefined || family.kind === 'histogram') return undefined
    return [...family.samples()].find(sample => sample.labels.join() === labels.join())?.value
  }
  return { resolver, clock, lines, value, [Symbol.dispose]: () => resolver.close() }
}

/** Real sockets take real time: turns of the loop until it is so. */
export async function until(so: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000
  while (!so()) {
    if (performance.now() > deadline) throw new Error(`never: ${so}`)
    await new Promise<void>(resolve => setImmediate(resolve))
  }
}

/** How a question ended: the answer's status, or the kind of its error. */
export const ending = (asked: Promise<{ readonly status: string }>): Promise<string> =>
  asked.then(
    ({ status }) => status,
    (error: { kind?: string }) => error.kind ?? String(error),
  )
