import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DeliveryTarget, type Id, type Outcome, type Queued, silentLog } from '@posthorn/core'
import domains from '@posthorn/plugin-domains'
import relay from '@posthorn/plugin-relay'
import {
  clientCertificate,
  conformance,
  expiredCertificate,
  goodCertificate,
  harness,
  type PeerOptions,
  SmtpPeer,
  testCa,
} from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'

for (const check of conformance(relay, { options: { to: '127.0.0.1:1' } })) it(check.name, check.run)

type Options = z.input<typeof relay.schema>
const eml = 'Subject: hello\r\n\r\nHello.\r\n'

/** What becomes of a message to anna@example.test, by a relay to this peer. */
async function outcome(peer: SmtpPeer | string[], options: Omit<Options, 'to'> = {}, given = {}) {
  const to = Array.isArray(peer) ? peer : peer.address
  await using h = await harness([relay], { options: [{ to, domains: ['example.test'], ...options } as Options] })
  return (await h.deliver(eml, { to: ['anna@example.test'], ...given })).values().next().value as Outcome
}

async function outcomeAt(options: PeerOptions, mine: Omit<Options, 'to'> = {}, given = {}) {
  await using peer = await SmtpPeer.start(options)
  return await outcome(peer, mine, given)
}

describe('who may send through it', () => {
  const codeFor = async (options: Omit<Options, 'to'>, to: string) => {
    await using h = await harness([relay], { options: [{ to: 'mx.test', ...options } as Options] })
    const reply = await h.gate('rcpt', { to: [to] })
    return reply === undefined ? 'ok' : `${reply.code} ${reply.enhanced}`
  }

  it('accepts recipients of the domains that are listed', async () => {
    const options = { domains: ['example.test', '*.sub.test', 'bücher.test'] }
    for (const to of [
      'anna@example.test',
      'Anna@EXAMPLE.test',
      'a@x.sub.test',
      'a@x.y.sub.test',
      'a@xn--bcher-kva.test',
    ]) {
      expect(await codeFor(options, to), to).toBe('ok')
    }
    for (const to of ['a@else.test', 'a@x.example.test', 'a@sub.test', 'a@example.test.evil.test', 'postmaster']) {
      expect(await codeFor(options, to), to).toBe('550 5.7.1')
    }
  })

  it('accepts nothing for `*`, which is the default', async () => {
    expect(await codeFor({}, 'anna@example.test')).toBe('550 5.7.1')
    expect(await codeFor({ domains: '*' }, 'anna@example.test')).toBe('550 5.7.1')
  })

  it('accepts no local part that the next hop may take for a route, unless it is told to', async () => {
    const routes = ['a%else.test@example.test', 'else.test!a@example.test', '"a@else.test"@example.test']
    for (const to of routes) {
      expect(await codeFor({ domains: ['example.test'] }, to), to).toBe('550 5.7.1')
      expect(await codeFor({ domains: ['example.test'], routedLocalParts: true }, to), to).toBe('ok')
    }
    // A source route is ignored, and what is left is judged (RFC 5321 §4.1.1.3).
    expect(await codeFor({ domains: ['example.test'] }, '@example.test:a@else.test')).toBe('550 5.7.1')
  })

  it('carries with `*` what others accepted', async () => {
    await using peer = await SmtpPeer.start()
    await using h = await harness([domains, relay], {
      options: [{ domains: ['example.test'] }, { to: peer.address }],
    })
    await h.deliver(eml, { to: ['anna@example.test'] })
    expect(peer.messages[0]?.to).toEqual(['anna@example.test'])
  })
})

describe('the options', () => {
  const wrong = async (options: object) => {
    const error = await harness([relay], { options: [options as Options] }).then(
      () => new Error('taken'),
      error => error,
    )
    return (error.errors ?? [error]).map((e: Error) => e.message).join('\n')
  }
  it.each([
    [{ to: 'mx.test:99999' }, /host:port/],
    [{ to: 'unix:socket' }, /host:port/],
    [{ to: [] }, /./],
    [{ to: 'mx.test', domains: ['*'] }, /domain/],
    [{ to: 'mx.test', tls: 'maybe' }, /verify/],
    [{ to: 'mx.test', pins: ['00'.repeat(32)] }, /verify only/],
    [{ to: 'mx.test', tls: 'verify', pins: ['xyz'] }, /SHA-256/],
    [{ to: 'mx.test', auth: { user: 'u' } }, /password or a token/],
    [{ to: 'mx.test', helo: 'a b' }, /host name/],
    [{ to: 'mx.test', helo: 'a\r\nMAIL FROM:<>' }, /host name/],
    [{ to: 'mx.test', source: 'localhost' }, /IP address/],
    [{ to: 'mx.test', tls: 'verify', ca: '/nonexistent/ca.pem' }, /certificates/],
    [{ to: 'mx.test', connection: 3 }, /connection/],
  ])('%j is refused', async (options, words) => {
    expect(await wrong(options)).toMatch(words)
  })

  it('no secret is in what is refused', async () => {
    const auth = { user: 'u', password: 'open sesame', tokn: 'open sesame' }
    expect(await wrong({ to: 'mx.test', auth })).not.toContain('sesame')
  })

  it('describes every one of them, for the reference', () => {
    const described = z.toJSONSchema(relay.schema as z.ZodType, { io: 'input', unrepresentable: 'any' })
    for (const [name, option] of Object.entries(described.properties ?? {})) {
      expect((option as { description?: string }).description, name).toBeTruthy()
    }
  })
})

describe('what comes of it', () => {
  it('relayed, in the words of the next hop, which reports itself where it offers DSN', async () => {
    const relayed = { kind: 'relayed', by: 'relay', remote: { phase: 'dot', code: 250, lines: ['queued as 1'] } }
    expect(await outcomeAt({})).toMatchObject({ ...relayed, noReport: true })
    const plain = await outcomeAt({ offer: [] })
    expect(plain).toMatchObject(relayed)
    expect(plain).not.toHaveProperty('noReport')
  })

  it('delivered, by LMTP', async () => {
    expect(await outcomeAt({ lmtp: true, unix: true, offer: [] }, { lmtp: true })).toMatchObject({ kind: 'delivered' })
  })

  it.each<[string, PeerOptions, object]>([
    ['refuses to talk', { on: { connect: '554 5.7.1 no' } }, { kind: 'defer', scope: 'lane', remote: { code: 554 } }],
    ['is busy', { on: { connect: '421 4.7.0 busy' } }, { kind: 'defer', scope: 'lane', enhanced: '4.7.0' }],
    ['shuts down', { on: { mail: '421 4.3.2 bye' } }, { kind: 'defer', scope: 'lane', enhanced: '4.3.2' }],
    ['cuts at MAIL', { offer: [], on: { mail: 'cut' } }, { kind: 'defer', scope: 'lane', enhanced: '4.4.2' }],
    ['cuts at RCPT', { offer: [], on: { rcpt: 'cut' } }, { kind: 'defer', scope: 'message' }],
    [
      'greylists',
      { on: { rcpt: '450 4.7.1 later' } },
      { kind: 'defer', scope: 'recipient', code: 450, enhanced: '4.7.1' },
    ],
    [
      'does not know her',
      { on: { rcpt: '550 5.1.1 who?' } },
      { kind: 'reject', scope: 'recipient', code: 550, enhanced: '5.1.1' },
    ],
    [
      'says it without enhanced codes',
      { on: { rcpt: '571 no' } },
      { kind: 'reject', code: 554, enhanced: '5.0.0', remote: { code: 571, lines: ['no'] } },
    ],
    [
      'dislikes the sender',
      { on: { mail: '553 5.1.8 bad' } },
      { kind: 'reject', scope: 'message', remote: { phase: 'mail' } },
    ],
    [
      'dislikes the message',
      { on: { dot: '554 5.7.1 spam' } },
      { kind: 'reject', scope: 'message', remote: { phase: 'dot' } },
    ],
    ['is full', { on: { dot: '452 4.3.1 full' } }, { kind: 'defer', scope: 'message', code: 452 }],
    ['talks nonsense', { on: { connect: { raw: 'SSH-2.0-OpenSSH\r\n' } } }, { kind: 'defer', scope: 'lane' }],
  ])('the next hop %s', async (_what, options, expected) => {
    expect(await outcomeAt(options)).toMatchObject(expected)
  })

  it('a cut behind the final dot is deferred, and says that nobody knows', async () => {
    const cut = await outcomeAt({ on: { dot: { end: 'cut', taken: true } } })
    expect(cut).toMatchObject({
      kind: 'defer',
      scope: 'message',
      reason: expect.stringContaining('may have the message'),
    })
  })

  it('hostile words of the next hop come out as one harmless line', async () => {
    const raw = `550-5.1.1 a\tb\x1b[31m\r\n550-5.1.1 ${'x'.repeat(3000)}\r\n550 5.1.1 end\r\n`
    const said = (await outcomeAt({ offer: [], on: { rcpt: { raw, end: 'stall' } } })) as { text: string }
    expect(said.text).toMatch(/^127\.0\.0\.1: 550 5\.1\.1 a b ?\[31m x+$/)
    expect(said.text.length).toBeLessThanOrEqual(500)
  })

  it('LMTP answers for each: one is full, the other is not', async () => {
    await using peer = await SmtpPeer.start({
      lmtp: true,
      on: { dot: ({ recipient }) => (recipient?.startsWith('full') ? '452 4.2.2 full' : undefined) },
    })
    const reports = await sendAll(peer, { lmtp: true }, ['anna@example.test', 'full@example.test'])
    expect(reports).toMatchObject([{ kind: 'delivered' }, { kind: 'defer', scope: 'recipient', enhanced: '4.2.2' }])
    expect(peer.count).toBe(1)
  })

  it('too many recipients: the rest at once, but not if nobody went', async () => {
    const three = ['a@example.test', 'b@example.test', 'c@example.test']
    await using peer = await SmtpPeer.start({ on: { rcpt: ({ nth }) => (nth > 2 ? '452 4.5.3 enough' : undefined) } })
    const [a, b, c] = await sendAll(peer, {}, three)
    expect([a?.kind, b?.kind]).toEqual(['relayed', 'relayed'])
    expect(c).toMatchObject({ kind: 'defer', scope: 'recipient', retryAfter: 0, enhanced: '4.5.3' })
    const none = await sendAll(peer, {}, three)
    for (const said of none) expect(said).not.toHaveProperty('retryAfter')
  })
})

describe('fail-over', () => {
  it('takes the second where the first is down, and remembers', async () => {
    await using down = await SmtpPeer.start()
    await using up = await SmtpPeer.start()
    await down.stopListening()
    const options = { to: [down.address, up.address], domains: ['example.test'] }
    await using h = await harness([relay], { options: [options as Options] })
    expect((await h.deliver(eml)).get('anna@example.test')).toMatchObject({ kind: 'relayed' })
    await down.listen()
    await h.deliver(eml)
    expect([down.count, up.count]).toEqual([0, 2])
    await h.clock.advance(31_000)
    await h.deliver(eml)
    expect([down.count, up.count]).toEqual([1, 2])
  })

  it.each<[string, PeerOptions, boolean]>([
    ['a greeting of 554', { on: { connect: '554 5.7.1 no' } }, true],
    ['421 at MAIL', { on: { mail: '421 4.3.2 bye' } }, true],
    ['a cut at the final dot', { on: { dot: { end: 'cut', taken: true } } }, false],
    ['550 at RCPT', { on: { rcpt: '550 5.1.1 who?' } }, false],
    ['554 at the dot', { on: { dot: '554 5.6.0 no' } }, false],
  ])('%s', async (_what, options, over) => {
    await using first = await SmtpPeer.start(options)
    await using second = await SmtpPeer.start()
    const said = await outcome([first.address, second.address])
    expect(second.count).toBe(over ? 1 : 0)
    expect(said.kind === 'relayed').toBe(over)
  })

  it('defers the lane where all are down', async () => {
    await using peer = await SmtpPeer.start()
    await peer.stopListening()
    expect(await outcome([peer.address, peer.address])).toMatchObject({
      kind: 'defer',
      scope: 'lane',
      enhanced: '4.4.1',
    })
  })
})

describe('the connection', () => {
  it('is kept, also through a reload with the same options, and closed in the end', async () => {
    await using peer = await SmtpPeer.start()
    const options = { to: peer.address, domains: ['example.test'] }
    const h = await harness([relay], { options: [options as Options] })
    await h.deliver(eml)
    await h.reload([relay], [options])
    await h.deliver(eml)
    expect([peer.count, peer.connections]).toEqual([2, 1])
    // Other limits are another pool, and no demand to restart.
    await h.reload([relay], [{ ...options, connections: 5 }])
    await h.deliver(eml)
    expect([peer.count, peer.connections]).toEqual([3, 2])
    await h[Symbol.asyncDispose]()
    await peer.until(({ open }) => open === 0)
  })

  it('is secured, logged in and named as the options say', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'relay-'))
    const file = (name: string, content: string) => {
      writeFileSync(join(folder, name), content, { mode: 0o600 })
      return join(folder, name)
    }
    const ca = file('ca.pem', testCa)
    const options: Omit<Options, 'to'> = {
      tls: 'verify',
      ca,
      servername: 'mx.example.test',
      certificate: { cert: file('cert.pem', clientCertificate.cert), key: file('key.pem', clientCertificate.key) },
      auth: { user: 'posthorn', password: { file: file('password', 'open sesame\n') } },
      helo: 'gateway.test',
      source: '127.0.0.5',
    }
    const peerOptions: PeerOptions = { tls: 'starttls', clientCertificate: true, users: { posthorn: 'open sesame' } }
    await using peer = await SmtpPeer.start({ ...peerOptions, certificate: goodCertificate })
    expect(await outcome(peer, options)).toMatchObject({ kind: 'relayed' })
    expect(peer.messages[0]).toMatchObject({ tls: true, user: 'posthorn' })
    expect(peer.commands[0]).toBe('EHLO gateway.test')
    // What is wrong with the next hop, or with our password, waits: it is not the sender's fault.
    expect(await outcomeAt({ ...peerOptions, certificate: expiredCertificate }, options)).toMatchObject({
      kind: 'defer',
      scope: 'lane',
      enhanced: '4.7.5',
    })
    const refused = await outcomeAt({ ...peerOptions, users: { posthorn: 'changed' } }, options)
    expect(refused).toMatchObject({ kind: 'defer', scope: 'lane', enhanced: '4.7.8', remote: { code: 535 } })
    expect(JSON.stringify(refused)).not.toContain('sesame')
  })

  it('says our hostname in EHLO by default, and refuses what the next hop lacks', async () => {
    await using peer = await SmtpPeer.start({ offer: ['PIPELINING'] })
    await using h = await harness([relay], { options: [{ to: peer.address, domains: ['example.test'] } as Options] })
    const said = await h.deliver('Subject: x\r\n\r\nGrüße\r\n')
    expect(said.get('anna@example.test')).toMatchObject({ kind: 'reject', scope: 'message', enhanced: '5.6.3' })
    expect(peer.commands).toEqual(['EHLO mx.test'])
  })
})

/** All recipients in one `send`, as the queue does; their outcomes in order. */
async function sendAll(peer: SmtpPeer, options: Omit<Options, 'to'>, addresses: string[]): Promise<Outcome[]> {
  const disposers: (() => unknown)[] = []
  const parsed = (await relay.schema['~standard'].validate({ to: peer.address, ...options })) as { value: never }
  const { deliver } = await relay.setup(
    {
      services: {},
      name: 'relay',
      log: silentLog,
      signal: new AbortController().signal,
      provide() {},
      async shared(_key, _config, open, close) {
        const value = await open()
        disposers.push(() => close(value))
        return value
      },
      onDispose() {},
    },
    parsed.value,
  )
  if (deliver === undefined) throw new Error('relay delivers')
  const targets = addresses.map((raw, i): DeliveryTarget => {
    const [local = '', domain = ''] = raw.split('@')
    return { id: `${i}` as Id, address: { local, domain, raw }, state: { get: () => undefined, set() {} } }
  })
  const message: Queued = {
    id: 'M1',
    from: null,
    params: { smtputf8: false, requireTls: false, other: {} },
    origin: {
      id: 'S1',
      protocol: 'smtp',
      listener: { name: 'mx', role: 'mx' },
      local: { ip: '127.0.0.1', port: 25, hostname: 'mx.test' },
    },
    size: eml.length,
    received: 0,
    get: () => undefined,
    header: () => [],
    async *open() {
      yield Buffer.from(eml)
    },
  }
  const outcomes: Outcome[] = []
  const call = {
    signal: new AbortController().signal,
    log: silentLog,
    now: () => 0,
    report(id: Id, outcome: Outcome) {
      expect(outcomes[Number(id)], 'told once').toBeUndefined()
      outcomes[Number(id)] = outcome
    },
    onAbort: () => () => {},
    throttle: async () => ({ [Symbol.dispose]() {} }),
  }
  const route = await deliver.route(targets[0] as DeliveryTarget, message, call)
  await deliver.send(message, targets, route as never, call)
  for (const dispose of disposers) await dispose()
  return outcomes
}
