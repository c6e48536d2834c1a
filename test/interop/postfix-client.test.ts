// Postfix as our client: it relays 200 messages of every kind to us over STARTTLS, and each lies in the Maildir as it
// left Postfix.

import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { goodCertificate, testCa } from '@posthorn/testing'
import { createTransport } from 'nodemailer'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../../bench/contender.ts'
import { carriable, corpus } from '../corpus.ts'
import { delivered } from './mailbox.ts'
import { needs } from './needs.ts'
import { type RunningPostfix, startPostfix } from './postfix.ts'
import { type RunningPosthorn, startPosthorn } from './posthorn.ts'

let folder: string
let server: RunningPosthorn
let postfix: RunningPostfix

/** What the corpus lacks: sizes, long lines, dots, 8-bit octets that are no UTF-8. */
const made = (count: number) =>
  Array.from({ length: count }, (_, n) => {
    const octets = Buffer.from(Array.from({ length: 254 }, (_, i) => (i === 0 || i === 10 || i === 13 ? 46 : i)))
    const lines = [
      Buffer.from(`From: a@x.test\r\nSubject: made ${n}\r\n\r\n`),
      Buffer.from(`${'.'.repeat(n)}\r\n`),
      octets,
      Buffer.from(`\r\n${'x'.repeat(n * 997)}\r\n${'line\r\n'.repeat(n * n * 300)}`),
    ]
    return { name: `made ${n}`, bytes: Buffer.concat(lines) }
  })

const digest = (text: string) => createHash('sha256').update(text, 'latin1').digest('hex')

/** Our lines, and the Received of Postfix: below is what it was given. */
const above = /^Return-Path: [\s\S]*?\r\n\tby postfix\.test[\s\S]*?\r\n(?![ \t])/
const wellFormed = /^([!-9;-~]+:[^\r]*\r\n([ \t]+[^\s][^\r]*\r\n)*)+\r\n/

describe.runIf(needs('postfix', 'root'))('Postfix relays to us', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'posthorn-postfix-'))
    const file = (name: string, text: string) => {
      writeFileSync(join(folder, name), text, { mode: 0o600 })
      return join(folder, name)
    }
    const ca = file('ca.pem', testCa)
    server = await startPosthorn({
      tls: { default: { cert: file('cert.pem', goodCertificate.cert), key: file('key.pem', goodCertificate.key) } },
    })
    postfix = await startPostfix(folder, await freePort(), {
      relayhost: `[localhost]:${server.ports.mx}`,
      smtp_tls_security_level: 'verify',
      smtp_tls_verify_cert_match: 'hostname',
      smtp_tls_CAfile: ca,
      smtp_tls_loglevel: 1,
      // Postfix shall pass on what it gets: no long line broken, no header completed.
      smtp_line_length_limit: 0,
      local_header_rewrite_clients: '',
      message_drop_headers: '',
      message_size_limit: 0,
      mailbox_size_limit: 0,
    })
  })
  afterAll(async () => {
    await postfix?.stop()
    await server?.[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  test('200 messages, each as it was', { timeout: 60_000 }, async () => {
    const messages = [...corpus(), ...made(16)].flatMap(({ name, bytes }) => {
      const message = carriable(bytes)
      return message === undefined ? [] : [{ name, message }]
    })
    expect(messages).toHaveLength(200)
    const client = createTransport({
      port: postfix.port,
      host: '127.0.0.1',
      pool: true,
      maxConnections: 5,
      secure: false,
    })
    const envelope = { from: 'a@x.test', to: 'b@example.test' }
    await Promise.all(messages.map(({ message }) => client.sendMail({ envelope, raw: message })))
    client.close()
    const stored = await delivered(join(server.folder, 'data/mail/example.test/b'), messages.length, 40_000)
    expect(stored).toHaveLength(messages.length)
    const arrived = new Set(stored.map(text => digest(text.replace(above, ''))))
    const changed = messages.filter(({ message }) => !arrived.has(digest(message.toString('latin1'))))
    // Postfix mends what is no header; everything else left it as it came, and is as it left it.
    expect(changed.filter(({ message }) => wellFormed.test(message.toString('latin1')))).toEqual([])
    expect(changed.length).toBeLessThan(messages.length / 8)
    expect(stored.every(text => text.includes('with ESMTPS'))).toBe(true)
    expect(postfix.log()).toContain('Verified TLS connection established to localhost')
  })
})
