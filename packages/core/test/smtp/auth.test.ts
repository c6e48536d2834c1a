import { inspect } from 'node:util'
import { goodCertificate } from '@posthorn/testing'
import { expect, test } from 'vitest'
import type { Credentials } from '../../src/credentials.ts'
import { inFiles } from './certificates.ts'
import { type ListenerOptions, Rig, reply } from './rig.ts'

const hello = `
  S: 220 *
  C: EHLO client.example.test
  S: 250 ...
`
const open: ListenerOptions = { name: 'submission', role: 'submission', auth: 'required', insecureAuth: true }
const base64 = (text: string) => Buffer.from(text).toString('base64')
const good = base64('\0anna\0secret')

const script = {
  auth: (credentials: Credentials) =>
    credentials.kind === 'password' && credentials.reveal() === 'secret'
      ? { user: credentials.username }
      : reply(535, '5.7.8', 'Wrong'),
}

test('PLAIN with and without an initial response', async () => {
  await using rig = await Rig.start(open, { script })
  for (const dialogue of [`C: AUTH PLAIN ${good}`, `C: auth plain\nS: 334 \nC: ${good}`]) {
    await using client = await rig.connect()
    await client.speak(`
      S: 220 *
      C: EHLO client.example.test
      S: 250-*
      S: 250-*
      S: 250-*
      S: 250-*
      S: 250-*
      S: 250-*
      S: 250-*
      S: 250-*
      S: 250-AUTH PLAIN LOGIN
      S: 250-MT-PRIORITY
      S: 250 LIMITS *
      C: MAIL FROM:<anna@example.test>
      S: 530 5.7.0 Authentication required
      ${dialogue}
      S: 235 2.7.0 Authentication successful
      C: AUTH PLAIN ${good}
      S: 503 5.5.1 Authenticated already
      C: MAIL FROM:<anna@example.test>
      S: 250 *
    `)
    client.send('EHLO again\r\n')
    expect((await client.reply()).join()).not.toContain('AUTH')
  }
})

test('LOGIN, and the secret nowhere in what could be printed', async () => {
  let seen: Credentials | undefined
  await using rig = await Rig.start(open, {
    script: {
      auth: credentials => {
        seen = credentials
        return script.auth(credentials)
      },
    },
  })
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: AUTH LOGIN
    S: 334 VXNlcm5hbWU6
    C: ${base64('anna')}
    S: 334 UGFzc3dvcmQ6
    C: ${base64('secret')}
    S: 235 2.7.0 *
  `)
  expect(seen).toMatchObject({ kind: 'password', mechanism: 'LOGIN', username: 'anna' })
  expect(inspect(seen, { depth: 9, showHidden: true }) + JSON.stringify(seen)).not.toContain('secret')
  await using second = await rig.connect()
  await second.speak(`
    ${hello}
    C: AUTH LOGIN ${base64('anna')}
    S: 334 UGFzc3dvcmQ6
    C: ${base64('secret')}
    S: 235 2.7.0 *
  `)
})

test('exchanges that fail leave the session whole', async () => {
  await using rig = await Rig.start({ ...open, limits: { errors: 100 } }, { script })
  await using client = await rig.connect()
  await client.speak(`
    S: 220 *
    C: AUTH PLAIN ${good}
    S: 503 5.5.1 Send EHLO first
    C: EHLO c
    S: 250 ...
    C: AUTH
    S: 501 5.5.4 Syntax: AUTH mechanism [initial-response]
    C: AUTH CRAM-MD5
    S: 504 5.5.4 Mechanism not supported
    C: AUTH PLAIN
    S: 334 
    C: *
    S: 501 5.7.0 Authentication cancelled
    C: AUTH LOGIN
    S: 334 *
    C: ${base64('anna')}
    S: 334 *
    C: *
    S: 501 5.7.0 Authentication cancelled
    C: AUTH PLAIN not base64
    S: 501 5.5.4 *
    C: AUTH PLAIN YQ
    S: 501 5.5.2 Cannot decode authentication response
    C: AUTH PLAIN =
    S: 501 5.5.2 *
    C: AUTH PLAIN ${base64('no separators')}
    S: 501 5.5.2 *
    C: AUTH PLAIN ${base64('\0anna\0secret\0more')}
    S: 501 5.5.2 *
    C: AUTH PLAIN ${base64('\0an\nna\0secret')}
    S: 501 5.5.2 *
    C: AUTH PLAIN ${base64('\0anna\0wrong')}
    S: 535 5.7.8 Wrong
    C: AUTH PLAIN ${good}
    S: 235 *
  `)
})

test('lines of an exchange may be long, and a bad one ends it', async () => {
  await using rig = await Rig.start(open, { script: { auth: ({ username }) => ({ user: username }) } })
  await using client = await rig.connect()
  const password = 'x'.repeat(9000)
  await client.speak(`
    ${hello}
    C: AUTH PLAIN
    S: 334 
    C: ${'A'.repeat(12_292)}
    S: 500 5.5.6 Authentication line too long
    C: AUTH PLAIN
    S: 334 
    C: an\\nna
    S: 501 5.5.2 *
    C: AUTH PLAIN
    S: 334 
    C: ${base64(`\0anna\0${password}`)}
    S: 235 *
    C: NOOP ${'x'.repeat(2000)}
    S: 500 5.5.2 Command line too long
  `)
})

test('too many failures end the session', async () => {
  await using rig = await Rig.start(open, { script })
  await using client = await rig.connect()
  const wrong = `C: AUTH PLAIN ${base64('\0anna\0wrong')}\n`
  await client.speak(`${hello}\n${`${wrong}S: 535 *\n`.repeat(4)}${wrong}S: 421 4.7.0 Too many errors\nS: (closed)`)
})

test('never before TLS: neither offered nor taken', async () => {
  await using files = await inFiles({ good: goodCertificate })
  const tls = { default: files.good, names: {}, minVersion: 'TLSv1.2', clients: { request: false } } as const
  await using rig = await Rig.start({ ...open, insecureAuth: false, tls: 'starttls' }, { script, config: { tls } })
  await using client = await rig.connect()
  await client.expect('220 *')
  client.send('EHLO c\r\n')
  expect((await client.reply()).join()).not.toContain('AUTH')
  await client.speak(`
    C: AUTH PLAIN ${good}
    S: 538 5.7.11 Encryption required for authentication
    C: STARTTLS
    S: 220 2.0.0 Ready to start TLS
  `)
  await client.startTls()
  client.send('EHLO c\r\n')
  const offered = await client.reply()
  expect(offered).toContain('250-AUTH PLAIN LOGIN')
  expect(offered.join()).not.toContain('STARTTLS')
  await client.speak(`C: AUTH PLAIN ${good}\nS: 235 *`)
})

test('AUTH within a transaction is out of order', async () => {
  await using rig = await Rig.start({ ...open, auth: 'optional' }, { script })
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: MAIL FROM:<a@example.test>
    S: 250 *
    C: AUTH PLAIN ${good}
    S: 503 5.5.1 *
  `)
})
