// A resolver that asks servers on loopback, its time in the test's hands.

import type { ConfigInput } from '@posthorn/core'
import { Meter } from '@posthorn/core'
import { type DnsServer, fakeClock } from '@posthorn/testing'
import { configOf } from '../../src/config/validate.ts'
import { DnsResolver } from '../../src/dns/resolver.ts'
import { silentLog } from '../../src/log.ts'

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
