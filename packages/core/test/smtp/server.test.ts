import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { SmtpScript } from '@posthorn/testing'
import { expect, test } from 'vitest'
import { config, listener, Rig, reply } from './rig.ts'

const open = `
  S: 220 *
  C: EHLO client.example.test
  C: MAIL FROM:<a@example.test>
  C: RCPT TO:<b@example.test>
  C: DATA
  S: 250 ...
  S: 250 2.1.0 *
  S: 250 2.1.5 *
  S: 354 *
`

test('reload: kept addresses keep their socket, settings change for new connections only', async () => {
  await using rig = await Rig.start()
  await using before = await rig.connect()
  await before.speak('S: 220 mx.example.test ESMTP')
  const port = rig.port
  const second = listener({ name: 'second', hostname: 'second.example.test' })
  await rig.set.apply(config([listener({ hostname: 'new.example.test' }), second]))
  expect(rig.port).toBe(port)
  await using after = await rig.connect()
  await after.speak('S: 220 new.example.test ESMTP')
  await before.speak('C: HELO client\nS: 250 mx.example.test')
  const [, other] = rig.set.addresses()
  const otherPort = other?.address.kind === 'tcp' ? other.address.port : 0
  await using third = await SmtpScript.connect(otherPort)
  await third.speak('S: 220 second.example.test ESMTP')
  await rig.set.apply(config([second]))
  await before.speak('C: NOOP\nS: 250 *')
  await expect(SmtpScript.connect(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
})

test('a reload that cannot open its sockets changes nothing', async () => {
  await using rig = await Rig.start()
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const port = (taken.address() as { port: number }).port
  const bad = listener({ name: 'bad', listen: [{ kind: 'tcp', host: '127.0.0.1', port }] })
  const free = listener({ name: 'free' })
  await expect(rig.set.apply(config([free, bad, listener({ hostname: 'new.example.test' })]))).rejects.toMatchObject({
    code: 'POSTHORN_LISTEN_FAILED',
    message: `cannot listen on 127.0.0.1:${port}: EADDRINUSE`,
    at: 'listeners.bad.listen',
    fix: expect.stringContaining('another port'),
  })
  expect(rig.set.addresses()).toHaveLength(1)
  await using client = await rig.connect()
  await client.speak('S: 220 mx.example.test ESMTP')
  taken.close()
})

test('two listeners cannot share an address, and a network must be one', async () => {
  await using rig = await Rig.start()
  const same = { listen: [{ kind: 'tcp', host: '127.0.0.1', port: rig.port } as const] }
  await expect(
    rig.set.apply(config([listener({ name: 'a', ...same }), listener({ name: 'b', ...same })])),
  ).rejects.toMatchObject({
    code: expect.stringMatching(/^POSTHORN_LISTEN_/),
  })
  const trust = { proxy: [], xclient: ['10.0.0.0/33'] }
  await expect(rig.set.apply(config([listener()], { trust }))).rejects.toMatchObject({
    code: 'POSTHORN_CONFIG_NETWORK',
    at: 'trust.xclient[0]',
  })
})

test('IPv6, and a unix socket, stale or not', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-listen-'))
  const path = join(folder, 'lmtp.sock')
  const listen = [{ kind: 'tcp', host: '::1', port: 0 } as const, { kind: 'unix', path } as const]
  {
    await using rig = await Rig.start({ listen })
    await using six = await rig.connect({ host: '::1' })
    await six.speak('S: 220 *')
    expect(rig.pipeline.arrivals[0]).toMatchObject({ client: { ip: '::1' }, local: { ip: '::1', port: rig.port } })
    await using unix = await SmtpScript.connect({ path })
    await unix.speak('S: 220 *')
    expect(rig.pipeline.arrivals[1]?.client).toBeUndefined()
    // Somebody answers there: hands off.
    await expect(Rig.start({ listen: [{ kind: 'unix', path }] })).rejects.toMatchObject({
      code: 'POSTHORN_LISTEN_FAILED',
    })
    await unix.speak('C: NOOP\nS: 250 *')
  }
  await rm(folder, { recursive: true })
})

test('a socket handed over by systemd', async () => {
  const given = createServer().listen(0, '127.0.0.1')
  await once(given, 'listening')
  const { port } = given.address() as { port: number }
  const { fd } = (given as unknown as { _handle: { fd: number } })._handle
  const script = fileURLToPath(new URL('inherited-socket.ts', import.meta.url))
  const child = spawn(process.execPath, ['--conditions=@posthorn/source', script], {
    stdio: ['ignore', 'pipe', 'inherit', fd],
  })
  try {
    expect(String(await once(child.stdout as Readable, 'data'))).toBe('listening\n')
    given.close()
    await using client = await SmtpScript.connect(port)
    await client.speak('S: 220 inherited.example.test ESMTP\nC: QUIT\nS: 221 *\nS: (closed)')
  } finally {
    child.kill()
    await once(child, 'exit')
  }
})

test('so many connections and no more, in all and from one address', async () => {
  await using rig = await Rig.start({ limits: { connectionsPerIp: 2 } })
  await using first = await rig.connect()
  await using second = await rig.connect()
  await first.speak('S: 220 *')
  await second.speak('S: 220 *')
  {
    await using third = await rig.connect()
    await third.speak('S: 421 4.7.0 Too many connections from your address\nS: (closed)')
    await using elsewhere = await rig.connect({ localAddress: '127.0.0.2' })
    await elsewhere.speak('S: 220 *')
  }
  await second.speak('C: QUIT\nS: 221 *\nS: (closed)')
  await rig.clock.settle()
  await using again = await rig.connect()
  await again.speak('S: 220 *')
  await rig.set.apply(config([listener()], { limits: { connections: 2 } }))
  await using full = await rig.connect({ localAddress: '127.0.0.3' })
  await full.speak('S: 421 4.3.2 Too many connections, try again later\nS: (closed)')
})

test('drain: transactions finish, the idle go, nobody new comes', async () => {
  await using rig = await Rig.start()
  await using busy = await rig.connect()
  await using idle = await rig.connect()
  await busy.speak(open)
  await idle.speak('S: 220 *\nC: EHLO c\nS: 250 ...')
  const { port } = rig
  const drained = rig.set.drain(60_000)
  await idle.speak('S: 421 4.3.2 Service shutting down, try again\nS: (closed)')
  await expect(SmtpScript.connect(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  await busy.speak('C: Subject: x\nC: .\nS: 250 2.0.0 Queued\nS: 421 4.3.2 *\nS: (closed)')
  await drained
  expect(rig.pipeline.kept).toEqual(['Subject: x\r\n'])
  expect(rig.set.connections).toBe(0)
})

test('drain: between MAIL and the dot the client is waited for, but not for ever', async () => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak(open)
  const drained = rig.set.drain(10_000)
  await client.speak('C: Subject: x')
  await rig.clock.advance(11_000)
  await client.speak('S: 421 4.3.2 *\nS: (closed)')
  await rig.clock.advance(2000)
  await drained
  expect(rig.pipeline.messages.map(({ outcome }) => outcome)).toEqual([undefined])
})

test('drain waits for a reply that we owe', async () => {
  let answer: (() => void) | undefined
  const script = {
    end: () =>
      new Promise<ReturnType<typeof reply>>(resolve => (answer = () => resolve(reply(250, '2.0.0', 'Queued')))),
  }
  await using rig = await Rig.start({}, { script })
  await using client = await rig.connect()
  await client.speak(`${open}C: .`)
  while (answer === undefined) await rig.clock.settle()
  const drained = rig.set.drain(60_000)
  await rig.clock.advance(30_000)
  answer()
  await client.speak('S: 250 2.0.0 Queued\nS: 421 4.3.2 *\nS: (closed)')
  await drained
})
