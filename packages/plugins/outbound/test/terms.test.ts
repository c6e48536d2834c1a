import { createHash, X509Certificate } from 'node:crypto'
import outbound from '@posthorn/plugin-outbound'
import {
  clientCertificate,
  expiredCertificate,
  fakeDns,
  goodCertificate,
  harness,
  type PeerOptions,
  testCa,
  wrongNameCertificate,
  type Zones,
} from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import { anybody, counts, file, net, type Options } from './net.ts'

const ca = file('ca.pem', testCa)
const zones: Zones = { 'example.test': { MX: '10 mx.example.test' }, 'mx.example.test': { A: '127.0.0.1' } }
const offers = ['PIPELINING', '8BITMIME', 'SMTPUTF8', 'DSN', 'CHUNKING']
const tls: PeerOptions = { tls: 'starttls' }
const sha256 = createHash('sha256').update(new X509Certificate(goodCertificate.cert).raw).digest('hex')

const under = (own: NonNullable<Options['destinations']>[string]): Options => ({
  destinations: { 'example.test': own },
})

describe('TLS', () => {
  it.each<[string, PeerOptions, Options, object]>([
    ['without', {}, {}, { kind: 'relayed' }],
    [
      'where it is offered, whatever the certificate',
      { ...tls, certificate: expiredCertificate },
      {},
      { kind: 'relayed', via: expect.stringMatching(/TLSv1\.\d$/) },
    ],
    ['never', tls, { tls: 'none' }, { kind: 'relayed', via: expect.not.stringContaining('TLS') }],
    [
      'required, and there',
      { ...tls, certificate: wrongNameCertificate },
      under({ tls: 'require' }),
      { kind: 'relayed' },
    ],
    ['required, and not there', {}, under({ tls: 'require' }), { kind: 'defer', scope: 'lane', enhanced: '4.7.4' }],
    [
      'required for all the others',
      {},
      { tls: 'require', destinations: { 'example.test': { tls: 'opportunistic' } } },
      { kind: 'relayed' },
    ],
    ['required below', {}, { destinations: { '*.test': { tls: 'require' } } }, { kind: 'defer', enhanced: '4.7.4' }],
    [
      'what a destination does not say is said for all',
      {},
      { tls: 'require', destinations: { 'example.test': { connections: 1 } } },
      { kind: 'defer', enhanced: '4.7.4' },
    ],
    ['verified', tls, under({ tls: 'verify', ca }), { kind: 'relayed', via: expect.stringContaining('verified') }],
    [
      'verified, and a stranger signed it',
      tls,
      under({ tls: 'verify' }),
      { kind: 'defer', scope: 'lane', enhanced: '4.7.5' },
    ],
    [
      'verified, and expired',
      { ...tls, certificate: expiredCertificate },
      under({ tls: 'verify', ca }),
      { kind: 'defer', enhanced: '4.7.5', text: expect.stringContaining('CERT_HAS_EXPIRED') },
    ],
    [
      'verified, and of another host',
      { ...tls, certificate: wrongNameCertificate },
      under({ tls: 'verify', ca }),
      { kind: 'defer', enhanced: '4.7.5' },
    ],
    [
      'pinned',
      tls,
      under({ tls: 'verify', pins: [sha256] }),
      { kind: 'relayed', via: expect.stringContaining('verified') },
    ],
    ['pinned to another', tls, under({ tls: 'verify', pins: ['00'.repeat(32)] }), { kind: 'defer', enhanced: '4.7.5' }],
    [
      'with a certificate of ours',
      { ...tls, clientCertificate: true },
      { certificate: { cert: file('c.pem', clientCertificate.cert), key: file('k.pem', clientCertificate.key) } },
      { kind: 'relayed', via: expect.stringContaining('TLS') },
    ],
    [
      'from a mail server that we believe',
      tls,
      under({ tls: 'verify', ca, mx: ['*.example.test'] }),
      { kind: 'relayed' },
    ],
    [
      'from a mail server that the DNS made up',
      tls,
      under({ mx: ['mx.google.test'] }),
      { kind: 'defer', scope: 'lane', enhanced: '4.7.5' },
    ],
  ])('%s', async (_what, peer, options, expected) => {
    await using n = await net(zones, [peer], options)
    expect(await n.send()).toMatchObject(expected)
    expect(counts(n)).toEqual([(expected as { kind: string }).kind === 'relayed' ? 1 : 0])
  })

  it('words after the reply to STARTTLS end the connection: somebody speaks in between', async () => {
    const raw = '220 2.0.0 go\r\n250 2.1.0 smuggled\r\n'
    await using n = await net(zones, [{ ...tls, on: { starttls: { raw } } }])
    expect(await n.send()).toMatchObject({ kind: 'defer', scope: 'lane', enhanced: '4.5.0' })
    expect(counts(n)).toEqual([0])
  })

  it('a connection that was not verified carries nothing that must be', async () => {
    const both: Zones = { ...zones, 'strict.test': { MX: '10 mx.example.test' } }
    await using n = await net(both, [tls], { destinations: { 'strict.test': { tls: 'verify', ca } } })
    for (const to of ['a@example.test', 'a@strict.test', 'b@example.test', 'b@strict.test']) await n.send({ to: [to] })
    expect([n.peers[0]?.count, n.peers[0]?.connections]).toEqual([4, 2])
    expect(n.peers[0]?.messages.map(({ session }) => session)).toEqual([1, 2, 1, 2])
  })
})

describe('REQUIRETLS', () => {
  const demand = { params: { requireTls: true } }
  const secure: Zones = {
    'example.test': { MX: '10 mx.example.test', secure: true },
    'mx.example.test': { A: '127.0.0.1' },
  }
  const keeps: PeerOptions = { ...tls, offer: [...offers, 'REQUIRETLS'] }
  const known = under({ tls: 'verify', ca })

  it('goes where DNSSEC vouches for the host, its certificate is right, and it passes the demand on', async () => {
    await using n = await net(secure, [keeps], known)
    expect(await n.send(demand)).toMatchObject({ kind: 'relayed' })
    expect(n.peers[0]?.messages[0]?.mailLine).toContain(' REQUIRETLS')
  })

  it('or where the operator does', async () => {
    await using n = await net(zones, [keeps], under({ tls: 'opportunistic', mx: ['mx.example.test'] }))
    // Also where nothing was to be verified for other mail: the CA of this test is nobody's.
    expect(await n.send(demand)).toMatchObject({ kind: 'reject', code: 550, enhanced: '5.7.10' })
    await using good = await net(zones, [keeps], under({ tls: 'verify', ca, mx: ['mx.example.test'] }))
    expect(await good.send(demand)).toMatchObject({ kind: 'relayed' })
  })

  it.each<[string, Zones, PeerOptions, string]>([
    ['nobody vouches', zones, keeps, '5.7.30'],
    ['the host does not keep it', secure, { ...tls, offer: offers }, '5.7.30'],
    ['the host has no TLS', secure, { offer: [...offers, 'REQUIRETLS'] }, '5.7.10'],
    ['the certificate is not right', secure, { ...keeps, certificate: wrongNameCertificate }, '5.7.10'],
  ])('else it is returned: %s', async (_what, own, peer, enhanced) => {
    await using n = await net(own, [peer], known)
    expect(await n.send(demand)).toMatchObject({ kind: 'reject', code: 550, enhanced })
    expect(counts(n)).toEqual([0])
  })

  it('asks the other hosts too', async () => {
    const three: Zones = {
      'example.test': { MX: ['1 a.test', '2 b.test', '3 localhost'], secure: true },
      'a.test': { A: '127.0.0.1' },
      'b.test': { A: '127.0.0.2' },
      localhost: { A: '127.0.0.3' },
    }
    const good = { ...keeps, certificate: goodCertificate }
    await using n = await net(three, [{ offer: [] }, { ...good, offer: offers }, good], known)
    expect(await n.send(demand)).toMatchObject({ kind: 'relayed', remote: { host: 'localhost' } })
  })

  it('a report is sent as it can be', async () => {
    await using n = await net(zones, [{}], known.destinations === undefined ? {} : {})
    expect(await n.send({ ...demand, from: '' })).toMatchObject({ kind: 'relayed' })
  })
})

describe('what a host lacks', () => {
  it.each<[string, PeerOptions, string, object, string]>([
    ['8BITMIME', { offer: [] }, 'Subject: x\r\n\r\nGrüße\r\n', {}, '5.6.3'],
    [
      'SMTPUTF8, for an address that our Received names',
      { offer: [] },
      'Subject: x\r\n\r\nx\r\n',
      { to: ['ännä@example.test'], params: { smtputf8: true } },
      '5.6.9',
    ],
    [
      'SMTPUTF8, for the header',
      { offer: ['8BITMIME'] },
      'Subject: Grüße\r\n\r\nx\r\n',
      { params: { smtputf8: true } },
      '5.6.9',
    ],
    ['room', { offer: ['SIZE 10'] }, 'Subject: x\r\n\r\nx\r\n', {}, '5.3.4'],
  ])('%s', async (_what, peer, text, given, enhanced) => {
    await using n = await net(zones, [peer])
    expect(await n.send(given, text)).toMatchObject({ kind: 'reject', enhanced })
    // Where a second host has it, it goes there.
    const two: Zones = {
      ...zones,
      'example.test': { MX: ['10 mx.example.test', '20 b.test'] },
      'b.test': { A: '127.0.0.2' },
    }
    await using m = await net(two, [peer, {}])
    expect(await m.send(given, text)).toMatchObject({ kind: 'relayed', remote: { host: 'b.test' } })
  })

  it('DSN is passed on with its parameters, or stays our duty', async () => {
    await using n = await net(zones)
    expect(await n.send({ params: { ret: 'hdrs', envid: 'x' } })).toMatchObject({ kind: 'relayed', noReport: true })
    expect(n.peers[0]?.messages[0]?.mailLine).toContain(' RET=HDRS ENVID=x')
    await using plain = await net(zones, [{ offer: [] }])
    expect(await plain.send({ params: { ret: 'hdrs' } })).not.toHaveProperty('noReport')
  })
})

describe('who we are', () => {
  const identities: Options['identities'] = [
    { name: 'bulk', when: { sender: 'news@client.test' }, helo: 'bulk.test', ipv4: '127.0.0.77' },
  ]

  it('by the mail: name, address and a lane of its own', async () => {
    const from: string[] = []
    await using n = await net(zones, [{}], { helo: 'mail.test', identities })
    for (const sender of ['anna@client.test', 'news@client.test', 'anna@client.test']) {
      await n.send({ from: sender })
      from.push(n.peers[0]?.messages.at(-1)?.session === 1 ? 'usual' : 'bulk')
    }
    expect(from).toEqual(['usual', 'bulk', 'usual'])
    expect(n.peers[0]?.commands.filter(line => line.startsWith('EHLO'))).toEqual(['EHLO mail.test', 'EHLO bulk.test'])
    expect(n.h.throttled).toEqual(['mx:mx.example.test', 'mx:mx.example.test bulk', 'mx:mx.example.test'])
    expect(n.h.slots.size).toBe(0)
  })

  it('a source address that this machine lacks is no reason to bounce', async () => {
    await using n = await net(zones, [{}], { ipv4: '192.0.2.254' })
    expect(await n.send()).toMatchObject({ kind: 'defer', scope: 'lane', enhanced: '4.4.1' })
  })

  it('with an address for one family the other is not used', async () => {
    const both: Zones = { ...zones, 'mx.example.test': { A: '127.0.0.1', AAAA: '::1' } }
    await using n = await net(both, [{}], { ipv4: '127.0.0.5', families: ['ipv6', 'ipv4'] })
    expect(await n.send()).toMatchObject({ kind: 'relayed', via: expect.stringContaining('127.0.0.1') })
    expect(n.h.log.filter(({ level }) => level === 'warn')).toEqual([])
  })
})

describe('lanes and slots', () => {
  it('a lane is a domain; other demands on a host do not share its slots', async () => {
    const dns = fakeDns()
    const options = { destinations: { 'example.test': { connections: 3, retry: ['1m'], expire: '1h' } }, perMinute: 60 }
    await using h = await harness([anybody, outbound], { options: [{}, options], services: [dns.service] })
    const lanes = []
    const session = h.session()
    for (const { agent } of session.generation.plan.agents) {
      for (const lane of ['example.test', 'example.test/bulk', 'else.test']) lanes.push(await agent.limits?.(lane))
    }
    session.close()
    expect(lanes).toEqual([
      { concurrency: 3, perMinute: 60, retry: [60_000], expire: 3_600_000 },
      { concurrency: 3, perMinute: 60, retry: [60_000], expire: 3_600_000 },
      { concurrency: 20, perMinute: 60 },
    ])
    await using n = await net(zones, [tls], under({ tls: 'require' }))
    await n.send()
    expect(n.h.throttled).toEqual(['mx:mx.example.test example.test'])
  })

  it('gives a slot back before it asks for the next', async () => {
    const two: Zones = {
      ...zones,
      'example.test': { MX: ['10 mx.example.test', '20 b.test'] },
      'b.test': { A: '127.0.0.2' },
    }
    await using n = await net(two, [{ on: { connect: '421 4.3.2 busy' } }, { on: { connect: 'cut' } }])
    await n.send()
    expect(n.h.throttled).toEqual(['mx:mx.example.test', 'mx:b.test'])
    expect(n.h.slots.size).toBe(0)
  })
})

describe('the options', () => {
  it.each<[object, RegExp]>([
    [{ tls: 'maybe' }, /verify/],
    [{ ipv4: '::1' }, /IPv4/],
    [{ allow: ['10.0.0.0/40'] }, /network/],
    [{ destinations: { 'exam ple': {} } }, /expected a domain/],
    [{ destinations: { 'example.org': { pins: ['00'.repeat(32)] } } }, /verify only/],
    [{ destinations: { 'example.org': { tls: 'verify', ca: '/nonexistent.pem' } } }, /certificates/],
    [{ families: [] }, /./],
    [{ identities: [{ name: 'a/b', when: {} }] }, /letters/],
    [
      {
        identities: [
          { name: 'a', when: {} },
          { name: 'a', when: {} },
        ],
      },
      /name of its own/,
    ],
    [{ helo: 'a b' }, /host name/],
    [{ desinations: {} }, /desinations/],
  ])('%j is refused', async (options, words) => {
    const error = await harness([outbound], { options: [options as Options], services: [fakeDns().service] }).then(
      () => new Error('taken'),
      error => error,
    )
    expect((error.errors ?? [error]).map((e: Error) => e.message).join('\n')).toMatch(words)
  })
})
