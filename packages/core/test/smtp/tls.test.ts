import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect as connectPlain } from 'node:net'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { clientCertificate, expiredCertificate, goodCertificate, testCa, wrongNameCertificate } from '@posthorn/testing'
import { expect, test } from 'vitest'
import { CertificateFiles } from '../../src/smtp/tls.ts'
import { inFiles } from './certificates.ts'
import { config, listener, Rig } from './rig.ts'

const settings = { names: {}, minVersion: 'TLSv1.2', clients: { request: false } } as const

test('STARTTLS: the session begins anew', async () => {
  await using files = await inFiles({ good: goodCertificate })
  await using rig = await Rig.start(
    { tls: 'starttls', requireTls: true },
    { config: { tls: { ...settings, default: files.good } }, set: { requireTls: () => true } },
  )
  await using client = await rig.connect()
  await client.expect('220 *')
  client.send('EHLO client.example.test\r\n')
  const before = await client.reply()
  expect(before).toContain('250-STARTTLS')
  expect(before.join()).not.toContain('REQUIRETLS')
  await client.speak(`
    C: MAIL FROM:<a@example.test>
    S: 530 5.7.0 Must issue a STARTTLS command first
    C: STARTTLS now
    S: 501 5.5.4 No argument allowed
    C: STARTTLS
    S: 220 2.0.0 Ready to start TLS
  `)
  await client.startTls({ servername: 'mx.example.test', ca: testCa, rejectUnauthorized: true })
  await client.speak(`
    C: MAIL FROM:<a@example.test>
    S: 503 5.5.1 Send EHLO first
    C: STARTTLS
    S: 503 5.5.1 TLS is active already
    C: EHLO client.example.test
  `)
  const after = await client.reply()
  expect(after.join()).not.toContain('STARTTLS')
  expect(after.join()).toContain('REQUIRETLS')
  await client.speak(`
    C: MAIL FROM:<a@example.test> REQUIRETLS
    C: RCPT TO:<b@example.test>
    C: DATA
    S: 250 *
    S: 250 *
    S: 354 *
    C: .
    S: 250 *
  `)
  expect(rig.pipeline.secured).toEqual([
    { protocol: 'TLSv1.3', cipher: expect.stringMatching(/^TLS_/), servername: 'mx.example.test' },
  ])
})

test('a connection that became TLS leaves its place to the next one', async () => {
  await using files = await inFiles({ good: goodCertificate })
  await using rig = await Rig.start(
    { tls: 'starttls', limits: { connectionsPerIp: 1 } },
    { config: { tls: { ...settings, default: files.good } } },
  )
  for (const end of ['QUIT', 'hang up', 'hang up in the handshake', 'QUIT']) {
    await using client = await rig.connect()
    await client.speak('S: 220 *\nC: EHLO c\nS: 250 ...\nC: STARTTLS\nS: 220 *')
    if (end !== 'hang up in the handshake') {
      await client.startTls({ servername: 'mx.example.test', ca: testCa })
      await client.speak('C: EHLO c\nS: 250 ...')
    }
    if (end === 'QUIT') await client.speak('C: QUIT\nS: 221 *\nS: (closed)')
    else client.socket.destroy()
    await expect.poll(() => rig.set.connectionsOf('mx'), { message: end }).toBe(0)
  }
})

test('a client that hangs up before its handshake leaves its place too', async () => {
  await using files = await inFiles({ good: goodCertificate })
  await using rig = await Rig.start({ tls: 'implicit' }, { config: { tls: { ...settings, default: files.good } } })
  await using client = await rig.connect()
  await expect.poll(() => rig.set.connectionsOf('mx')).toBe(1)
  client.socket.destroy()
  await expect.poll(() => rig.set.connectionsOf('mx')).toBe(0)
  expect(rig.set.waiting).toBe(0)
})

test('what was sent in plain text behind STARTTLS never runs', async () => {
  await using files = await inFiles({ good: goodCertificate })
  await using rig = await Rig.start({ tls: 'starttls' }, { config: { tls: { ...settings, default: files.good } } })
  const injected = 'MAIL FROM:<evil@example.test>\r\nRCPT TO:<victim@example.test>\r\n'.repeat(200)
  for (const parts of [[`STARTTLS\r\n${injected}`], ['STARTTLS\r\nMAIL FR'], ['STARTTLS\r', '\nNOOP\r\n']]) {
    await using client = await rig.connect()
    await client.speak('S: 220 *\nC: EHLO c\nS: 250 ...')
    for (const part of parts) await client.sent(Buffer.from(part))
    await client.expect('220 *')
    await client.startTls()
    await client.speak(`
      C: NOOP
      S: 250 2.0.0 OK
      C: MAIL FROM:<a@example.test>
      S: 503 5.5.1 Send EHLO first
    `)
  }
})

test('a STARTTLS with garbage instead of a handshake ends that connection only', async () => {
  await using files = await inFiles({ good: goodCertificate })
  await using rig = await Rig.start({ tls: 'starttls' }, { config: { tls: { ...settings, default: files.good } } })
  await using client = await rig.connect()
  await client.speak('S: 220 *\nC: EHLO c\nS: 250 ...\nC: STARTTLS\nS: 220 *')
  client.send('EHLO in plain text again\r\n'.repeat(10))
  await rig.closed()
  await using other = await rig.connect()
  await other.speak('S: 220 *')
})

test('a handshake that never comes is given up, and its socket with it', async () => {
  await using files = await inFiles({ good: goodCertificate })
  await using rig = await Rig.start({ tls: 'starttls' }, { config: { tls: { ...settings, default: files.good } } })
  await using client = await rig.connect()
  await client.speak('S: 220 *\nC: EHLO c\nS: 250 ...\nC: STARTTLS\nS: 220 *')
  // Half a ClientHello.
  await client.sent(Buffer.from('1603010200', 'hex'))
  await rig.clock.advance(32_000)
  await rig.closed()
  expect(rig.pipeline.open_).toBe(0)
})

test('taking a socket away in the middle of a handshake harms nobody', async () => {
  await using files = await inFiles({ good: goodCertificate })
  const config = { tls: { ...settings, default: files.good } }
  for (const mode of ['starttls', 'implicit'] as const) {
    for (const octets of ['', '16', '1603010200', '474554202f0d0a']) {
      await using rig = await Rig.start({ tls: mode }, { config })
      const socket = connectPlain(rig.port, '127.0.0.1')
      const gone = new Promise(resolve => socket.once('close', resolve))
      let heard = ''
      socket.on('error', () => {})
      socket.on('data', chunk => {
        heard += chunk
      })
      if (mode === 'starttls') socket.write('STARTTLS\r\n')
      const begun = () => (mode === 'starttls' ? heard.includes('Ready') : rig.set.waiting > 0)
      while (!begun()) await new Promise<void>(resolve => setImmediate(resolve))
      socket.write(Buffer.from(octets, 'hex'))
      const drained = rig.set.drain(0)
      await rig.clock.advance(3000)
      await Promise.all([drained, gone])
    }
  }
})

test('implicit TLS with SNI: names, wildcards, the default', async () => {
  await using files = await inFiles({ good: goodCertificate, other: wrongNameCertificate, expired: expiredCertificate })
  const tls = {
    ...settings,
    default: files.good,
    names: { 'elsewhere.example.test': files.other, '*.Wild.example.test': files.expired },
  }
  await using rig = await Rig.start({ tls: 'implicit' }, { config: { tls } })
  const serial = async (servername: string | undefined) => {
    const options = servername === undefined ? {} : { servername }
    await using client = await rig.connect({ tls: { rejectUnauthorized: false, ...options } })
    await client.speak('S: 220 *')
    return (client.socket as TLSSocket).getPeerCertificate().serialNumber
  }
  expect(await serial('mx.example.test')).toBe('06')
  expect(await serial('Elsewhere.example.test')).toBe('07')
  expect(await serial('a.wild.example.test')).toBe('08')
  expect(await serial('a.b.wild.example.test')).toBe('06')
  expect(await serial('wild.example.test')).toBe('06')
  expect(await serial(undefined)).toBe('06')
  expect(rig.pipeline.arrivals[0]?.tls).toMatchObject({ protocol: 'TLSv1.3', servername: 'mx.example.test' })
})

test('a service is asked for the certificate first', async () => {
  await using files = await inFiles({ good: goodCertificate, other: wrongNameCertificate })
  const others = await CertificateFiles.load({ ...settings, default: files.other })
  const asked: unknown[] = []
  const certificates = {
    contextFor: async (servername: string | undefined, name: string) => {
      asked.push([servername, name])
      if (servername === 'broken.example.test') throw new Error('no order')
      return servername === 'acme.example.test' ? others.contextFor(servername) : undefined
    },
  }
  const tls = { ...settings, default: files.good }
  await using rig = await Rig.start({ tls: 'implicit' }, { config: { tls }, set: { certificates } })
  for (const [servername, serial] of [
    ['acme.example.test', '07'],
    ['mx.example.test', '06'],
    ['broken.example.test', '06'],
  ]) {
    await using client = await rig.connect({ tls: { rejectUnauthorized: false, servername: servername as string } })
    await client.speak('S: 220 *')
    expect((client.socket as TLSSocket).getPeerCertificate().serialNumber).toBe(serial)
  }
  expect(asked).toContainEqual(['acme.example.test', 'mx'])
})

test('client certificates are told to the pipeline, whatever they are worth', async () => {
  await using files = await inFiles({ good: goodCertificate })
  const ca = join(files.folder, 'ca.pem')
  await writeFile(ca, testCa)
  const tls = { ...settings, default: files.good, clients: { request: true, ca } }
  for (const mode of ['implicit', 'starttls'] as const) {
    await using rig = await Rig.start({ tls: mode }, { config: { tls } })
    for (const certificate of [clientCertificate, expiredCertificate, undefined]) {
      const options = { rejectUnauthorized: false, ...certificate }
      await using client = await rig.connect(mode === 'implicit' ? { tls: options } : {})
      await client.speak('S: 220 *')
      if (mode === 'starttls') {
        await client.speak('C: STARTTLS\nS: 220 *')
        await client.startTls(options)
        await client.speak('C: NOOP\nS: 250 *')
      }
    }
    const seen =
      mode === 'implicit'
        ? rig.pipeline.arrivals.map(({ tls }) => tls?.client)
        : rig.pipeline.secured.map(({ client }) => client)
    expect(seen).toEqual([
      {
        authorized: true,
        subject: expect.stringContaining('CN=client.example.test'),
        names: ['client.example.test'],
        sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
      expect.objectContaining({ authorized: false }),
      undefined,
    ])
  }
})

test('TLS 1.1 is refused, at every door', async () => {
  await using files = await inFiles({ good: goodCertificate })
  await using rig = await Rig.start({ tls: 'implicit' }, { config: { tls: { ...settings, default: files.good } } })
  const old = connect({
    port: rig.port,
    rejectUnauthorized: false,
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  })
  await expect(once(old, 'secureConnect')).rejects.toThrow()
  old.destroy()
})

test('plain text at an implicit TLS port, and a client that says nothing', async () => {
  await using files = await inFiles({ good: goodCertificate })
  await using rig = await Rig.start({ tls: 'implicit' }, { config: { tls: { ...settings, default: files.good } } })
  const socket = connectPlain(rig.port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('EHLO plain\r\n')
  socket.resume()
  await once(socket, 'close')
  expect(rig.pipeline.arrivals).toEqual([])
  const silent = connectPlain(rig.port, '127.0.0.1')
  await once(silent, 'connect')
  const gone = once(silent, 'close')
  silent.resume()
  while (rig.set.waiting === 0) await rig.clock.settle()
  await rig.set.drain(0)
  await gone
})

test('reload reads certificates again and leaves connections alone', async () => {
  await using files = await inFiles({ mx: goodCertificate })
  const before = config([listener({ tls: 'implicit' })], { tls: { ...settings, default: files.mx } })
  await using rig = await Rig.start({ tls: 'implicit' }, { config: before })
  const serial = async () => {
    await using client = await rig.connect({ tls: { rejectUnauthorized: false } })
    await client.speak('S: 220 *')
    return (client.socket as TLSSocket).getPeerCertificate().serialNumber
  }
  await using live = await rig.connect({ tls: { rejectUnauthorized: false } })
  await live.speak('S: 220 *')
  expect(await serial()).toBe('06')
  await files.write('mx', wrongNameCertificate)
  await rig.set.apply(before)
  expect(await serial()).toBe('07')
  await live.speak('C: NOOP\nS: 250 *')
  await writeFile(files.mx.cert, 'garbage')
  await expect(rig.set.apply(before)).rejects.toMatchObject({ code: 'POSTHORN_TLS_PEM' })
  expect(await serial()).toBe('07')
})

test('bad files are named, with what to do', async () => {
  await using files = await inFiles({ good: goodCertificate })
  const { cert, key } = files.good
  const otherKey = join(files.folder, 'other.key')
  await writeFile(otherKey, foreignKey)
  const load = (pair: { cert: string; key: string }) => CertificateFiles.load({ ...settings, default: pair })
  const missing = join(files.folder, 'missing.pem')
  await expect(load({ cert: missing, key })).rejects.toMatchObject({
    code: 'POSTHORN_TLS_FILE',
    message: `cannot read ${missing}: ENOENT`,
    at: 'tls.default.cert',
  })
  await expect(load({ cert: key, key })).rejects.toMatchObject({ code: 'POSTHORN_TLS_PEM', at: 'tls.default.cert' })
  await expect(load({ cert, key: cert })).rejects.toMatchObject({ code: 'POSTHORN_TLS_PEM', at: 'tls.default.key' })
  await expect(load({ cert, key: otherKey })).rejects.toMatchObject({
    code: 'POSTHORN_TLS_KEY',
    message: expect.stringContaining(otherKey),
  })
  const ca = CertificateFiles.load({ ...settings, default: files.good, clients: { request: true, ca: key } })
  await expect(ca).rejects.toMatchObject({ code: 'POSTHORN_TLS_PEM', at: 'tls.clients.ca' })
})

test('without a certificate STARTTLS is neither offered nor done', async () => {
  await using rig = await Rig.start({ tls: 'starttls' })
  await using client = await rig.connect()
  await client.expect('220 *')
  client.send('EHLO c\r\n')
  expect((await client.reply()).join()).not.toContain('STARTTLS')
  await client.speak('C: STARTTLS\nS: 502 5.5.1 *')
})

// Of no certificate here, and of no use.
const foreignKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgw5XvxRBFjQIFvExA
vmoUSzu9Cel3iZXPFq5IXckAXNGhRANCAAQXkE9BU0Fsdv4kPn1uTMNgdH/WVivK
wIRqy+4drGMJoZYG3WzODfC6HaVScHBhcbFPLxKMI+UHK3o/EPtlmM9z
-----END PRIVATE KEY-----
`
