// From the dial to the first MAIL: what peers do wrong, and what we then say of them.

import { X509Certificate } from 'node:crypto'
import { connect, type NextHop, SmtpFailure, secureContext } from '@posthorn/core/client'
import {
  clientCertificate,
  expiredCertificate,
  fakeClock,
  goodCertificate,
  type PeerOptions,
  SmtpPeer,
  testCa,
  wrongNameCertificate,
} from '@posthorn/testing'
import { expect, test } from 'vitest'
import { fates, hopTo, mail } from './sample.ts'

async function failure(peer: SmtpPeer, hop: Partial<NextHop> = {}): Promise<SmtpFailure> {
  const error = await connect(hopTo(peer, hop)).catch(error => error)
  expect(error).toBeInstanceOf(SmtpFailure)
  return error
}

const refusals: [what: string, options: PeerOptions, hop: Partial<NextHop>, expected: object][] = [
  [
    '554 for a greeting',
    { on: { connect: '554 5.7.1 go away' } },
    {},
    { kind: 'refused', phase: 'connect', reply: { code: 554, enhanced: '5.7.1' }, enhanced: '4.4.0' },
  ],
  [
    '421 for a greeting',
    { on: { connect: '421 4.7.0 too busy' } },
    {},
    { kind: 'refused', phase: 'connect', enhanced: '4.7.0' },
  ],
  ['a cut greeting', { on: { connect: 'cut' } }, {}, { kind: 'cut', phase: 'connect', enhanced: '4.4.2' }],
  ['half a greeting', { on: { connect: { raw: '220 peer.exa', end: 'cut' } } }, {}, { kind: 'cut', phase: 'connect' }],
  [
    '10 MB of greeting',
    { on: { connect: { raw: Buffer.alloc(10_000_000, 'x') } } },
    {},
    { kind: 'garbage', phase: 'connect' },
  ],
  [
    '10 MB of greeting lines',
    { on: { connect: { raw: '220-x\r\n'.repeat(1_500_000) } } },
    {},
    { kind: 'garbage', phase: 'connect' },
  ],
  [
    'another protocol',
    { on: { connect: { raw: 'HTTP/1.1 400 Bad Request\r\n\r\n' } } },
    {},
    { kind: 'garbage', phase: 'connect', enhanced: '4.5.0' },
  ],
  ['codes that differ in one reply', { on: { hello: '250-peer\n251 SIZE' } }, {}, { kind: 'garbage', phase: 'hello' }],
  [
    'replies that nobody asked for',
    { on: { hello: '250 peer\n250 and more' } },
    {},
    { kind: 'garbage', phase: 'hello' },
  ],
  ['450 for EHLO', { on: { hello: '450 4.7.1 later' } }, {}, { kind: 'refused', phase: 'hello', enhanced: '4.7.1' }],
  ['502 for EHLO and HELO', { on: { hello: '502 5.5.1 no' } }, {}, { kind: 'refused', phase: 'hello' }],
  [
    '502 for LHLO: there is no falling back',
    { lmtp: true, on: { hello: '502 5.5.1 no' } },
    {},
    { kind: 'refused', phase: 'hello' },
  ],
  [
    'no STARTTLS where it must be',
    {},
    { tls: { mode: 'require' } },
    { kind: 'tls', phase: 'hello', enhanced: '4.7.4' },
  ],
  [
    'STARTTLS refused where it must be',
    { tls: 'starttls', on: { starttls: '454 4.7.0 not now' } },
    { tls: { mode: 'require' } },
    { kind: 'tls', reply: { code: 454 } },
  ],
  ['no AUTH', {}, { auth: { user: 'u', password: 'p', insecure: true } }, { kind: 'auth', enhanced: '4.7.4' }],
  [
    'AUTH without TLS',
    { users: { u: 'p' } },
    { auth: { user: 'u', password: 'p' } },
    { kind: 'auth', enhanced: '4.7.11' },
  ],
  [
    'a wrong password',
    { users: { u: 'p' } },
    { auth: { user: 'u', password: 'q', insecure: true } },
    { kind: 'auth', reply: { code: 535, enhanced: '5.7.8' }, enhanced: '4.7.8' },
  ],
  [
    'a wrong token',
    { users: { u: 'p' } },
    { auth: { user: 'u', token: 'q', insecure: true } },
    { kind: 'auth', reply: { code: 535 } },
  ],
  [
    'plaintext behind the reply to STARTTLS',
    { tls: 'starttls', on: { starttls: { raw: '220 go\r\n250-peer\r\n250 AUTH PLAIN\r\n' } } },
    { tls: { mode: 'opportunistic' } },
    { kind: 'garbage', phase: 'hello' },
  ],
  [
    'half a line behind the reply to STARTTLS',
    { tls: 'starttls', on: { starttls: { raw: '220 go\r\n250' } } },
    { tls: { mode: 'opportunistic' } },
    { kind: 'garbage', phase: 'hello' },
  ],
]

test.each(refusals)('%s', async (_what, options, hop, expected) => {
  await using peer = await SmtpPeer.start(options)
  expect(await failure(peer, hop)).toMatchObject({ host: '127.0.0.1', unknown: false, ...expected })
  await peer.until(({ open }) => open === 0)
})

test('nobody there', async () => {
  await using peer = await SmtpPeer.start()
  await peer.stopListening()
  expect(await failure(peer)).toMatchObject({ kind: 'unreachable', phase: 'connect', enhanced: '4.4.1' })
  const path = { endpoint: { path: '/nonexistent/socket' } }
  expect(await failure(peer, path)).toMatchObject({ kind: 'unreachable', phase: 'connect' })
})

test('a server that knows no EHLO is greeted with HELO', async () => {
  await using peer = await SmtpPeer.start({
    on: { hello: ({ line }) => (line.startsWith('EHLO') ? '500 what?' : undefined) },
  })
  const connection = await connect(hopTo(peer, { tls: { mode: 'opportunistic' } }))
  expect(peer.commands).toEqual(['EHLO client.test', 'HELO client.test'])
  expect(connection.keywords.size).toBe(0)
  expect(await fates(connection, mail())).toEqual(['accepted'])
  connection.destroy()
})

const stalls: [PeerOptions, string, number][] = [
  [{ on: { connect: 'stall' } }, 'connect', 300_000],
  [{ on: { hello: 'stall' } }, 'hello', 300_000],
  [{ on: { hello: { raw: '250-peer\r\n250', end: 'stall' } } }, 'hello', 300_000],
  [{ tls: 'starttls', on: { starttls: 'stall' } }, 'hello', 300_000],
  [{ tls: 'starttls', on: { starttls: { raw: '220 go\r\n', end: 'stall' } } }, 'hello', 300_000],
  [{ users: { u: 'p' }, on: { auth: 'stall' } }, 'hello', 300_000],
]

test.each(stalls)('a peer that stalls (%j) is waited for as long as the RFC says', async (options, phase, patience) => {
  const clock = fakeClock()
  await using peer = await SmtpPeer.start(options)
  const hop = hopTo(peer, {
    tls: { mode: options.tls === undefined ? 'none' : 'require' },
    ...(options.users === undefined ? {} : { auth: { user: 'u', password: 'p', insecure: true } }),
  })
  let ended = false
  const result = connect(hop, { clock }).catch(error => {
    ended = true
    return error
  })
  const step = Object.keys(options.on ?? {})[0]
  const sign = { connect: undefined, hello: 'EHLO', starttls: 'STARTTLS', auth: 'AUTH' }[step as 'connect']
  await peer.until(
    ({ connections, commands }) => connections === 1 && (!sign || commands.some(c => c.startsWith(sign))),
  )
  await clock.settle()
  await clock.advance(patience - 1000)
  expect(ended).toBe(false)
  await clock.advance(2000)
  const error = await result
  expect(error).toMatchObject({ phase })
  expect(['timeout', 'tls']).toContain(error.kind)
  await peer.until(({ open }) => open === 0)
})

const tlsCases: [what: string, peer: PeerOptions, tls: NextHop['tls'], outcome: 'TLS' | 'plain' | RegExp][] = [
  ['none', { tls: 'starttls' }, { mode: 'none' }, 'plain'],
  ['opportunistic', { tls: 'starttls' }, { mode: 'opportunistic' }, 'TLS'],
  ['opportunistic, not offered', {}, { mode: 'opportunistic' }, 'plain'],
  ['opportunistic, refused', { tls: 'starttls', on: { starttls: '454 4.7.0 no' } }, { mode: 'opportunistic' }, 'plain'],
  [
    'opportunistic, whatever certificate',
    { tls: 'starttls', certificate: expiredCertificate },
    { mode: 'opportunistic' },
    'TLS',
  ],
  [
    'opportunistic, a handshake that fails',
    { tls: 'starttls', on: { starttls: { raw: '220 go\r\n', end: 'cut' } } },
    { mode: 'opportunistic' },
    'plain',
  ],
  ['require, whatever certificate', { tls: 'starttls', certificate: wrongNameCertificate }, { mode: 'require' }, 'TLS'],
  ['verify', { tls: 'starttls' }, { mode: 'verify', ca: testCa }, 'TLS'],
  [
    'verify, by another name',
    { tls: 'starttls' },
    { mode: 'verify', ca: testCa, servername: 'mx.example.test' },
    'TLS',
  ],
  ['verify, a CA unknown', { tls: 'starttls' }, { mode: 'verify' }, /not trusted: .*(ISSUER|LEAF|SELF)/],
  [
    'verify, expired',
    { tls: 'starttls', certificate: expiredCertificate },
    { mode: 'verify', ca: testCa },
    /CERT_HAS_EXPIRED/,
  ],
  [
    'verify, for another host',
    { tls: 'starttls', certificate: wrongNameCertificate },
    { mode: 'verify', ca: testCa },
    /ALTNAME/,
  ],
  [
    'verify, by pin',
    { tls: 'starttls', certificate: expiredCertificate },
    { mode: 'verify', pins: [pin(expiredCertificate.cert)] },
    'TLS',
  ],
  [
    'verify, by the wrong pin',
    { tls: 'starttls' },
    { mode: 'verify', ca: testCa, pins: [pin(expiredCertificate.cert)] },
    /none of the pinned/,
  ],
  ['implicit', { tls: 'implicit' }, { mode: 'verify', implicit: true, ca: testCa }, 'TLS'],
  [
    'implicit, expired',
    { tls: 'implicit', certificate: expiredCertificate },
    { mode: 'verify', implicit: true, ca: testCa },
    /CERT_HAS_EXPIRED/,
  ],
  ['implicit, to a plaintext port', {}, { mode: 'require', implicit: true }, /handshake failed/],
  [
    'our certificate',
    { tls: 'starttls', clientCertificate: true },
    { mode: 'verify', ca: testCa, ...clientCertificate },
    'TLS',
  ],
]

test.each(tlsCases)('TLS %s', async (_what, options, tls, outcome) => {
  await using peer = await SmtpPeer.start(options)
  if (outcome instanceof RegExp) {
    const error = await failure(peer, { tls })
    expect(error).toMatchObject({ kind: 'tls', phase: 'hello' })
    expect(error.message).toMatch(outcome)
    return
  }
  const connection = await connect(hopTo(peer, { tls }))
  expect(connection.secured !== undefined).toBe(outcome === 'TLS')
  expect(await fates(connection, mail())).toEqual(['accepted'])
  expect(peer.messages[0]?.tls).toBe(outcome === 'TLS')
  // RFC 3207 §4.2: what was learned in plaintext is asked for again.
  if (options.tls === 'starttls' && outcome === 'TLS') {
    expect(peer.commands.filter(line => line.startsWith('EHLO'))).toHaveLength(2)
  }
  connection.destroy()
})

function pin(cert: string): string {
  return new X509Certificate(cert).fingerprint256
}

test('a bad PEM is an error when the policy is made', () => {
  expect(() => secureContext({ mode: 'verify', cert: 'nonsense', key: goodCertificate.key })).toThrow()
})

test.each([
  ['PLAIN', 'AUTH PLAIN LOGIN', { password: 'p' }],
  ['LOGIN', 'AUTH=LOGIN', { password: 'p' }],
  ['XOAUTH2', 'AUTH XOAUTH2', { token: 'p' }],
])('AUTH %s', async (mechanism, keyword, secret) => {
  await using peer = await SmtpPeer.start({ offer: [keyword], users: {} })
  // The peer's own list names all mechanisms; ours is the first line.
  Object.assign(peer.options, { users: { anna: 'p' } })
  const connection = await connect(hopTo(peer, { auth: { user: 'anna', ...secret, insecure: true } }))
  expect(peer.commands.find(line => line.startsWith('AUTH'))).toContain(mechanism)
  await fates(connection, mail())
  expect(peer.messages[0]?.user).toBe('anna')
  connection.destroy()
})

test('XCLIENT tells the peer who the client is, as far as it wants to know, and EHLO again', async () => {
  await using peer = await SmtpPeer.start({ offer: ['XCLIENT ADDR NAME HELO'] })
  const xclient = { ADDR: 'IPV6:2001:db8::1', NAME: 'a b', LOGIN: 'anna' }
  const connection = await connect(hopTo(peer, { xclient }))
  await fates(connection, mail())
  expect(peer.messages[0]?.xclient).toEqual({ ADDR: 'IPV6:2001:db8::1', NAME: 'a+20b' })
  expect(peer.commands.slice(0, 3)).toEqual([
    'EHLO client.test',
    'XCLIENT ADDR=IPV6:2001:db8::1 NAME=a+20b',
    'EHLO client.test',
  ])
  connection.destroy()
})

test('stops when it is told to, wherever it is', async () => {
  for (const step of ['connect', 'hello', 'starttls'] as const) {
    await using peer = await SmtpPeer.start({ tls: 'starttls', on: { [step]: 'stall' } })
    const stop = new AbortController()
    const result = connect(hopTo(peer, { tls: { mode: 'require' } }), { stop: stop.signal }).catch(error => error)
    await peer.until(({ connections, commands }) => connections === 1 && (step !== 'starttls' || commands.length === 2))
    stop.abort(new Error('enough'))
    expect(await result).toMatchObject({ kind: 'aborted' })
    await peer.until(({ open }) => open === 0)
  }
  await using peer = await SmtpPeer.start()
  const result = connect(hopTo(peer), { stop: AbortSignal.abort() })
  await expect(result).rejects.toMatchObject({ kind: 'aborted' })
})
