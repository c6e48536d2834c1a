// What goes wrong in plugins, stores and clients, over real sockets: mail is refused for now, or kept; never lost.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { TraceEntry } from '@posthorn/core/runtime'
import { SmtpPeer, SmtpScript } from '@posthorn/testing'
import { describe, expect, test } from 'vitest'
import { large } from './awkward.ts'
import { greeted, queueId, Rig, send, until } from './rig.ts'

const home = ['storage-level', { domains: { domains: ['example.test'] } }, 'maildir']

/** Breaks at one stage, in one way; marks what it touched, which must not be seen. */
const faulty = `
  import { definePlugin } from '@posthorn/core'
  import * as z from 'zod'
  const ways = {
    throws: () => { throw new Error('out of ideas') },
    rejects: async () => { throw new Error('out of ideas') },
    stalls: () => new Promise(() => {}),
    babbles: () => 'yes, gladly',
    overreaches: () => ({ kind: 'reject', code: 250, enhanced: '2.0.0', text: 'fine' }),
  }
  export default definePlugin({
    name: 'faulty',
    schema: z.strictObject({ at: z.string(), how: z.string() }),
    setup(_ctx, { at, how }) {
      const broken = ways[how]
      const hook = (tx) => {
        tx?.prepend?.('X-Faulty', 'was here')
        return broken()
      }
      if (at === 'write') return { data: () => ({ write: broken, end() {} }) }
      if (at === 'end') return { data: () => ({ end: hook }) }
      return { [at]: hook }
    },
  })
`

/** Another plugin beside it, whose word counts all the same. */
const witness = `
  import { definePlugin } from '@posthorn/core'
  import * as z from 'zod'
  export default definePlugin({
    name: 'witness',
    schema: z.strictObject({}),
    setup: () => ({
      data: () => ({ end: message => message.prepend('X-Witness', 'seen') }),
      auth: (_session, credentials) => ({ user: credentials.username }),
    }),
  })
`

const stages: Readonly<Record<string, string>> = {
  connect: `
    S: 421 4.3.2 *
    S: (closed)`,
  helo: `
    S: 220 *
    C: EHLO client.example.test
    S: 451 4.3.0 *
    C: QUIT
    S: 221 *`,
  auth: `
    S: 220 *
    C: EHLO client.example.test
    S: 250 ...
    C: AUTH PLAIN AGFubmEAc2VjcmV0
    S: 454 4.7.0 *`,
  mail: `
    S: 220 *
    C: EHLO client.example.test
    S: 250 ...
    C: MAIL FROM:<bob@client.test>
    S: 451 4.3.0 *`,
  ...Object.fromEntries(
    ['resolve', 'rcpt'].map(stage => [
      stage,
      `
    S: 220 *
    C: EHLO client.example.test
    S: 250 ...
    C: MAIL FROM:<bob@client.test>
    C: RCPT TO:<anna@example.test>
    S: 250 2.1.0 *
    S: 451 4.3.0 *
    C: DATA
    S: 554 5.5.1 *`,
    ]),
  ),
  data: `
    S: 220 *
    C: EHLO client.example.test
    S: 250 ...
    C: MAIL FROM:<bob@client.test>
    C: RCPT TO:<anna@example.test>
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 451 4.3.0 *`,
  ...Object.fromEntries(
    ['write', 'end', 'seal', 'queue'].map(stage => [
      stage,
      `
    S: 220 *
    C: EHLO client.example.test
    S: 250 ...
    C: MAIL FROM:<bob@client.test>
    C: RCPT TO:<anna@example.test>
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 354 *
    C: Subject: x
    C: 
    C: x
    C: .
    S: 451 4.3.0 *
    C: NOOP
    S: 250 2.0.0 OK`,
    ]),
  ),
}

const ways: Readonly<Record<string, string>> = {
  throws: 'error',
  rejects: 'error',
  stalls: 'timeout',
  babbles: 'nonsense',
  overreaches: 'nonsense',
}

describe.each(Object.entries(ways))('a hook that %s is a temporary failure, named', (how, verdict) => {
  // What a tap's `write` returns is nobody's business but that it settles.
  const at = Object.keys(stages).filter(stage => stage !== 'write' || ways[how] !== 'nonsense')
  test.each(at)('at %s', async stage => {
    await using rig = await Rig.start(
      {
        listeners: { mx: { listen: '127.0.0.1:0', tls: 'none', auth: 'optional', insecureAuth: true } },
        plugins: [...home, { use: './faulty.ts', timeout: '40ms', options: { at: stage, how } }, './witness.ts'],
      },
      { files: { 'faulty.ts': faulty, 'witness.ts': witness } },
    )
    const traced: TraceEntry[] = []
    const { followers } = rig.server
    const { append } = followers
    followers.append = (id, entries) => {
      traced.push(...entries)
      append.call(followers, id, entries)
    }
    await using client = await rig.connect()
    await client.speak(stages[stage] ?? '')
    client.close()
    const hook = stage === 'write' || stage === 'end' ? 'data' : stage
    // A log-in that failed has no message yet, so it has no trace: the log tells.
    if (stage !== 'auth') {
      const said = () => traced.filter(line => line.plugin === 'faulty' && line.verdict !== 'tap')
      await until('the trace is told', () => said().length > 0)
      const [line] = said()
      expect(line).toMatchObject({ stage: hook, ms: expect.any(Number), reason: expect.any(String) })
      // The fault of a `write` is told at the dot, as one of the tap.
      if (stage !== 'write') expect(line?.verdict).toBe(verdict)
    }
    // A plugin's fault is the operator's to mend: the log says whose, where and why.
    const fault = rig.log.filter(line => line.plugin === 'faulty' && (line.level === 'error' || line.level === 'warn'))
    expect(fault.length).toBeGreaterThan(0)
    const told = stage === 'write' ? {} : { hook: stage, fault: verdict }
    expect(fault).toEqual([expect.objectContaining({ level: 'error', ms: expect.any(Number), ...told })])
    expect(await rig.inbox('anna@example.test')).toEqual([])
    expect((await rig.server.queue.operations.list({})).messages).toEqual([])
  })
})

test('the operator may ignore a faulty plugin; its late edit changes nothing, the other’s stands', async () => {
  const late = `
    import { definePlugin } from '@posthorn/core'
    import * as z from 'zod'
    export default definePlugin({
      name: 'late',
      schema: z.strictObject({}),
      setup: () => ({
        async mail(tx, _from, call) {
          tx.prepend('X-Early', 'before the timeout')
          await new Promise(resolve => call.signal.addEventListener('abort', resolve))
          tx.prepend('X-Late', 'after it')
        },
      }),
    })
  `
  await using rig = await Rig.start(
    { plugins: [...home, { use: './late.ts', timeout: '30ms', onError: 'ignore' }, './witness.ts'] },
    { files: { 'late.ts': late, 'witness.ts': witness } },
  )
  await using client = await greeted(rig)
  await send(client, 'bob@client.test', 'anna@example.test')
  const [stored] = await rig.delivered('anna@example.test', 1)
  expect(String(stored)).toContain('X-Witness: seen\r\n')
  expect(String(stored)).not.toMatch(/X-Early|X-Late/)
})

test('LMTP hears of a fault at the dot once for each recipient', async () => {
  await using rig = await Rig.start(
    {
      listeners: { lmtp: { listen: '127.0.0.1:0' } },
      plugins: [...home, { './faulty.ts': { at: 'end', how: 'throws' } }],
    },
    { files: { 'faulty.ts': faulty } },
  )
  await using client = await rig.connect('lmtp')
  await client.speak(`
    S: 220 *
    C: LHLO client.example.test
    S: 250 ...
    C: MAIL FROM:<bob@client.test>
    C: RCPT TO:<anna@example.test>
    C: RCPT TO:<bert@example.test>
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 250 2.1.5 *
    S: 354 *
    C: Subject: x
    C: .
    S: 451 4.3.0 *
    S: 451 4.3.0 *
    C: NOOP
    S: 250 *
  `)
})

const agent = (body: string) => `
  import { definePlugin } from '@posthorn/core'
  import * as z from 'zod'
  export default definePlugin({ name: 'agent', schema: z.strictObject({}), setup: () => ({ deliver: { ${body} } }) })
`

test.each([
  ['route throws', "route() { throw new Error('lost the map') }, async send() {}", 'unrouted'],
  ['route babbles', 'route: () => ({ lane: 7 }), async send() {}', 'unrouted'],
  [
    'send throws',
    "route: () => ({ lane: 'x', data: null }), async send() { throw new Error('dropped it') }",
    'agent/x',
  ],
  ['send says nothing', "route: () => ({ lane: 'x', data: null }), async send() {}", 'agent/x'],
  [
    'send babbles',
    "route: () => ({ lane: 'x', data: null }), async send(_m, to, _r, call) { call.report(to[0].id, { kind: 'done' }) }",
    'agent/x',
  ],
])('delivery: %s, and the message waits until the plugin is mended', async (_, body, lane) => {
  await using rig = await Rig.start({ plugins: ['./agent.ts', ...home] }, { files: { 'agent.ts': agent(body) } })
  await using client = await greeted(rig)
  const id = queueId(await send(client, 'bob@example.test', 'anna@example.test'))
  expect(await rig.end(id)).toEqual({ id, state: 'deferred' })
  const { messages } = await rig.server.queue.operations.list({})
  expect(messages).toMatchObject([{ id, lane, state: 'deferred' }])
  await rig.reload({ plugins: home })
  await rig.delivered('anna@example.test', 1)
  await rig.empty()
  expect(await rig.inbox('bob@example.test')).toEqual([])
})

/** A store in memory whose disk is full while somebody called `full` writes, and faulty for `broken`. */
const store = `
  import { Blobs, definePlugin, Storage } from '@posthorn/core'
  import { faultyStorage, memoryBlobs } from '@posthorn/testing'
  import * as z from 'zod'
  export default definePlugin({
    name: 'store',
    schema: z.strictObject({}),
    provides: [Storage, Blobs],
    async setup({ provide, shared }) {
      const storage = await shared('store', null, () => faultyStorage(), () => {})
      provide(Storage, storage)
      provide(Blobs, memoryBlobs(storage))
      return {
        mail(_tx, from) {
          if (from.local === 'full') storage.fail('full', 1e9)
          else if (from.local === 'broken') storage.fail('failed', 1e9)
          else storage.fail('failed', 0)
        },
      }
    },
  })
`

test.each(['full', 'broken'])('a store that is %s: 452 4.3.1 and nothing delivered; then it works again', async who => {
  await using hop = await SmtpPeer.start()
  await using rig = await Rig.start(
    { plugins: ['./store.ts', { relay: { to: hop.address, domains: ['next.test'] } }] },
    { files: { 'store.ts': store } },
  )
  await using client = await greeted(rig)
  const refused = await Promise.all([1, 2, 3].map(() => greeted(rig)))
  for (const one of refused) {
    expect(await send(one, `${who}@client.test`, 'to@next.test')).toEqual([expect.stringMatching(/^452 4\.3\.1 /)])
    one.close()
  }
  expect(hop.connections).toBe(0)
  const [reply] = await send(client, 'fine@client.test', 'to@next.test')
  expect(reply).toMatch(/^250 2\.0\.0 /)
  await hop.received(1)
  expect(hop.messages.map(({ from }) => from)).toEqual(['fine@client.test'])
})

/** Every file below a folder. */
const files = async (folder: string) =>
  (await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])).filter(entry => entry.isFile())

test.each([
  ['DATA, in the header', 'DATA\r\n', 'Subject: half a li'],
  ['DATA, in the body', 'DATA\r\n', large(1_000_000)],
  ['DATA, before the final line end', 'DATA\r\n', 'Subject: x\r\n\r\nx\r\n.\r'],
  ['BDAT, in a chunk', 'BDAT 2000000 LAST\r\n', large(1_000_000)],
  ['BDAT, between chunks', '', Buffer.concat([Buffer.from('BDAT 1000000\r\n'), large(1_000_000)])],
  ['before DATA', '', ''],
])('a client that hangs up in the middle of %s leaves nothing behind', async (_, command, part) => {
  await using rig = await Rig.start({ plugins: home })
  await using client = await greeted(rig)
  client.send(`MAIL FROM:<bob@client.test>\r\nRCPT TO:<anna@example.test>\r\n${command}`)
  await client.expect('250 2.1.0 *')
  await client.expect('250 2.1.5 *')
  if (command === 'DATA\r\n') await client.expect('354 *')
  await client.sent(Buffer.from(part))
  if (part instanceof Uint8Array && command === '') await client.expect('250 2.0.0 1000000 octets received')
  client.close()
  await until('the transaction is over', () => rig.log.some(({ message }) => message === 'abandoned'))
  await until('no file is left', async () => (await files(join(rig.data, 'blobs'))).length === 0)
  await until('no connection is left', () => rig.server.listeners.connections === 0)
  expect(rig.server.listeners.inflight).toBe(0)
  expect((await rig.server.queue.operations.list({})).messages).toEqual([])
  expect(await rig.inbox('anna@example.test')).toEqual([])
})

test('what was accepted and not delivered is delivered after a new start on the same data', async () => {
  await using hop = await SmtpPeer.start({ on: { mail: 'stall' } })
  await using rig = await Rig.start({
    plugins: ['storage-level', { relay: { to: hop.address, domains: ['next.test'] } }],
    queue: { retry: ['10ms'] },
  })
  await using client = await greeted(rig)
  const small = 'Subject: small\r\n\r\nsmall\r\n'
  const big = large(1_000_000)
  for (let n = 0; n < 20; n++) await send(client, `n${n}@client.test`, 'to@next.test', n % 10 === 0 ? big : small)
  await hop.until(peer => peer.commands.some(line => line.startsWith('MAIL')))
  await rig.stop()
  expect(hop.count).toBe(0)
  hop.on = {}
  await rig.boot()
  await hop.received(20)
  await rig.empty()
  expect(hop.messages.map(({ from }) => from).sort()).toEqual(
    Array.from({ length: 20 }, (_, n) => `n${n}@client.test`).sort(),
  )
  for (const { from, size } of hop.messages) {
    expect(size).toBeGreaterThan(from.endsWith('0@client.test') ? big.length : small.length)
  }
})

test('a stop lets a transaction finish, and says 421 to whoever is idle and then to all', async () => {
  await using rig = await Rig.start({ plugins: home })
  const port = rig.port()
  await using idle = await greeted(rig)
  await using busy = await greeted(rig)
  await using chunked = await greeted(rig)
  await busy.speak(`
    C: MAIL FROM:<bob@client.test>
    C: RCPT TO:<anna@example.test>
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 354 *
    C: Subject: in the middle
  `)
  await chunked.speak(`
    C: MAIL FROM:<bob@client.test>
    C: RCPT TO:<anna@example.test>
    C: BDAT 12
    C: Subject: y
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 250 2.0.0 12 octets received
  `)
  const stopped = rig.stop(10_000)
  await idle.speak(`
    S: 421 4.3.2 *
    S: (closed)
  `)
  await expect(SmtpScript.connect(port)).rejects.toThrow('ECONNREFUSED')
  await busy.speak(`
    C: 
    C: and through
    C: .
    S: 250 2.0.0 OK: queued as *
    S: 421 4.3.2 *
    S: (closed)
  `)
  await chunked.speak(`
    C: BDAT 3 LAST
    C: y
    S: 250 2.0.0 OK: queued as *
    S: 421 4.3.2 *
    S: (closed)
  `)
  await stopped
  await rig.boot()
  const stored = await rig.delivered('anna@example.test', 2)
  expect(stored.map(bytes => /Subject: (.*)\r/.exec(String(bytes))?.[1]).sort()).toEqual(['in the middle', 'y'])
})
