// What one asked serves others: the cache, and queries that are under way.
import { dnsServer } from '@posthorn/testing'
import { describe, expect, test } from 'vitest'
import { dnsConfig, ending, resolverFor, until, zones } from './resolver-rig.ts'

describe('the cache', () => {
  test('answers until the TTL is over, and says what is left of it', async () => {
    await using server = await dnsServer({ 'a.test': { A: '192.0.2.1', ttl: 60 } })
    using rig = await resolverFor([server])
    const ask = () => rig.resolver.resolve('a.test', 'A')
    expect((await ask()).ttl).toBe(60)
    await rig.clock.advance(20_500)
    expect((await ask()).ttl).toBe(40)
    await rig.clock.advance(39_499)
    expect((await ask()).ttl).toBe(1)
    expect(server.queries).toHaveLength(1)
    await rig.clock.advance(1)
    expect((await ask()).ttl).toBe(60)
    expect(server.queries).toHaveLength(2)
    expect(rig.value('posthorn_dns_lookups_total', 'cache')).toBe(2)
    expect(rig.value('posthorn_dns_queries_total', 'ok')).toBe(2)
  })

  test('keeps within the limits of the configuration', async () => {
    await using server = await dnsServer({
      'long.test': { A: '192.0.2.1', ttl: 864_000 },
      'none.test': { A: '192.0.2.1', ttl: 0 },
      // RFC 2181 §8: the highest bit set is no TTL at all.
      'odd.test': { A: '192.0.2.1', ttl: 0xffff_ffff },
    })
    using rig = await resolverFor([server])
    const ttl = async (name: string) => (await rig.resolver.resolve(name, 'A')).ttl
    expect(await ttl('long.test')).toBe(86_400)
    expect(await ttl('none.test')).toBe(5)
    expect(await ttl('odd.test')).toBe(5)
  })

  test('of negative answers: the least of the SOA, and of the configuration', async () => {
    await using server = await dnsServer({ 'a.test': { A: '192.0.2.1' } })
    using rig = await resolverFor([server])
    expect(await rig.resolver.resolve('a.test', 'AAAA')).toMatchObject({ status: 'nodata', ttl: 300 })
    expect(await rig.resolver.resolve('b.test', 'AAAA')).toMatchObject({ status: 'nxdomain', ttl: 300 })
    await rig.resolver.resolve('b.test', 'AAAA')
    expect(server.queries).toHaveLength(2)
    using short = await resolverFor([server], { cache: { negativeTtl: '20s' } })
    expect((await short.resolver.resolve('b.test', 'AAAA')).ttl).toBe(20)
  })

  test('a negative answer that says not how long is kept for the least', async () => {
    await using server = await dnsServer(
      {},
      { act: () => ({ change: reply => void Object.assign(reply, { authorities: [] }) }) },
    )
    using rig = await resolverFor([server])
    expect(await rig.resolver.resolve('b.test', 'A')).toMatchObject({ status: 'nxdomain', ttl: 5 })
  })

  test('a failure is kept for five seconds', async () => {
    await using server = await dnsServer({ 'a.test': { fail: 'servfail' } })
    using rig = await resolverFor([server])
    const ask = () => ending(rig.resolver.resolve('a.test', 'A'))
    expect([await ask(), await ask()]).toEqual(['servfail', 'servfail'])
    expect(server.queries).toHaveLength(1)
    server.replace({ 'a.test': { A: '192.0.2.1' } })
    await rig.clock.advance(5_000)
    expect(await ask()).toBe('ok')
  })

  test('is bounded by entries and by their size; the least used goes first', async () => {
    const zones: Record<string, { A: readonly string[] }> = {}
    for (let i = 0; i < 20; i++) zones[`n${i}.test`] = { A: ['192.0.2.1'] }
    // About 24 KiB: as much as 24 entries.
    zones['big.test'] = { A: Array.from({ length: 1_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`) }
    await using server = await dnsServer(zones)
    using rig = await resolverFor([server], { cache: { entries: 40 } })
    const ask = (name: string) => rig.resolver.resolve(name, 'A')
    for (let i = 0; i < 20; i++) await ask(`n${i}.test`)
    await ask('n0.test')
    await ask('big.test')
    expect(rig.value('posthorn_dns_cached')).toBe(17)
    const before = server.queries.length
    await ask('n0.test')
    await ask('big.test')
    expect(server.queries).toHaveLength(before)
    await ask('n1.test')
    expect(server.queries).toHaveLength(before + 1)
    using none = await resolverFor([server], { cache: { entries: 0 } })
    await none.resolver.resolve('n1.test', 'A')
    await none.resolver.resolve('n1.test', 'A')
    expect(server.queries).toHaveLength(before + 3)
  })

  test('other servers make it void; other limits do not', async () => {
    await using one = await dnsServer({ 'a.test': { A: '192.0.2.1' } })
    await using two = await dnsServer({ 'a.test': { A: '192.0.2.2' } })
    using rig = await resolverFor([one])
    const ask = async () => (await rig.resolver.resolve('a.test', 'A')).records
    expect(await ask()).toEqual(['192.0.2.1'])
    rig.resolver.configure(await dnsConfig({ servers: one.address, timeout: '1s' }))
    await ask()
    expect(one.queries).toHaveLength(1)
    rig.resolver.configure(await dnsConfig({ servers: two.address }))
    expect(await ask()).toEqual(['192.0.2.2'])
  })
})

describe('several who ask', () => {
  test('share one question; who leaves does not take it from the others', async () => {
    const gate = Promise.withResolvers<void>()
    await using server = await dnsServer(zones, { act: () => ({ wait: gate.promise }) })
    using rig = await resolverFor([server])
    const aborter = new AbortController()
    const first = ending(rig.resolver.resolve('mx1.example.test', 'A', aborter.signal))
    const others = Promise.all([1, 2, 3].map(() => rig.resolver.resolve('MX1.example.test.', 'A')))
    await until(() => server.queries.length === 1)
    aborter.abort()
    expect(await first).toBe('aborted')
    gate.resolve()
    expect((await others).map(answer => answer.records.length)).toEqual([2, 2, 2])
    expect(server.queries).toHaveLength(1)
    expect(rig.value('posthorn_dns_lookups_total', 'shared')).toBe(3)
  })

  test('when the last leaves, the question is taken back', async () => {
    await using server = await dnsServer({ 'a.test': { fail: 'hang' } })
    using rig = await resolverFor([server])
    const aborter = new AbortController()
    const asked = [1, 2].map(() => ending(rig.resolver.resolve('a.test', 'A', aborter.signal)))
    await until(() => server.queries.length === 1)
    expect(rig.value('posthorn_dns_active')).toBe(1)
    aborter.abort()
    expect(await Promise.all(asked)).toEqual(['aborted', 'aborted'])
    expect(rig.value('posthorn_dns_active')).toBe(0)
    expect(rig.clock.timers).toBe(0)
    expect(await ending(rig.resolver.resolve('a.test', 'A', aborter.signal))).toBe('aborted')
    server.replace({ 'a.test': { A: '192.0.2.1' } })
    expect(await ending(rig.resolver.resolve('a.test', 'A'))).toBe('ok')
  })

  test('aborted before the socket is open', async () => {
    await using server = await dnsServer(zones)
    using rig = await resolverFor([server])
    const aborter = new AbortController()
    const asked = ending(rig.resolver.resolve('mx1.example.test', 'A', aborter.signal))
    aborter.abort()
    expect(await asked).toBe('aborted')
    expect(await ending(rig.resolver.resolve('mx1.example.test', 'A'))).toBe('ok')
  })

  test('a burst is begun over several turns of the loop, so that it holds nothing up', async () => {
    await using server = await dnsServer({ 'example.test': { A: '192.0.2.1' } })
    using rig = await resolverFor([server])
    const asked = Array.from({ length: 100 }, (_, n) => rig.resolver.resolve(`n${n}.example.test`, 'A'))
    const waiting = [rig.value('posthorn_dns_waiting')]
    // Answers come between the turns, and begin none of their own.
    while (waiting.at(-1) !== 0) {
      await new Promise<void>(resolve => setImmediate(resolve))
      waiting.push(rig.value('posthorn_dns_waiting'))
    }
    expect(waiting).toEqual([84, 68, 52, 36, 20, 4, 0])
    expect(new Set(await Promise.all(asked.map(ending)))).toEqual(new Set(['nxdomain']))
  })

  test('at most so many at once; others wait, and beyond that it says busy', async () => {
    const gate = Promise.withResolvers<void>()
    let open = 0
    let most = 0
    await using server = await dnsServer(zones, {
      act() {
        most = Math.max(most, ++open)
        return { wait: gate.promise.then(() => void open--) }
      },
    })
    using rig = await resolverFor([server], { concurrency: 2 })
    const asked = Array.from({ length: 30 }, (_, i) => ending(rig.resolver.resolve(`n${i}.test`, 'A')))
    await until(() => server.queries.length === 2)
    expect(rig.value('posthorn_dns_waiting')).toBe(20)
    gate.resolve()
    const ends = await Promise.all(asked)
    expect(ends.filter(end => end === 'nxdomain')).toHaveLength(22)
    expect(ends.slice(22)).toEqual(new Array(8).fill('busy'))
    expect(most).toBeLessThanOrEqual(2)
  })

  test('who waits for its turn longer than for an answer is told so', async () => {
    await using server = await dnsServer({ 'a.test': { fail: 'hang' }, 'b.test': { A: '192.0.2.1' } })
    using rig = await resolverFor([server], { concurrency: 1, timeout: '2s', attempts: 2 })
    const slow = ending(rig.resolver.resolve('a.test', 'A'))
    const asked = ending(rig.resolver.resolve('b.test', 'A'))
    await until(() => server.queries.length === 1)
    await rig.clock.advance(2_000)
    await until(() => server.queries.length === 2)
    await rig.clock.advance(2_000)
    expect([await slow, await asked]).toEqual(['timeout', 'busy'])
  })

  test('the end of the server is the end of every question', async () => {
    await using server = await dnsServer({ 'a.test': { fail: 'hang' }, 'b.test': { fail: 'hang' } })
    using rig = await resolverFor([server], { concurrency: 1 })
    const asked = ['a.test', 'b.test'].map(name => ending(rig.resolver.resolve(name, 'A')))
    rig.resolver.close()
    expect(await Promise.all(asked)).toEqual(['aborted', 'aborted'])
    expect(await ending(rig.resolver.resolve('c.test', 'A'))).toBe('aborted')
    expect(rig.clock.timers).toBe(0)
  })
})
