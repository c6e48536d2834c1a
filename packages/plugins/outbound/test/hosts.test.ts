import { networkInterfaces } from 'node:os'
import outbound from '@posthorn/plugin-outbound'
import { conformance, fakeDns, SmtpPeer, type Zones } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import { counts, net, type Options } from './net.ts'

for (const check of conformance(outbound, { services: [fakeDns().service] })) it(check.name, check.run)

const one: Zones = { 'example.test': { MX: '10 mx.example.test' }, 'mx.example.test': { A: '127.0.0.1' } }
const two: Zones = {
  'example.test': { MX: ['20 b.example.test', '10 a.example.test'] },
  'a.example.test': { A: '127.0.0.1' },
  'b.example.test': { A: '127.0.0.2' },
}

describe('the hosts of a domain', () => {
  it('go by preference, and the next is for when one fails', async () => {
    await using n = await net(two, [{}, {}], { chunking: false })
    expect(await n.send()).toMatchObject({
      kind: 'relayed',
      by: 'outbound',
      via: `a.example.test[127.0.0.1]:${n.port}`,
    })
    expect(counts(n)).toEqual([1, 0])
    n.peers[0]?.cut()
    await n.peers[0]?.stopListening()
    expect(await n.send()).toMatchObject({ kind: 'relayed', remote: { host: 'b.example.test' } })
    // Remembered for a while, and then believed again.
    await n.peers[0]?.listen()
    await n.send()
    expect(counts(n)).toEqual([1, 2])
    await n.h.clock.advance(31_000)
    await n.send()
    expect(counts(n)).toEqual([2, 2])
  })

  it('share the load where they are equal', async () => {
    const zones: Zones = { ...two, 'example.test': { MX: ['10 b.example.test', '10 a.example.test'] } }
    await using n = await net(zones, [{}, {}])
    for (let i = 0; i < 40; i++) await n.send()
    const [a = 0, b = 0] = counts(n)
    expect(a + b).toBe(40)
    expect(Math.min(a, b)).toBeGreaterThan(3)
  })

  it.each<[string, Zones]>([
    ['the domain itself, without MX', { 'example.test': { A: '127.0.0.1' } }],
    ['an MX that is a CNAME', { ...one, 'mx.example.test': { CNAME: 'real.test' }, 'real.test': { A: '127.0.0.1' } }],
    [
      'a domain that is a CNAME',
      { ...one, 'example.test': { CNAME: 'x.test' }, 'x.test': { MX: '0 mx.example.test' } },
    ],
    [
      'one that exists, beside one that does not',
      { ...one, 'example.test': { MX: ['1 no.test', '2 mx.example.test'] } },
    ],
    [
      'one that is known, beside one that is not',
      {
        ...one,
        'example.test': { MX: ['1 bad.test', '2 mx.example.test'] },
        'bad.test': { fail: 'servfail' },
      },
    ],
    [
      'one, where the DNS does not answer for IPv6',
      { ...one, 'mx.example.test': { A: '127.0.0.1', fail: { AAAA: 'timeout' } } },
    ],
    [
      'one, beside a null MX that should not be there',
      { ...one, 'example.test': { MX: ['0 .', '10 mx.example.test'] } },
    ],
    [
      'one of three hundred',
      {
        ...one,
        'example.test': { MX: ['0 mx.example.test', ...Array.from({ length: 300 }, (_, i) => `${i + 1} m${i}.test`)] },
      },
    ],
  ])('%s', async (_what, zones) => {
    await using n = await net(zones)
    expect(await n.send()).toMatchObject({ kind: 'relayed' })
    expect(n.dns.count()).toBeLessThan(50)
  })

  it.each<[string, Zones, object]>([
    ['no such domain', {}, { kind: 'reject', code: 550, enhanced: '5.1.2', scope: 'recipient' }],
    [
      'a null MX',
      { 'example.test': { MX: '0 .' } },
      { kind: 'reject', code: 556, enhanced: '5.1.10', scope: 'recipient' },
    ],
    ['neither MX nor address', { 'example.test': { TXT: 'x' } }, { kind: 'reject', code: 550, enhanced: '5.1.2' }],
    [
      'an MX without address',
      { 'example.test': { MX: '10 no.test' } },
      { kind: 'defer', enhanced: '4.4.4', scope: 'lane' },
    ],
    [
      'SERVFAIL',
      { 'example.test': { fail: 'servfail' } },
      { kind: 'defer', code: 451, enhanced: '4.4.3', scope: 'lane' },
    ],
    ['a timeout', { 'example.test': { fail: 'timeout' } }, { kind: 'defer', enhanced: '4.4.3', scope: 'lane' }],
    ['REFUSED', { 'example.test': { fail: 'refused' } }, { kind: 'defer', enhanced: '4.4.3', scope: 'lane' }],
    [
      'a loop of CNAMEs',
      { 'example.test': { CNAME: 'b.test' }, 'b.test': { CNAME: 'example.test' } },
      { kind: 'defer', enhanced: '4.4.3' },
    ],
    [
      'a loop of CNAMEs behind the MX',
      {
        'example.test': { MX: '1 a.test' },
        'a.test': { CNAME: 'b.test' },
        'b.test': { CNAME: 'a.test' },
      },
      { kind: 'defer', enhanced: '4.4.3', scope: 'lane' },
    ],
    [
      'no MX known, while the address would be',
      { 'example.test': { A: '127.0.0.1', fail: { MX: 'servfail' } } },
      { kind: 'defer', enhanced: '4.4.3' },
    ],
    [
      'SERVFAIL for the address',
      { ...one, 'mx.example.test': { fail: 'servfail' } },
      { kind: 'defer', enhanced: '4.4.3', scope: 'lane' },
    ],
    ['an MX that is an address', { 'example.test': { MX: '0 127.0.0.1' } }, { kind: 'defer', enhanced: '4.4.4' }],
  ])('%s', async (_what, zones, expected) => {
    await using n = await net(zones)
    expect(await n.send()).toMatchObject(expected)
    expect(n.peers[0]?.connections).toBe(0)
  })

  it('a domain in U-labels is asked for in A-labels', async () => {
    await using n = await net({ 'bücher.test': { MX: '0 mx.test.example' }, 'mx.test.example': { A: '127.0.0.1' } })
    expect(await n.send({ to: ['anna@bücher.test'], params: { smtputf8: true } })).toMatchObject({ kind: 'relayed' })
    expect(n.dns.queries[0]).toEqual({ name: 'xn--bcher-kva.test', type: 'MX' })
  })

  it('address literals are dialled, unless they shall not be', async () => {
    await using n = await net({})
    expect(await n.send({ to: ['anna@[127.0.0.1]'] })).toMatchObject({ kind: 'relayed', remote: { host: '127.0.0.1' } })
    expect(n.dns.count()).toBe(0)
    await using no = await net({}, [{}], { literals: false })
    expect(await no.send({ to: ['anna@[127.0.0.1]'] })).toMatchObject({ kind: 'reject', enhanced: '5.1.2' })
  })

  it('where all fail the mail waits, and the reason names every one that was tried', async () => {
    await using n = await net(two, [{ on: { connect: '421 4.3.2 busy' } }, { on: { connect: '554 5.7.1 not you' } }])
    const said = await n.send()
    expect(said).toMatchObject({ kind: 'defer', scope: 'lane', remote: { host: 'b.example.test', code: 554 } })
    expect((said as { reason: string }).reason).toMatch(
      /a\.example\.test.*421 4\.3\.2 busy.*b\.example\.test.*554 5\.7\.1/,
    )
  })

  it('what a host says of the recipient stands: another one is not asked', async () => {
    for (const on of [{ rcpt: '450 4.7.1 greylisted' }, { rcpt: '550 5.1.1 who?' }, { dot: '554 5.6.0 no' }]) {
      await using n = await net(two, [{ on }, {}])
      const [step, reply] = Object.entries(on)[0] as [string, string]
      expect(await n.send()).toMatchObject({
        remote: { phase: step, code: Number(reply.slice(0, 3)), lines: [reply.slice(10)] },
      })
      expect(n.peers[1]?.connections).toBe(0)
    }
  })

  it('a cut behind the final dot is not tried elsewhere: the host may have it', async () => {
    await using n = await net(two, [{ on: { dot: { end: 'cut', taken: true } } }, {}])
    expect(await n.send()).toMatchObject({ kind: 'defer', reason: expect.stringContaining('may have the message') })
    expect(counts(n)).toEqual([1, 0])
  })

  it('tries no more addresses than it is told to', async () => {
    const hosts = Array.from({ length: 9 }, (_, i) => `127.0.0.${i + 1}`)
    const zones: Zones = { 'example.test': { MX: '1 mx.example.test' }, 'mx.example.test': { A: hosts } }
    await using n = await net(
      zones,
      hosts.map(() => ({ on: { connect: '421 4.3.2 busy' } })),
      { attempts: 3 },
    )
    await n.send()
    const dialled = n.peers.filter(peer => peer.connections > 0)
    expect(dialled).toHaveLength(3)
    // The next attempt goes on where this one ended.
    await n.send()
    expect(n.peers.filter(peer => peer.connections > 0)).toHaveLength(6)
  })
})

describe('never ourselves', () => {
  const byUser = { role: 'submission', user: 'anna' } as const

  it('an MX that is our name: returned to our own people, kept where somebody here has accepted it', async () => {
    const zones: Zones = { 'example.test': { MX: '10 MX.test' }, 'mx.test': { A: '127.0.0.1' } }
    await using n = await net(zones)
    expect(await n.send(byUser)).toMatchObject({ kind: 'reject', code: 550, enhanced: '5.4.6' })
    expect(await n.send()).toMatchObject({ kind: 'defer', enhanced: '4.4.6', scope: 'lane' })
    expect(n.peers[0]?.connections).toBe(0)
  })

  it.each<[string, Options]>([
    ['by name', { self: ['us.example.test'] }],
    ['by address', { self: ['198.51.100.7'] }],
  ])('hosts no better than we are count for nothing, %s', async (_how, options) => {
    const zones: Zones = {
      'example.test': { MX: ['10 a.example.test', '20 us.example.test', '20 b.example.test', '30 c.example.test'] },
      'a.example.test': { A: '127.0.0.1' },
      'us.example.test': { A: '198.51.100.7' },
      'b.example.test': { A: '127.0.0.2' },
      'c.example.test': { A: '127.0.0.2' },
    }
    await using n = await net(zones, [{ on: { connect: '421 4.3.2 busy' } }, {}], options)
    for (let i = 0; i < 10; i++) expect(await n.send(byUser)).toMatchObject({ kind: 'defer', remote: { code: 421 } })
    expect(n.peers[1]?.connections).toBe(0)
  })

  it.each(['127.0.0.1', '127.200.0.1', '0.0.0.0'])('an MX at %s is a loop, and nobody is dialled', async A => {
    await using n = await net({ ...one, 'mx.example.test': { A } }, [{}], { allow: [] })
    expect(await n.send(byUser)).toMatchObject({ kind: 'reject', enhanced: '5.4.6' })
    expect(n.peers[0]?.connections).toBe(0)
  })

  it.each(['::1', '::', '::ffff:127.0.0.1', '::127.0.0.1'])('nor at %s', async AAAA => {
    await using n = await net({ ...one, 'mx.example.test': { AAAA } }, [{}], { allow: [] })
    expect(await n.send(byUser)).toMatchObject({ kind: 'reject', enhanced: '5.4.6' })
    await using literal = await net({}, [{}], { allow: [] })
    expect(await literal.send({ ...byUser, to: [`anna@[IPv6:${AAAA}]`] })).toMatchObject({ enhanced: '5.4.6' })
    expect(n.peers[0]?.connections).toBe(0)
  })

  const own = Object.values(networkInterfaces())
    .flatMap(list => list ?? [])
    .find(({ internal, family }) => !internal && family === 'IPv4')?.address
  it.skipIf(own === undefined)('nor at any address of this machine', async () => {
    await using n = await net({ ...one, 'mx.example.test': { A: own as string } }, [{}], { allow: [] })
    expect(await n.send(byUser)).toMatchObject({ kind: 'reject', enhanced: '5.4.6' })
  })

  it.each(['169.254.169.254', '224.0.0.1', '255.255.255.255'])('an MX at %s is no mail server', async A => {
    await using n = await net({ ...one, 'mx.example.test': { A } })
    expect(await n.send()).toMatchObject({ kind: 'reject', code: 550, enhanced: '5.4.4' })
  })

  it('nor one where the operator says no', async () => {
    await using n = await net(one, [{}], { deny: ['127.0.0.0/8'] })
    expect(await n.send()).toMatchObject({ kind: 'reject', enhanced: '5.4.4' })
    expect(n.peers[0]?.connections).toBe(0)
  })

  it('a bad address beside a good one is passed over', async () => {
    await using n = await net({ ...one, 'mx.example.test': { A: ['127.0.0.1', '169.254.169.254'] } })
    for (let i = 0; i < 5; i++) expect(await n.send()).toMatchObject({ kind: 'relayed' })
  })
})

const loopback6 = Object.values(networkInterfaces()).some(list => list?.some(({ address }) => address === '::1'))

describe('address families', () => {
  const both: Zones = { ...one, 'mx.example.test': { A: '127.0.0.1', AAAA: '::1' } }

  it.skipIf(!loopback6)('in the order of preference', async () => {
    await using n = await net(both, [{}], { families: ['ipv6', 'ipv4'] })
    await using six = await SmtpPeer.start({ host: '::1', port: n.port })
    await n.send()
    expect([n.peers[0]?.count, six.count]).toEqual([0, 1])
    await using four = await net(both, [{}], { families: ['ipv4', 'ipv6'] })
    await four.send()
    expect(counts(four)).toEqual([1])
  })

  it.skipIf(!loopback6)('IPv6 that leads nowhere is left for later, for all hosts', async () => {
    const zones: Zones = { ...both, 'else.test': { A: '127.0.0.1', AAAA: '::1' } }
    await using n = await net(zones, [{}], { families: ['ipv6', 'ipv4'] })
    expect(await n.send()).toMatchObject({ kind: 'relayed', via: expect.stringContaining('127.0.0.1') })
    expect(n.h.log.filter(({ level }) => level === 'warn')).toHaveLength(1)
    await n.send({ to: ['anna@else.test'] })
    expect(n.h.log.filter(({ level }) => level === 'warn')).toHaveLength(1)
  })

  it('nobody waits for the addresses of a family that is not used', async () => {
    const slow: Zones = { ...one, 'mx.example.test': { A: '127.0.0.1', fail: { AAAA: 'hang' } } }
    await using n = await net(slow, [{}], { families: ['ipv4'] })
    expect(await n.send()).toMatchObject({ kind: 'relayed' })
  })

  it('only those that are wanted', async () => {
    await using n = await net(both, [{}], { families: ['ipv6'], allow: ['127.0.0.0/8', '::1'], attempts: 9 })
    expect(await n.send()).toMatchObject({ kind: 'defer', scope: 'lane' })
    expect(n.peers[0]?.connections).toBe(0)
  })
})
