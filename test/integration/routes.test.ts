// The whole server with `routes` and `outbound`: what a table and the DNS make of real mail, through reloads.

import { connect, type NextHop } from '@posthorn/core/client'
import type { Trace } from '@posthorn/core/runtime'
import { isMalformed, type Mailbox, parseAddress } from '@posthorn/mail'
import { dnsServer, SmtpPeer } from '@posthorn/testing'
import { expect, test } from 'vitest'
import { greeted, queueId, Rig, send, until } from './rig.ts'

const domains = { domains: { domains: ['example.test'] } }
const routes = (...table: object[]) => ({ routes: { table } })
const to = (peer: SmtpPeer, given: object = {}) => ({ name: 'inner', to: peer.address, ...given })

function box(text: string): Mailbox {
  const found = parseAddress(text)
  if (isMalformed(found)) throw new Error(text)
  return found
}

/** Many messages over a few connections, each from a sender of its own. */
async function flood(rig: Rig, count: number): Promise<void> {
  const bytes = Buffer.from('Subject: x\r\n\r\nx\r\n')
  const hop: NextHop = {
    endpoint: { host: '127.0.0.1', port: rig.port() },
    protocol: 'smtp',
    helo: 'client.test',
    tls: { mode: 'none' },
  }
  let next = 0
  const worker = async () => {
    const connection = await connect(hop)
    while (next < count) {
      const params = { smtputf8: false, requireTls: false, other: {} }
      const mail = {
        from: box(`s${next++}@client.test`),
        params,
        size: bytes.length,
        async *open() {
          yield bytes
        },
      }
      const said: string[] = []
      const failure = await connection.send(mail, [{ address: box('anna@example.test') }], (_, { kind }) =>
        said.push(kind),
      )
      expect([failure, said]).toEqual([undefined, ['accepted']])
    }
    connection.close()
  }
  await Promise.all(Array.from({ length: 8 }, worker))
}

// Ten thousand where the whole of it is tested, fewer where somebody waits for it.
const count = process.env.CI ? 10_000 : 2_000

test('thousands of messages are queued, the table changes: all of them go by the new one, each once', async () => {
  await using down = await SmtpPeer.start({ keep: 'count' })
  await using up = await SmtpPeer.start({ keep: 'sha256' })
  await down.stopListening()
  const plugins = (...table: object[]) => ['storage-level', domains, routes(...table)]
  await using rig = await Rig.start({
    plugins: plugins(to(down)),
    queue: { retry: ['1h'] },
    log: { level: 'silent' },
    limits: { messagesPerConnection: 100_000 },
  } as never)
  await flood(rig, count)
  await until('the lane backs off', () => rig.server.queue.operations.lanes()[0]?.state === 'backing off')
  expect(rig.server.queue.tally.messages).toBe(count)

  // A reload that loses the route: at the next attempt, which is now, nothing bounces, all of it waits.
  await rig.reload({ plugins: plugins({ when: { recipient: 'else.test' }, ...to(down) }) })
  await rig.server.queue.operations.applyAll({ kind: 'retry' }, {})
  await until('all are unrouted', async () => (await rig.status()).queue.recipients.unrouted === count, 30_000)
  expect(rig.server.queue.tally).toMatchObject({ messages: count, done: { failed: 0, held: 0, dropped: 0 } })

  await rig.reload({ plugins: plugins(to(up)) })
  await until('all have gone', () => rig.server.queue.tally.messages === 0, 60_000)
  expect([down.count, up.count]).toEqual([0, count])
  expect(new Set(up.messages.map(({ from }) => from)).size).toBe(count)
}, 120_000)

test('another hop for what waits: all of it goes there by retry, but for what was pinned', async () => {
  await using down = await SmtpPeer.start()
  await using up = await SmtpPeer.start()
  await down.stopListening()
  const plugins = (peer: SmtpPeer) => [
    'storage-level',
    domains,
    routes({ name: `to-${peer.port}`, to: peer.address }),
    { use: 'relay', as: 'spare', options: { to: down.address } },
  ]
  await using rig = await Rig.start({ plugins: plugins(down) })
  await using client = await greeted(rig)
  const { operations } = rig.server.queue
  const ids: string[] = []
  for (const from of ['one', 'two', 'pinned']) {
    ids.push(queueId(await send(client, `${from}@client.test`, 'anna@example.test')))
  }
  await until('the lane backs off', () => operations.lanes()[0]?.state === 'backing off')
  const pinned = ids[2] as string
  await operations.apply({ kind: 'reroute', to: { plugin: 'spare' } }, pinned)
  await rig.reload({ plugins: plugins(up) })
  await operations.applyAll({ kind: 'retry' }, {})
  await up.received(2)
  expect(up.messages.map(({ from }) => from).sort()).toEqual(['one@client.test', 'two@client.test'])
  await until('the others are done', async () => (await operations.list({})).messages.length === 1)
  expect((await operations.list({})).messages).toMatchObject([{ id: pinned, lane: `spare/${down.address}` }])
  // Taken back, it goes as the table says.
  await operations.apply({ kind: 'reroute' }, pinned)
  await up.received(3)
  await rig.empty()
})

test('explain shows the route that was chosen, the hop and its words; hold, reject and discard too', async () => {
  await using peer = await SmtpPeer.start()
  await using rig = await Rig.start({
    plugins: [
      'storage-level',
      domains,
      routes(
        { when: { recipient: 'held@example.test' }, hold: 'under repair' },
        { when: { recipient: 'gone@example.test', sender: 'robot@client.test' }, discard: 'robots' },
        to(peer),
      ),
    ],
  })
  await using client = await greeted(rig)
  const explained = async (from: string, whom: string) => {
    const id = queueId(await send(client, from, whom))
    await rig.end(id)
    const { entries } = await (await rig.control()).call<Trace>('explain', { id })
    return entries.find(({ stage }) => stage === 'deliver')
  }
  expect(await explained('a@client.test', 'anna@example.test')).toMatchObject({
    plugin: 'routes',
    verdict: 'relayed',
    lane: 'routes/inner',
    via: `127.0.0.1:${peer.port}`,
    reason: '127.0.0.1 said: 250 queued as 1',
  })
  expect(await explained('a@client.test', 'held@example.test')).toMatchObject({
    verdict: 'held hold',
    reason: 'under repair',
  })
  expect(await explained('robot@client.test', 'gone@example.test')).toMatchObject({
    verdict: 'dropped discard',
    reason: 'robots',
  })
  expect(peer.count).toBe(1)
})

test('by MX, with the DNS in all its moods: the right class, and nothing lost', async () => {
  await using mx = await SmtpPeer.start()
  const zones = {
    'good.test': { MX: '10 mx.good.test' },
    'mx.good.test': { A: '127.0.0.1' },
    'null.test': { MX: '0 .' },
    'moody.test': { MX: '10 mx.good.test' },
    'loop.test': { CNAME: 'loop2.test' },
    'loop2.test': { CNAME: 'loop.test' },
    'cut.test': { MX: '10 mx.good.test' },
  }
  let moody = true
  await using dns = await dnsServer(zones, {
    act: ({ name, transport }) => {
      if (name === 'moody.test' && moody) return { rcode: 2 }
      if (name === 'silent.test') return { drop: true }
      if (name === 'cut.test' && transport === 'udp') return { truncate: true }
    },
  })
  await using rig = await Rig.start(
    {
      dns: { servers: [dns.address], timeout: '100ms', attempts: 1, cache: { entries: 0 } },
      plugins: [
        'storage-level',
        { outbound: { port: mx.port, allow: ['127.0.0.0/8'], identities: [] } },
        './anybody.ts',
      ],
    } as never,
    {
      files: {
        'anybody.ts': `export default { name: 'anybody', schema: { '~standard': { version: 1, vendor: 'x', validate: value => ({ value }) } }, setup: () => ({ rcpt: () => 'accept' }) }`,
      },
    },
  )
  await using client = await greeted(rig)
  const fate = async (domain: string) => {
    const id = queueId(await send(client, '', `anna@${domain}`))
    const end = await rig.end(id)
    const { entries } = await (await rig.control()).call<Trace>('explain', { id })
    const { verdict, lane } = entries.findLast(({ stage }) => stage === 'deliver') ?? { verdict: 'nothing' }
    return { id, state: end.state, verdict, lane }
  }
  expect(await fate('good.test')).toMatchObject({ verdict: 'relayed', lane: 'outbound/good.test' })
  expect(await fate('cut.test')).toMatchObject({ verdict: 'relayed' })
  expect(await fate('null.test')).toMatchObject({ verdict: 'held reject 556 5.1.10' })
  expect(await fate('no.such.test')).toMatchObject({ verdict: 'held reject 550 5.1.2' })
  expect(await fate('silent.test')).toMatchObject({ verdict: 'defer 451 4.4.3' })
  expect(await fate('loop.test')).toMatchObject({ verdict: 'defer 451 4.4.3' })
  const { id, verdict } = await fate('moody.test')
  expect(verdict).toBe('defer 451 4.4.3')
  moody = false
  await rig.server.queue.operations.apply({ kind: 'retry' }, id)
  await mx.received(3)
  expect(mx.messages.map(({ to }) => to[0])).toEqual(['anna@good.test', 'anna@cut.test', 'anna@moody.test'])
})

test('a cut behind the final dot: the message goes again, and both attempts are told', async () => {
  await using peer = await SmtpPeer.start({
    on: { dot: ({ nth }) => (nth === 1 ? { end: 'cut', taken: true } : undefined) },
  })
  await using rig = await Rig.start({
    plugins: ['storage-level', domains, routes(to(peer))],
    queue: { retry: ['100ms'] },
  })
  await using client = await greeted(rig)
  const id = queueId(await send(client, 'a@client.test', 'anna@example.test'))
  await peer.received(2)
  await rig.empty()
  const { entries } = await (await rig.control()).call<Trace>('explain', { id })
  expect(entries.filter(({ stage }) => stage === 'deliver')).toMatchObject([
    {
      verdict: 'defer 451 4.4.2',
      reason: expect.stringContaining('the next hop may have the message'),
      via: `127.0.0.1:${peer.port}`,
    },
    { verdict: 'relayed' },
  ])
})

test('REQUIRETLS is offered while somebody keeps it, and a reload ends that', async () => {
  const listeners = { mx: { listen: '127.0.0.1:0', tls: 'starttls' as const } }
  await using rig = await Rig.start({ listeners, plugins: ['storage-level', domains, 'outbound'] })
  const hop: NextHop = {
    endpoint: { host: '127.0.0.1', port: rig.port() },
    protocol: 'smtp',
    helo: 'client.test',
    tls: { mode: 'require' },
  }
  const offered = async (tls: NextHop['tls']) => {
    const connection = await connect({ ...hop, tls })
    connection.close()
    return connection.keywords.has('REQUIRETLS')
  }
  expect(await offered({ mode: 'require' })).toBe(true)
  expect(await offered({ mode: 'none' })).toBe(false)
  await rig.reload({ plugins: ['storage-level', domains] })
  expect(await offered({ mode: 'require' })).toBe(false)
})
