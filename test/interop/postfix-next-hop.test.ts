// Postfix behind our relay plugin: TLS that is verified, a log-in, BDAT; then Postfix dies in the middle of the stream.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { goodCertificate, testCa, wrongNameCertificate } from '@posthorn/testing'
import { createTransport } from 'nodemailer'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../../bench/contender.ts'
import { type RunningDovecot, startDovecot } from './dovecot.ts'
import { countIn, delivered, messagesIn, until } from './mailbox.ts'
import { needs } from './needs.ts'
import { type RunningPostfix, startPostfix } from './postfix.ts'
import { startPosthorn } from './posthorn.ts'

/** Connections of ours to Postfix: on each one final reply can be outstanding. */
const connections = 5

let folder: string
let ca: string
let postfix: RunningPostfix
let dovecot: RunningDovecot
let maildir: string

/** In front of Postfix, with what the relay plugin shall do otherwise. */
const gateway = (options: Readonly<Record<string, unknown>> = {}) =>
  startPosthorn({
    queue: { gather: 0, retry: ['1s'] },
    plugins: [
      'storage-level',
      {
        relay: {
          to: `localhost:${postfix.port}`,
          domains: ['y.test'],
          tls: 'verify',
          ca,
          auth: { user: 'posthorn@example.test', password: 'secret' },
          connections,
          ...options,
        },
      },
    ],
  })

/** Sends numbered messages over `sessions` kept connections; settles when all were answered with 250. */
async function send(port: number | undefined, count: number, sessions = 10): Promise<void> {
  const client = createTransport({
    host: '127.0.0.1',
    port: port ?? 0,
    pool: true,
    maxConnections: sessions,
    maxMessages: Number.POSITIVE_INFINITY,
    ignoreTLS: true,
  })
  const envelope = { from: 'a@x.test', to: 'b@y.test' }
  const message = (n: number) => `Subject: numbered\r\nX-Number: ${n}\r\n\r\n${'ü..\r\n.\r\n'.repeat(n % 100)}end\r\n`
  try {
    await Promise.all(Array.from({ length: count }, (_, n) => client.sendMail({ envelope, raw: message(n) })))
  } finally {
    client.close()
  }
}

const numberOf = (text: string) => Number(/^X-Number: (\d+)/m.exec(text)?.[1])
/** Postfix's id of the message: one that Postfix itself delivered twice after the crash has the same. */
const postfixId = (text: string) => /^\tby postfix\.test \(Postfix\) with \w+ id (\w+)/m.exec(text)?.[1]

describe.runIf(needs('postfix', 'dovecot', 'root'))('Postfix as the next hop', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'posthorn-next-hop-'))
    // The users of Postfix and Dovecot pass through.
    chmodSync(folder, 0o755)
    const below = (name: string) => mkdtempSync(join(folder, name))
    const file = (name: string, text: string) => {
      writeFileSync(join(folder, name), text, { mode: 0o600 })
      return join(folder, name)
    }
    ca = file('ca.pem', testCa)
    dovecot = await startDovecot(below('dovecot-'), await freePort(), { 'posthorn@example.test': 'secret' })
    const home = below('postfix-')
    maildir = dovecot.maildir('box')
    postfix = await startPostfix(home, await freePort(), {
      smtpd_tls_security_level: 'encrypt',
      smtpd_tls_chain_files: file('chain.pem', goodCertificate.key + goodCertificate.cert),
      smtpd_tls_received_header: 'yes',
      smtpd_sasl_auth_enable: 'yes',
      smtpd_sasl_type: 'dovecot',
      smtpd_sasl_path: dovecot.sasl,
      smtpd_sasl_authenticated_header: 'yes',
      smtpd_relay_restrictions: 'permit_sasl_authenticated, reject',
      smtpd_recipient_restrictions: 'permit_sasl_authenticated, reject',
      virtual_mailbox_domains: 'y.test',
      virtual_transport: 'virtual',
      virtual_mailbox_base: join(maildir, '..'),
      virtual_mailbox_maps: 'static:box/',
      virtual_uid_maps: 'static:65534',
      virtual_gid_maps: 'static:65534',
    })
  })
  afterAll(async () => {
    await postfix?.stop()
    await dovecot?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  test('verified TLS, a log-in, one message', async () => {
    await using server = await gateway()
    await send(server.ports.mx, 1)
    const [text = ''] = await delivered(maildir, 1)
    expect(text).toContain('with ESMTPSA id')
    expect(text).toContain('(Authenticated sender: posthorn@example.test)')
    expect(text).toMatch(/\n\nend\n$/)
    rmSync(join(maildir, 'new'), { recursive: true })
  })

  test.each([
    ['another CA', { ca: 'other' }],
    ['another name', { servername: 'mx.elsewhere.test' }],
  ])('%s: nothing is sent, nothing bounces', async (_, options) => {
    const other = join(folder, 'other.pem')
    writeFileSync(other, wrongNameCertificate.cert)
    await using server = await gateway('ca' in options ? { ca: other } : options)
    await send(server.ports.mx, 1)
    await until(
      async () => (await server.queue()).messages[0]?.reason !== undefined,
      async () => JSON.stringify(await server.queue()),
    )
    const { messages } = await server.queue()
    expect(messages).toHaveLength(1)
    expect(messages[0]?.reason).toMatch(/certificate|altnames|issuer/i)
    expect(countIn(maildir)).toBe(0)
  })

  test('it is killed in mid-stream and started again: all arrives, duplicates at most what was outstanding', {
    timeout: 60_000,
  }, async () => {
    const count = 600
    await using server = await gateway()
    const sent = send(server.ports.mx, count)
    await until(
      () => countIn(maildir) > 50,
      () => postfix.log().slice(-2000),
    )
    await postfix.crash()
    const before = countIn(maildir)
    expect(before).toBeLessThan(count)
    await sent
    await postfix.command('start')
    await postfix.ready()
    await server.ask('queue', 'retry', '--all')
    // What was cut behind its dot comes again when its time has come, so a count means something only at the end.
    await until(
      async () => (await server.queue()).totals.messages === 0 && (await postfix.empty()),
      async () => `${countIn(maildir)} arrived; ${JSON.stringify(await server.queue())}`,
      45_000,
    )
    // Each by the ids that Postfix gave it: more than one is a message that we sent again.
    const ids = new Map<number, Set<string | undefined>>()
    for (const text of messagesIn(maildir)) {
      const number = numberOf(text)
      ids.set(number, (ids.get(number) ?? new Set()).add(postfixId(text)))
    }
    const duplicates = [...ids.values()].reduce((sum, { size }) => sum + size - 1, 0)
    process.stderr.write(`killed after ${before} of ${count}: ${duplicates} duplicates\n`)
    expect(ids.size).toBe(count)
    expect(duplicates).toBeLessThanOrEqual(connections)
  })
})
