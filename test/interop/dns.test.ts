// Our resolver against real servers: Unbound, which validates what Knot has signed, and Knot itself.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { DnsError } from '@posthorn/core'
import type { DnsResolver } from '@posthorn/core/runtime'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type DnsRig, dnsPrograms, resolverOf, startDns } from './dns-rig.ts'
import { needs } from './needs.ts'
import { startPosthorn } from './posthorn.ts'
import { run } from './program.ts'

const many = Array.from({ length: 200 }, (_, i) => `many A 10.1.0.${i}\nmany A 10.1.1.${i}`).join('\n')
const long = Array.from({ length: 12 }, (_, i) => `"${`${i}`.padEnd(250, 'x')}"`).join(' ')

const zones = {
  'signed.test': {
    state: 'signed',
    records: `@ MX 10 mail
@ TXT "v=spf1 mx -all"
mail A 192.0.2.1
mail AAAA 2001:db8::1
_25._tcp.mail TLSA 3 1 1 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
_submission._tcp SRV 0 1 587 mail
@ CAA 0 issue "ca.test"
alias CNAME mail
out CNAME www.plain.test.
key._domainkey TXT ${long}
${many}`,
  },
  'plain.test': { records: '@ MX 0 .\nwww A 192.0.2.80' },
  'bogus.test': { state: 'bogus', records: '@ MX 10 mail\nmail A 192.0.2.66' },
  'lame.test': { state: 'lame', records: '' },
  '2.0.192.in-addr.arpa': { records: '1 PTR mail.signed.test.\n80 PTR mail.signed.test.' },
} as const

describe.runIf(needs(...dnsPrograms))('Knot and Unbound', () => {
  let rig: DnsRig
  const open: DnsResolver[] = []
  const ask = async (...args: Parameters<typeof resolverOf>) => {
    const dns = await resolverOf(...args)
    open.push(dns)
    return dns
  }
  const failure = (asked: Promise<unknown>) =>
    asked.then(
      () => 'answered',
      (error: DnsError) => error.kind,
    )

  beforeAll(async () => {
    rig = await startDns(zones)
  })
  afterEach(() => {
    for (const dns of open.splice(0)) dns.close()
  })
  afterAll(() => rig?.[Symbol.asyncDispose]())

  // The zones say 60; what Unbound has had in its cache for a moment is a little less.
  const nearlyMinute = expect.toSatisfy(
    (ttl: number) => ttl > 30 && ttl <= 60,
    'a TTL of a minute, or what is left of it',
  )

  test('what is signed is secure: answers of every type, aliases, and that there is nothing', async () => {
    const dns = await ask([rig.resolver])
    expect(await dns.resolve('signed.test', 'MX')).toMatchObject({
      records: [{ preference: 10, exchange: 'mail.signed.test' }],
      secure: true,
      ttl: nearlyMinute,
    })
    expect(await dns.resolve('Signed.Test.', 'TXT')).toMatchObject({ records: ['v=spf1 mx -all'], secure: true })
    expect(await dns.resolve('alias.signed.test', 'AAAA')).toMatchObject({
      records: ['2001:db8::1'],
      name: 'mail.signed.test',
      secure: true,
    })
    const [tlsa] = (await dns.resolve('_25._tcp.mail.signed.test', 'TLSA')).records
    expect([tlsa?.usage, tlsa?.selector, tlsa?.matching, tlsa?.data.length, tlsa?.data[31]]).toEqual([3, 1, 1, 32, 32])
    expect((await dns.resolve('_submission._tcp.signed.test', 'SRV')).records).toEqual([
      { priority: 0, weight: 1, port: 587, target: 'mail.signed.test' },
    ])
    expect((await dns.resolve('signed.test', 'CAA')).records).toEqual([
      { critical: false, tag: 'issue', value: 'ca.test' },
    ])
    expect((await dns.resolve('signed.test', 'NS')).records).toEqual(['ns.signed.test'])
    expect(await dns.resolve('nothing.signed.test', 'A')).toMatchObject({
      status: 'nxdomain',
      secure: true,
      ttl: nearlyMinute,
    })
    expect(await dns.resolve('mail.signed.test', 'TXT')).toMatchObject({
      status: 'nodata',
      secure: true,
      ttl: nearlyMinute,
    })
  })

  test('what is not signed is not, nor is an alias out of a signed zone', async () => {
    const dns = await ask([rig.resolver])
    expect(await dns.resolve('plain.test', 'MX')).toMatchObject({
      records: [{ preference: 0, exchange: '' }],
      secure: false,
    })
    expect(await dns.resolve('nothing.plain.test', 'A')).toMatchObject({ status: 'nxdomain', secure: false })
    expect(await dns.resolve('out.signed.test', 'A')).toMatchObject({
      records: ['192.0.2.80'],
      name: 'www.plain.test',
      secure: false,
    })
  })

  test('what does not validate is no answer', async () => {
    const dns = await ask([rig.resolver])
    expect(await failure(dns.resolve('bogus.test', 'MX'))).toBe('servfail')
    expect(await failure(dns.resolve('mail.bogus.test', 'A'))).toBe('servfail')
  })

  test('answers that are too large for UDP come by TCP', async () => {
    const dns = await ask([rig.resolver])
    const { records, secure } = await dns.resolve('many.signed.test', 'A')
    expect([records.length, new Set(records).size, secure]).toEqual([400, 400, true])
    const [key] = (await dns.resolve('key._domainkey.signed.test', 'TXT')).records
    expect(key).toHaveLength(12 * 250)
  })

  test('names of an address, and which of them are true', async () => {
    const dns = await ask([rig.resolver])
    expect((await dns.reverse('192.0.2.80')).records).toEqual(['mail.signed.test'])
    expect(await dns.confirmedNames('192.0.2.1')).toEqual(['mail.signed.test'])
    expect(await dns.confirmedNames('192.0.2.80')).toEqual([])
    expect(await dns.confirmedNames('192.0.2.99')).toEqual([])
  })

  test('Knot alone: its zones, nobody validated them; what is not its own it refuses', async () => {
    const dns = await ask([rig.authority])
    expect(await dns.resolve('signed.test', 'MX')).toMatchObject({ status: 'ok', secure: false })
    expect(await dns.resolve('nothing.signed.test', 'MX')).toMatchObject({ status: 'nxdomain' })
    expect(await failure(dns.resolve('elsewhere.test', 'MX'))).toBe('refused')
  })

  test('a resolver that hangs: a timeout, or the next one', async () => {
    rig.sleep()
    try {
      const dns = await ask([rig.resolver], { timeout: 200, attempts: 2 })
      const began = performance.now()
      expect(await failure(dns.resolve('signed.test', 'MX'))).toBe('timeout')
      expect(performance.now() - began).toBeGreaterThan(390)
      const two = await ask([rig.resolver, rig.authority], { timeout: 200 })
      expect((await two.resolve('signed.test', 'MX')).status).toBe('ok')
    } finally {
      rig.wake()
    }
  })

  test('1,000 questions at once', async () => {
    const dns = await ask([rig.resolver], { attempts: 3 })
    const names = Array.from({ length: 1_000 }, (_, i) => `n${i}.signed.test`)
    const answers = await Promise.all(names.map(name => dns.resolve(name, 'A')))
    expect(answers.every(({ status, secure }) => status === 'nxdomain' && secure)).toBe(true)
  })

  test('servers that do not serve their zone: SERVFAIL', async () => {
    const dns = await ask([rig.resolver])
    expect(await failure(dns.resolve('mail.lame.test', 'A'))).toBe('servfail')
  })

  test('the servers of a zone are gone: a timeout, but what is known is known; the resolver is gone: at once', async () => {
    await rig.stop('authority')
    const dns = await ask([rig.resolver], { timeout: 500, attempts: 1 })
    expect(await failure(dns.resolve('never-asked.plain.test', 'A'))).toBe('timeout')
    expect((await dns.resolve('signed.test', 'MX')).secure).toBe(true)
    await rig.stop('resolver')
    const alone = await ask([rig.resolver])
    await expect(alone.resolve('signed.test', 'MX')).rejects.toMatchObject({
      kind: 'timeout',
      message: `MX signed.test: ${rig.resolver} cannot be reached (ECONNREFUSED)`,
    })
  })
})

const bin = fileURLToPath(new URL('../../packages/cli/bin/posthorn.js', import.meta.url))

test.runIf(needs(...dnsPrograms))(
  'what `posthorn dns` prints is served as it is, and then there are no differences',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'posthorn-zone-'))
    try {
      const config = {
        hostname: 'mx.example.test',
        data: 'data',
        listeners: { mx: { listen: '127.0.0.1:0' }, submissions: { listen: '127.0.0.1:0' } },
        plugins: ['storage-level', { domains: { domains: ['example.test'] } }, 'dkim-sign'],
      }
      writeFileSync(join(folder, 'posthorn.config.json'), JSON.stringify(config))
      const posthorn = async (...args: readonly string[]) => {
        const ended = await run(process.execPath, ['--conditions=@posthorn/source', bin, ...args], { cwd: folder })
        expect(ended.code, ended.err).toBe(0)
        return ended.out
      }
      await posthorn('dkim', 'generate', 'example.test')
      const zone = await posthorn('dns', '--address', '192.0.2.25', '2001:db8::25')
      // Advice is wanted too; records of other zones go there.
      const records = zone.split('\n').map(line => line.replace(/^; (?=\S+\. 3600 IN )/, ''))
      const inZone = (name: string) => records.filter(line => line.split(' ')[0]?.endsWith(`${name}.`) ?? false)
      const continued = zone.split('\n').filter(line => line.startsWith('    "'))
      expect(continued).toHaveLength(1)
      const text = inZone('example.test').flatMap(line => (line.includes(' ( ') ? [line, ...continued] : [line]))
      await using rig = await startDns({
        'example.test': { state: 'signed', records: text.join('\n') },
        '2.0.192.in-addr.arpa': { records: inZone('2.0.192.in-addr.arpa').join('\n') },
        '8.b.d.0.1.0.0.2.ip6.arpa': { records: inZone('8.b.d.0.1.0.0.2.ip6.arpa').join('\n') },
      })
      writeFileSync(join(folder, 'posthorn.config.json'), JSON.stringify({ ...config, dns: { servers: rig.resolver } }))
      const checked = await posthorn('dns', '--check', '--address', '192.0.2.25', '2001:db8::25')
      expect(checked).toMatch(/\nNo differences\.\n$/)
      expect(checked.split('\n').filter(line => /^(optional|UNKNOWN)/.test(line))).toEqual([])

      // A running server says the same, and that it has no keys.
      await using server = await startPosthorn({ ...config, data: 'data', dns: { servers: rig.resolver } })
      const args = [
        'dns',
        '--check',
        '--config',
        join(server.folder, 'posthorn.config.json'),
        '--address',
        '192.0.2.25',
      ]
      const other = await run(process.execPath, ['--conditions=@posthorn/source', bin, ...args])
      expect(other.code, other.out + other.err).toBe(0)
      expect(other.err).toContain('nothing signs mail from example.test')
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
)
