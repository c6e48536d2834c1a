// A reload under load: nothing is dropped, lost or doubled; what is wrong with a new configuration leaves the old one at
// work; what was queued waits for whoever can deliver it.
import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { PosthornErrors } from '@posthorn/core'
import { goodCertificate, SmtpPeer, SmtpScript, wrongNameCertificate } from '@posthorn/testing'
import { expect, test } from 'vitest'
import { example, greeted, Rig, type RigConfig, send, until } from './rig.ts'

const relay = (hop: SmtpPeer) => ({ relay: { to: hop.address, domains: ['next.test'] } })
const fingerprint = { [example('custom-plugin/fingerprint.ts')]: { refuse: ['spammer@client.test'] } }

test('a plugin of one’s own, listed by path, refuses a sender, annotates a header and taps the body', async () => {
  await using rig = await Rig.start({
    plugins: ['storage-level', { domains: { domains: ['example.test'] } }, 'maildir', fingerprint],
  })
  await using client = await greeted(rig)
  await client.speak(`
    C: MAIL FROM:<Spammer@Client.Test>
    S: 550 5.7.1 We take no mail from you
  `)
  await send(client, 'bob@client.test', 'anna@example.test', 'Subject: x\r\n\r\nx\r\n')
  const [stored] = await rig.delivered('anna@example.test', 1)
  expect(String(stored).replaceAll('\r\n ', ' ')).toContain(
    `X-Fingerprint: ${createHash('sha256').update('Subject: x\r\n\r\nx\r\n').digest('hex')}`,
  )
})

test('a plugin comes and goes under traffic: 1,000 messages over 20 connections, none lost, none doubled', async () => {
  await using hop = await SmtpPeer.start()
  const without = ['storage-level', relay(hop)]
  await using rig = await Rig.start({ plugins: without })
  const accepted: string[] = []
  /** For messages whose session surely began under one configuration: whether that had the plugin. */
  const signed = new Map<string, boolean>()
  const hasPlugin = () => rig.server.generation.plugins.some(({ name }) => name === 'fingerprint')
  let next = 0
  const work = async () => {
    while (next < 1_000) {
      const before = rig.server.generation.number
      await using client = await greeted(rig)
      const known = rig.server.generation.number === before ? hasPlugin() : undefined
      for (let i = 0; i < 10 && next < 1_000; i++) {
        const id = `m${next++}@client.test`
        const [reply = ''] = await send(client, id, 'to@next.test', `Subject: ${id}\r\n\r\nbody of ${id}\r\n`)
        expect(reply).toMatch(/^250 2\.0\.0 /)
        accepted.push(id)
        if (known !== undefined) signed.set(id, known)
      }
      // The connection lived through every reload.
      await client.speak(`
        C: QUIT
        S: 221 2.0.0 *
        S: (closed)
      `)
    }
  }
  const workers = Promise.all(Array.from({ length: 20 }, work))
  for (const [count, plugins] of [
    [100, [...without, fingerprint]],
    [300, without],
    [500, [fingerprint, ...without]],
    [700, without],
  ] as const) {
    await until(`${count} are in`, () => accepted.length >= count)
    await rig.reload({ plugins: [...plugins] })
  }
  await workers
  await rig.empty()
  expect((await rig.status()).queue.messages).toBe(0)
  expect(rig.server.generation.number).toBe(5)
  expect(hop.messages.map(({ from }) => from).sort()).toEqual([...accepted].sort())
  expect(accepted).toHaveLength(1_000)
  const headers = new Map(hop.messages.map(({ from, bytes }) => [from, /^X-Fingerprint: /m.test(String(bytes))]))
  expect(new Set(signed.values())).toEqual(new Set([true, false]))
  for (const [id, expected] of signed) expect([id, headers.get(id)]).toEqual([id, expected])
  expect(rig.log.filter(({ level }) => level === 'error')).toEqual([])
})

const plugin = (name: string, body: string, extra = '') => `
  import { definePlugin, messageState, token } from '@posthorn/core'
  import * as z from 'zod'
  const other = token('other/service')
  const a = messageState('test/a'), b = messageState('test/b')
  export default definePlugin({ name: '${name}', schema: z.strictObject({}), ${extra} setup() { ${body} } })
`
const broken = {
  'left.ts': plugin('left', 'return { mail: { reads: [a], writes: [b], handler() {} } }'),
  'right.ts': plugin('right', 'return { mail: { reads: [b], writes: [a], handler() {} } }'),
  'wanting.ts': plugin('wanting', 'return {}', 'inject: { other },'),
  'throwing.ts': plugin('throwing', "throw new Error('no such file')"),
  'unknown.ts': plugin('unknown', 'return { rctp() {} }'),
  'syntax.ts': 'export default {{',
}

test('whatever is wrong with a new configuration, the old one goes on', async () => {
  await using hop = await SmtpPeer.start()
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => taken.once('listening', resolve))
  const { port } = taken.address() as { port: number }
  const good = ['storage-level', relay(hop)]
  await using rig = await Rig.start({ plugins: good }, { files: broken })
  await using old = await greeted(rig)
  const listeners = rig.server.addresses
  const mx = { listen: '127.0.0.1:0', tls: 'none' } as const
  const wrong: readonly (readonly [string, RigConfig, RegExp])[] = [
    ['an unknown option', { plugins: [...good, { relay: { to: 'a:25', domain: ['x.test'] } }] }, /domain/],
    ['an unknown key', { hostnam: 'x' } as RigConfig, /hostname/],
    ['an unknown plugin', { plugins: [...good, 'no-such-plugin'] }, /no-such-plugin/],
    ['a cycle', { plugins: [...good, './left.ts', './right.ts'] }, /left.*right|right.*left/s],
    ['a missing service', { plugins: [...good, './wanting.ts'] }, /other\/service/],
    ['a setup that throws', { plugins: [...good, './throwing.ts'] }, /throwing.*no such file/s],
    ['an unknown hook', { plugins: [...good, './unknown.ts'] }, /rctp/],
    ['a file that does not parse', { plugins: [...good, './syntax.ts'] }, /syntax/],
    ['a plugin twice', { plugins: [...good, relay(hop)] }, /relay/],
    ['no store', { plugins: [relay(hop)] }, /storage-level/],
    ['a port in use', { listeners: { mx, mx2: { listen: `127.0.0.1:${port}` } } }, /EADDRINUSE/],
    ['no such certificate', { tls: { default: { cert: 'no.pem', key: 'no.pem' } } }, /no\.pem/],
    ['a data folder elsewhere', { data: 'elsewhere' }, /restart/i],
  ]
  for (const [what, change, said] of wrong) {
    const error = await rig.reload(change).then(
      () => expect.unreachable(`${what} was accepted`),
      reason => reason as Error,
    )
    const all = error instanceof PosthornErrors ? error.errors : [error]
    const text = all.map(one => `${one.message} ${(one as { fix?: string }).fix} ${(one as { at?: string }).at}`)
    expect(text.join('\n'), what).toMatch(said)
    expect([what, rig.server.generation.number, rig.server.addresses]).toEqual([what, 1, listeners])
    await send(old, 'old@client.test', 'to@next.test')
    await using fresh = await greeted(rig)
    await send(fresh, 'new@client.test', 'to@next.test')
  }
  await rig.reload()
  expect(rig.server.generation.number).toBe(2)
  await rig.empty()
  expect(hop.count).toBe(wrong.length * 2)
  taken.close()
})

test('a delivery plugin left out by mistake: no bounce, they wait in `unrouted` with an alarm, and go when it is back', async () => {
  await using hop = await SmtpPeer.start()
  await hop.stopListening()
  const home = ['storage-level', { domains: { domains: ['example.test'] } }, 'maildir']
  await using rig = await Rig.start({ plugins: [...home, relay(hop)], queue: { retry: ['1h'] } })
  await using client = await greeted(rig)
  for (let n = 0; n < 5; n++) await send(client, 'bob@example.test', 'to@next.test')
  await until('one was tried, and the lane backs off', async () => {
    const [lane] = rig.server.queue.operations.lanes()
    return lane?.state === 'backing off'
  })

  await rig.reload({ plugins: home })
  await until('they are unrouted', async () => (await rig.status()).queue.recipients.unrouted === 5)
  const { alarms, queue } = await rig.status()
  expect(alarms.join()).toContain('5 recipients wait without a route')
  expect(queue.messages).toBe(5)
  await using late = await greeted(rig)
  await late.speak(`
    C: MAIL FROM:<bob@example.test>
    S: 250 *
    C: RCPT TO:<to@next.test>
    S: 550 5.7.1 Relaying denied
  `)

  await hop.listen()
  await rig.reload({ plugins: [...home, relay(hop)] })
  await rig.empty()
  expect(hop.count).toBe(5)
  expect(await rig.inbox('bob@example.test')).toEqual([])
  expect((await rig.status()).alarms).toEqual([])
})

test('certificates are read again; who has a handshake behind him keeps his', async () => {
  await using hop = await SmtpPeer.start()
  const files = ({ cert, key }: { cert: string; key: string }) => ({ 'cert.pem': cert, 'key.pem': key })
  await using rig = await Rig.start(
    {
      listeners: { mx: { listen: '127.0.0.1:0' } },
      tls: { default: { cert: 'cert.pem', key: 'key.pem' } },
      plugins: ['storage-level', relay(hop)],
    },
    { files: files(goodCertificate) },
  )
  const secured = async () => {
    const client = await greeted(rig)
    await client.speak(`
      C: STARTTLS
      S: 220 2.0.0 *
    `)
    await client.startTls()
    await client.speak(`
      C: EHLO client.example.test
      S: 250 ...
    `)
    return { client, name: (client.socket as TLSSocket).getPeerCertificate().subjectaltname }
  }
  const before = await secured()
  await rig.write(files(wrongNameCertificate))
  await rig.reload()
  const after = await secured()
  expect(before.name).toContain('localhost')
  expect(after.name).toBe('DNS:elsewhere.example.test')
  await send(before.client, 'a@client.test', 'to@next.test')

  // Half of a pair is no pair: the server goes on with what it has.
  await rig.write({ 'key.pem': 'no key' })
  await expect(rig.reload()).rejects.toThrow()
  expect((await secured()).name).toBe('DNS:elsewhere.example.test')
  await rig.empty()
})

test('listeners come and go; sessions on one that went are finished', async () => {
  await using hop = await SmtpPeer.start()
  const mx = { listen: '127.0.0.1:0', tls: 'none' } as const
  await using rig = await Rig.start({ listeners: { mx }, plugins: ['storage-level', relay(hop)] })
  const port = rig.port()
  await using old = await greeted(rig)
  await rig.reload({ listeners: { mx, mx2: mx } })
  expect(rig.port()).toBe(port)
  await using second = await greeted(rig, 'mx2')
  await rig.reload({ listeners: { mx2: mx } })
  await expect(rig.connect('mx2')).resolves.toBeDefined()
  expect(rig.server.addresses.map(({ listener }) => listener)).toEqual(['mx2'])
  await expect(SmtpScript.connect(port)).rejects.toThrow('ECONNREFUSED')
  await send(old, 'old@client.test', 'to@next.test')
  await send(second, 'second@client.test', 'to@next.test')
  await hop.received(2)
})

test('an old session goes on with the old generation, and learns between commands when its time is up', async () => {
  await using hop = await SmtpPeer.start()
  const plugins = ['storage-level', relay(hop)]
  await using rig = await Rig.start({ plugins })
  await using old = await greeted(rig)
  await using open = await greeted(rig)
  await open.speak(`
    C: MAIL FROM:<spammer@client.test>
    C: RCPT TO:<to@next.test>
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 354 *
  `)
  await rig.reload({ plugins: [...plugins, fingerprint] })
  await using fresh = await greeted(rig)
  await fresh.speak(`
    C: MAIL FROM:<spammer@client.test>
    S: 550 5.7.1 *
  `)
  await send(old, 'spammer@client.test', 'to@next.test')

  // Those of the second generation have no time left; those of the first keep what they were given.
  await using busy = await greeted(rig)
  await busy.speak(`
    C: MAIL FROM:<a@client.test>
    C: RCPT TO:<to@next.test>
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 354 *
  `)
  await rig.reload({ drain: '1ms' })
  await fresh.speak(`
    S: 421 4.3.2 *
    S: (closed)
  `)
  await busy.speak(`
    C: Subject: in time
    C: .
    S: 250 2.0.0 OK: queued as *
    S: 421 4.3.2 *
    S: (closed)
  `)
  await open.speak(`
    C: Subject: of the first
    C: .
    S: 250 2.0.0 OK: queued as *
    C: NOOP
    S: 250 2.0.0 OK
  `)
  await hop.received(3)
})
