import { definePlugin, messageState } from '@posthorn/core'
import domains from '@posthorn/plugin-domains'
import routes from '@posthorn/plugin-routes'
import { conformance, type Given, harness, SmtpPeer } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { destinationOf } from '../src/destination.ts'

type Options = z.input<typeof routes.schema>
type Row = Options['table'][number]
const eml = 'Subject: hello\r\n\r\nHello.\r\n'
const nobody = '127.0.0.1:1'

for (const check of conformance(routes, { options: { table: [{ to: nobody }] } })) it(check.name, check.run)

const colour = messageState<string>('paint/colour')
/** Accepts everybody, and paints mail whose sender is red. */
const paint = definePlugin({
  name: 'paint',
  schema: z.strictObject({}),
  setup: () => ({
    rcpt: () => 'accept',
    data: {
      writes: [colour],
      handler(tx) {
        if (tx.from?.local === 'red') tx.state.set(colour, 'red')
      },
    },
  }),
})

/** The name of the rule that a message met, as its outcome tells. */
async function met(table: Row[], given: Given = {}) {
  const marked = table.map((row, i): Row => ({ name: `r${i + 1}`, hold: 'met', ...row }))
  await using h = await harness([paint, routes], { options: [{}, { table: marked }] })
  const [said] = (await h.deliver(eml, given)).values()
  if (said === undefined || said === 'unrouted') return said
  return said.kind === 'hold' ? said.reason.replace(/:.*/, '') : said.kind
}

describe('which rule', () => {
  it.each<[string, Row['when'], Given, boolean]>([
    ['an address', { recipient: 'anna@example.test' }, { to: ['Anna@EXAMPLE.test'] }, true],
    ['another address', { recipient: 'anna@example.test' }, { to: ['bob@example.test'] }, false],
    ['a domain', { recipient: ['else.test', 'bücher.test'] }, { to: ['a@xn--bcher-kva.test'] }, true],
    ['a domain, not those below', { recipient: 'example.test' }, { to: ['a@x.example.test'] }, false],
    ['all below a domain', { recipient: '*.example.test' }, { to: ['a@x.y.example.test'] }, true],
    ['all below a domain, not itself', { recipient: '*.example.test' }, { to: ['a@example.test'] }, false],
    ['an end that only looks like it', { recipient: '*.ample.test' }, { to: ['a@example.test'] }, false],
    ['a literal', { recipient: '[192.0.2.1]' }, { to: ['a@[192.0.2.1]'] }, true],
    ['everybody', { recipient: '*' }, {}, true],
    ['a sender', { sender: 'news@client.test' }, { from: 'News@client.test' }, true],
    ['the domain of a sender', { sender: '*.client.test' }, { from: 'a@x.client.test' }, true],
    ['the null sender', { sender: '<>' }, { from: '' }, true],
    ['a sender, and it is null', { sender: '*' }, { from: '' }, false],
    ['a listener', { listener: 'submission' }, { role: 'submission' }, true],
    ['another listener', { listener: ['lmtp', 'mx'] }, { role: 'submission' }, false],
    ['a user', { user: ['anna', 'bob'] }, { user: 'bob', role: 'submission' }, true],
    ['any user', { user: '*' }, { user: 'bob', role: 'submission' }, true],
    ['any user, and nobody is', { user: '*' }, {}, false],
    ['a network', { net: ['192.0.2.0/24'] }, { ip: '192.0.2.9' }, true],
    ['another network', { net: '2001:db8::/32' }, { ip: '192.0.2.9' }, false],
    ['state', { state: 'paint/colour' }, { from: 'red@client.test' }, true],
    ['no state', { state: 'paint/colour' }, { from: 'blue@client.test' }, false],
    ['a value', { state: { 'paint/colour': 'red' } }, { from: 'red@client.test' }, true],
    ['another value', { state: { 'paint/colour': 'blue' } }, { from: 'red@client.test' }, false],
    ['all of them', { sender: 'client.test', recipient: 'example.test', listener: 'mx' }, {}, true],
    ['not all of them', { sender: 'client.test', recipient: 'example.test', listener: 'lmtp' }, {}, false],
  ])('%s', async (_what, when, given, fits) => {
    expect(await met([{ when }], given)).toBe(fits ? 'r1' : 'unrouted')
  })

  it('the first that fits, whether found by its recipient or not', async () => {
    const table: Row[] = [
      { when: { sender: 'x@client.test' } },
      { when: { recipient: '*.example.test' } },
      { when: { recipient: 'a@b.example.test' } },
      {},
    ]
    expect(await met(table, { from: 'x@client.test', to: ['a@b.example.test'] })).toBe('r1')
    expect(await met(table, { to: ['a@b.example.test'] })).toBe('r2')
    expect(await met([...table].reverse(), { to: ['a@b.example.test'] })).toBe('r1')
    expect(await met(table, { to: ['c@else.test'] })).toBe('r4')
  })

  it('costs the same in a table of ten thousand', async () => {
    const table = Array.from({ length: 10_000 }, (_, i): Row => ({ when: { recipient: `d${i}.test` } }))
    expect(await met(table, { to: ['a@d9999.test'] })).toBe('r10000')
  })

  it('pass leaves it to others', async () => {
    expect(await met([{ when: { recipient: 'example.test' }, pass: true, hold: undefined } as Row, {}])).toBe(
      'unrouted',
    )
  })
})

describe('what becomes of it', () => {
  const outcome = async (row: Row, given: Given = {}) => {
    await using h = await harness([paint, routes], { options: [{}, { table: [row] }] })
    return [...(await h.deliver(eml, given)).values()][0]
  }

  it('hold and discard, for a reason that names the rule', async () => {
    expect(await outcome({ name: 'move', hold: 'moving house' })).toEqual({
      kind: 'hold',
      reason: 'move: moving house',
    })
    expect(await outcome({ discard: 'robots' })).toEqual({ kind: 'discard', reason: 'robots' })
  })

  it('reject: at RCPT where that can be known, else when it is queued', async () => {
    await using h = await harness([paint, routes], {
      options: [
        {},
        {
          table: [
            { when: { recipient: 'gone@example.test' }, reject: { enhanced: '5.1.6', text: 'She has moved' } },
            { when: { recipient: 'red.test', state: 'paint/colour' }, reject: 'Not red' },
            { when: { recipient: 'red.test' }, reject: 'Not here' },
          ],
        },
      ],
    })
    const reply = await h.gate('rcpt', { to: ['gone@example.test'] })
    expect(reply).toMatchObject({ code: 550, enhanced: '5.1.6', lines: ['She has moved'] })
    // Whether it is red shows later, so nobody is refused yet.
    expect(await h.gate('rcpt', { to: ['a@red.test'] })).toBeUndefined()
    const red = await h.deliver(eml, { to: ['a@red.test'], from: 'red@client.test' })
    expect(red.get('a@red.test')).toMatchObject({ kind: 'reject', code: 550, enhanced: '5.7.1', text: 'Not red' })
    const blue = await h.deliver(eml, { to: ['a@red.test'], from: 'blue@client.test' })
    expect(blue.get('a@red.test')).toMatchObject({ kind: 'reject', text: 'Not here' })
  })

  it('a smarthost with AUTH', async () => {
    await using peer = await SmtpPeer.start({ users: { posthorn: 'open sesame' } })
    const auth = { user: 'posthorn', password: 'open sesame', insecure: true }
    const said = await outcome({ to: { hops: peer.address, auth, helo: 'gateway.test' } })
    expect(said).toMatchObject({ kind: 'relayed', by: 'routes', via: `127.0.0.1:${peer.port}` })
    expect(peer.messages[0]).toMatchObject({ user: 'posthorn' })
    expect(peer.commands[0]).toBe('EHLO gateway.test')
  })

  it('LMTP over a unix socket', async () => {
    await using peer = await SmtpPeer.start({ lmtp: true, unix: true })
    const said = await outcome({ name: 'dovecot', to: { hops: peer.address, lmtp: true } })
    expect(said).toMatchObject({ kind: 'delivered', via: peer.address })
  })
})

describe('next hops', () => {
  it('the first that works, in their order', async () => {
    await using second = await SmtpPeer.start()
    await using third = await SmtpPeer.start()
    const table: Row[] = [{ to: [nobody, second.address, third.address] }]
    await using h = await harness([paint, routes], { options: [{}, { table }] })
    for (let i = 0; i < 3; i++) await h.deliver(eml)
    expect([second.count, third.count]).toEqual([3, 0])
  })

  it('one that is not told of a message, or lacks what it needs, leaves it to the next', async () => {
    await using busy = await SmtpPeer.start({ on: { mail: '452 4.3.1 disk full' } })
    await using old = await SmtpPeer.start({ offer: ['PIPELINING'] })
    await using good = await SmtpPeer.start()
    const eight = 'Subject: x\r\n\r\nGrüße\r\n'
    const run = async (...peers: SmtpPeer[]) => {
      const table: Row[] = [{ to: peers.map(peer => peer.address) }]
      await using h = await harness([paint, routes], { options: [{}, { table }] })
      return [...(await h.deliver(eight)).values()][0]
    }
    expect(await run(busy, old, good)).toMatchObject({ kind: 'relayed', via: `127.0.0.1:${good.port}` })
    // All of them: the last word is the one that counts, a temporary one before a hop that is down.
    expect(await run(busy, old)).toMatchObject({ kind: 'reject', enhanced: '5.6.3' })
    await good.stopListening()
    expect(await run(busy, good)).toMatchObject({ kind: 'defer', scope: 'message', enhanced: '4.3.1' })
    expect(await run(old, good)).toMatchObject({ kind: 'defer', scope: 'lane', enhanced: '4.4.1' })
  })

  it('shares the load by weight, and fails over by priority', () => {
    const hops = [
      { hop: 'a.test', priority: 0, weight: 3 },
      { hop: 'b.test', priority: 0, weight: 1 },
      { hop: 'c.test', priority: 5, weight: 1 },
    ]
    const rule = routes.schema.parse({ table: [{ to: { hops } }] }).table[0] as never as { to: never }
    let seed = 7
    const random = () => {
      seed = (seed * 48_271) % 2_147_483_647
      return seed / 2_147_483_647
    }
    const { order } = destinationOf('routes', rule as never, rule.to, random)
    const firsts: Record<string, number> = {}
    for (let i = 0; i < 1000; i++) {
      const names = order('mx.test').map(({ endpoint }) => ('host' in endpoint ? endpoint.host : ''))
      expect(new Set(names)).toEqual(new Set(['a.test', 'b.test', 'c.test']))
      expect(names[2]).toBe('c.test')
      firsts[names[0] as string] = (firsts[names[0] as string] ?? 0) + 1
    }
    expect(firsts['a.test']).toBeGreaterThan(690)
    expect(firsts['a.test']).toBeLessThan(810)
  })
})

describe('who may send through it', () => {
  const codeFor = async (table: Row[], to: string) => {
    await using h = await harness([routes], { options: [{ table }] })
    const reply = await h.gate('rcpt', { to: [to] })
    return reply === undefined ? 'ok' : `${reply.code} ${reply.enhanced}`
  }

  it('nobody, unless a rule says so; and then for the recipients that it names', async () => {
    const when = { recipient: ['example.test', 'bob@else.test'] }
    expect(await codeFor([{ when, to: nobody }], 'anna@example.test')).toBe('550 5.7.1')
    const table: Row[] = [{ when, to: nobody, accept: true }]
    expect(await codeFor(table, 'anna@example.test')).toBe('ok')
    expect(await codeFor(table, 'bob@else.test')).toBe('ok')
    expect(await codeFor(table, 'anna@else.test')).toBe('550 5.7.1')
    for (const to of ['a%else.test@example.test', 'else.test!a@example.test', '"a@else.test"@example.test']) {
      expect(await codeFor(table, to), to).toBe('550 5.7.1')
    }
  })
})

describe('a reload', () => {
  it('changes the hop of what is routed next, and keeps connections', async () => {
    await using one = await SmtpPeer.start()
    await using two = await SmtpPeer.start()
    const table = (peer: SmtpPeer) => ({ table: [{ name: 'inner', to: peer.address }] })
    await using h = await harness([paint, routes], { options: [{}, table(one)] })
    await h.deliver(eml)
    await h.reload([paint, routes], [{}, table(two)])
    await h.deliver(eml)
    await h.reload([paint, routes], [{}, table(one)])
    await h.deliver(eml)
    expect([one.count, one.connections, two.count]).toEqual([2, 1, 1])
  })

  it('that takes a route away leaves the mail without one, and bounces nothing', async () => {
    await using h = await harness([domains, routes], {
      options: [{ domains: ['example.test'] }, { table: [{ to: nobody }] }],
    })
    await h.reload([domains, routes], [{ domains: ['example.test'] }, { table: [{ when: { user: 'x' }, to: nobody }] }])
    expect((await h.deliver(eml)).get('anna@example.test')).toBe('unrouted')
  })
})

describe('the options', () => {
  it.each<[object, RegExp]>([
    [{ table: [] }, /./],
    [{ table: [{}] }, /expected one of to, pass, hold, discard, reject/],
    [{ table: [{ to: nobody, hold: 'x' }] }, /only one/],
    [{ table: [{ to: 'mx.test:99999' }] }, /host:port/],
    [{ table: [{ to: { hops: 'mx.test', tsl: 'verify' } }] }, /tsl/],
    [{ table: [{ to: { hops: [{ hop: 'mx.test', wieght: 3 }] } }] }, /./],
    [{ table: [{ to: { hops: 'mx.test', pins: ['00'.repeat(32)] } }] }, /verify only/],
    [{ table: [{ to: 'mx.test' }, { when: { user: 'a' }, to: 'mx.test' }] }, /name of its own/],
    [{ table: [{ to: 'mx.test', accept: true }] }, /everybody/],
    [{ table: [{ when: { recipient: '*' }, to: 'mx.test', accept: true }] }, /everybody/],
    [{ table: [{ when: { recipient: 'exam ple.test' }, to: 'mx.test' }] }, /anna@example.org/],
    [{ table: [{ when: { recipient: '<>' }, to: 'mx.test' }] }, /anna@example.org/],
    [{ table: [{ when: { net: '300.0.0.0/8' }, to: 'mx.test' }] }, /network/],
    [{ table: [{ when: { state: 'colour' }, to: 'mx.test' }] }, /plugin\/key/],
    [{ table: [{ when: { recipent: 'a.test' }, to: 'mx.test' }] }, /recipent/],
    [{ table: [{ hold: 'two\r\nlines' }] }, /one line/],
    [{ table: [{ reject: { enhanced: '4.7.1', text: 'x' } }] }, /./],
  ])('%j is refused', async (options, words) => {
    const error = await harness([routes], { options: [options as Options] }).then(
      () => new Error('taken'),
      error => error,
    )
    expect((error.errors ?? [error]).map((e: Error) => e.message).join('\n')).toMatch(words)
  })
})
