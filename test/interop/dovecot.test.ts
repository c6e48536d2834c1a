// Dovecot's LMTP behind us: each recipient gets its own answer, and the message lies in Dovecot's Maildir as it came.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { QueueMessage } from '@posthorn/core/runtime'
import { createTransport } from 'nodemailer'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../../bench/contender.ts'
import { type RunningDovecot, startDovecot } from './dovecot.ts'
import { delivered, headerOf, messagesIn, until } from './mailbox.ts'
import { needs } from './needs.ts'
import { type RunningPosthorn, startPosthorn } from './posthorn.ts'

const message = [
  'From: anna@example.test',
  'Subject: to three',
  '',
  'Grüße',
  '.',
  '..',
  'x'.repeat(990),
  `${'y'.repeat(70)}\r\n`.repeat(20_000),
].join('\r\n')

let folder: string
let dovecot: RunningDovecot

/** In front of Dovecot, by the relay plugin. */
const gateway = (to: string) =>
  startPosthorn({
    queue: { gather: 0, retry: ['1s'] },
    plugins: ['storage-level', { relay: { to, lmtp: true, domains: ['example.test'] } }],
  })

async function send({ ports }: RunningPosthorn, ...to: readonly string[]): Promise<string> {
  const client = createTransport({ host: '127.0.0.1', port: ports.mx ?? 0, tls: { rejectUnauthorized: false } })
  const { response } = await client.sendMail({ envelope: { from: 'anna@example.test', to: [...to] }, raw: message })
  return response.match(/queued as (\w+)/)?.[1] ?? response
}

/** Dovecot stores lines with LF alone. */
const stored = (text: string) => text.replaceAll('\r\n', '\n')
const asSent = stored(Buffer.from(message).toString('latin1'))

describe.runIf(needs('dovecot', '/usr/lib/dovecot/lmtp', 'root'))('Dovecot by LMTP', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'posthorn-dovecot-'))
    const passwords = ['anna', 'bob', 'carol', 'dora', 'erik'].map(name => [`${name}@example.test`, 'secret'])
    dovecot = await startDovecot(folder, await freePort(), Object.fromEntries(passwords))
  })
  afterAll(async () => {
    await dovecot?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  test('three recipients, one unknown there: two get it, the sender hears of the third', async () => {
    await using server = await gateway(dovecot.lmtp.unix)
    const id = await send(server, 'bob@example.test', 'nobody@example.test', 'carol@example.test')
    for (const name of ['bob', 'carol']) {
      const [text = ''] = await delivered(dovecot.maildir(`${name}@example.test`), 1)
      expect(text.slice(-asSent.length)).toBe(asSent)
      expect(headerOf(text)).toMatch(/by mx\.example\.test with ESMTPS/)
    }
    const [report = ''] = await delivered(dovecot.maildir('anna@example.test'), 1)
    expect(report).toContain('Final-Recipient: rfc822; nobody@example.test')
    expect(report).toMatch(/^Action: failed$/m)
    expect(report).toMatch(/^Status: 5\.1\.1$/m)
    expect(report).toMatch(/^Diagnostic-Code: smtp; 550 5\.1\.1 <nobody@example\.test> User doesn't exist/m)
    expect(report).not.toContain('bob@example.test\n')
    const { entries } = await server.trace(id)
    const delivery = entries.filter(({ stage }) => stage === 'deliver')
    expect(delivery.map(({ recipient, verdict }) => [recipient, verdict]).sort()).toEqual([
      ['bob@example.test', 'delivered'],
      ['carol@example.test', 'delivered'],
      ['nobody@example.test', 'reject 550 5.1.1'],
    ])
  })

  test('over TCP, to an address with a detail', async () => {
    await using server = await gateway(dovecot.lmtp.tcp)
    await send(server, 'dora+lists@example.test')
    const [text = ''] = await delivered(dovecot.maildir('dora@example.test'), 1)
    expect(text.slice(-asSent.length)).toBe(asSent)
  })

  test('Dovecot is away: the mail waits in the queue, and arrives once when it is back', async () => {
    await using server = await gateway(dovecot.lmtp.unix)
    await dovecot.stop()
    rmSync(join(folder, 'lmtp'), { force: true })
    const id = await send(server, 'erik@example.test')
    const recipient = async () => ((await server.ask('queue', 'show', id)) as QueueMessage).recipients[0]
    await until(
      async () => (await recipient())?.state === 'deferred',
      async () => JSON.stringify(await recipient()),
    )
    await dovecot.start()
    await server.ask('queue', 'retry', id)
    await delivered(dovecot.maildir('erik@example.test'), 1)
    expect(messagesIn(dovecot.maildir('erik@example.test'))).toHaveLength(1)
  })
})
