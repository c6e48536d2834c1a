// The test suite of RFC 7208 (203 cases, see fixtures): all of it, through our lookups and the library.
import { readFileSync } from 'node:fs'
import { fakeDns } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import { Lookups } from '../src/lookups.ts'
import { checkHost } from '../src/spf.ts'

type Records = Readonly<Record<string, string | readonly unknown[]>>
interface Scenario {
  readonly description: string
  readonly tests: Readonly<Record<string, Case>>
  readonly zonedata: Readonly<Record<string, readonly ('TIMEOUT' | Records)[]>>
}
interface Case {
  readonly helo: string
  readonly host: string
  readonly mailfrom: string
  readonly result: string | readonly string[]
  readonly explanation?: string
}

const scenarios: readonly Scenario[] = JSON.parse(
  readFileSync(new URL('./fixtures/rfc7208-tests.json', import.meta.url), 'utf8'),
)

/** An SPF record doubles as TXT where there is no TXT; what is not there beside a TIMEOUT times out. */
function zonesOf(data: Scenario['zonedata']) {
  return Object.fromEntries(
    Object.entries(data).map(([name, entries]) => {
      const records = entries.flatMap(entry => (entry === 'TIMEOUT' ? [] : Object.entries(entry)))
      const hasText = records.some(([type]) => type === 'TXT')
      const zone: Record<string, unknown[]> = {}
      for (const [type, value] of records) {
        const as = type === 'SPF' && !hasText ? 'TXT' : type
        if (as === 'SPF' || value === 'NONE') continue
        const data = as === 'MX' ? `${(value as unknown[]).join(' ')}` : as === 'TXT' ? [value].flat().join('') : value
        zone[as] = [...(zone[as] ?? []), data]
      }
      const missing = (['TXT', 'A', 'AAAA', 'MX', 'PTR'] as const).filter(type => zone[type] === undefined)
      const fail = entries.includes('TIMEOUT')
        ? { fail: Object.fromEntries(missing.map(type => [type, 'timeout' as const])) }
        : {}
      return [name.replace(/\.$/, ''), { ...zone, ...fail }]
    }),
  )
}

describe.each(scenarios)('$description', ({ tests, zonedata }) => {
  it.each(Object.entries(tests))('%s', async (_name, { helo, host, mailfrom, result, explanation }) => {
    const dns = fakeDns(zonesOf(zonedata) as never)
    const lookups = new Lookups(dns, 29)
    const job = { ip: host, helo, sender: mailfrom, hostname: 'mx.test', lookups: 10, voidLookups: 2 }
    const found = await checkHost(job, mailfrom, (name, type, purpose) => lookups.ask(name, type, purpose))
    expect([result].flat()).toContain(found.result)
    if (explanation !== undefined) expect(found.explanation ?? 'DEFAULT').toBe(explanation)
    expect(dns.count()).toBeLessThan(30)
  })
})

it('is the whole suite', () => {
  expect(scenarios.flatMap(({ tests }) => Object.keys(tests))).toHaveLength(203)
})
