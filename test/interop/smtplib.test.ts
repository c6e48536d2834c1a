// Python's smtplib: a client that shares no line of code and no author with us.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { goodCertificate, testCa } from '@posthorn/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { delivered, headerOf } from './mailbox.ts'
import { needs } from './needs.ts'
import { anna, type RunningPosthorn, startPosthorn } from './posthorn.ts'
import { succeed } from './program.ts'

const script = fileURLToPath(new URL('smtplib-send.py', import.meta.url))
const message = 'From: bob@client.test\r\nSubject: smtplib\r\n\r\nGrüße.\r\n.\r\n..two\r\n'

interface Job {
  readonly port: number | undefined
  readonly from?: string
  readonly to: readonly string[]
  readonly options?: readonly string[]
  readonly [more: string]: unknown
}

interface Result {
  readonly features: readonly string[]
  readonly refused: Readonly<Record<string, readonly [number, string]>>
  readonly replies?: readonly string[]
  readonly error?: string
}

async function send(job: Job): Promise<Result> {
  const input = JSON.stringify({ from: 'bob@client.test', message, options: ['BODY=8BITMIME'], ...job })
  return JSON.parse((await succeed('python3', [script], { input })).out) as Result
}

let server: RunningPosthorn
let files: string
let ca: string

async function inbox(local: string): Promise<string> {
  const [stored = ''] = await delivered(join(server.folder, 'data/mail/example.test', local), 1)
  const octets = Buffer.from(message).toString('latin1')
  expect(stored.slice(-octets.length)).toBe(octets)
  return headerOf(Buffer.from(stored, 'latin1').toString())
}

describe.runIf(needs('python3'))('smtplib', () => {
  beforeAll(async () => {
    files = mkdtempSync(join(tmpdir(), 'posthorn-smtplib-'))
    const file = (name: string, text: string) => {
      writeFileSync(join(files, name), text, { mode: 0o600 })
      return join(files, name)
    }
    ca = file('ca.pem', testCa)
    server = await startPosthorn({
      listeners: {
        mx: { listen: ['127.0.0.1:0'] },
        submission: { listen: '127.0.0.1:0' },
        submissions: { listen: '127.0.0.1:0' },
        lmtp: { listen: '127.0.0.1:0' },
      },
      tls: { default: { cert: file('cert.pem', goodCertificate.cert), key: file('key.pem', goodCertificate.key) } },
    })
  })
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]()
    rmSync(files, { recursive: true, force: true })
  })

  test('several recipients, one refused, the others served', async () => {
    const to = ['one@example.test', 'stranger@elsewhere.test', 'two@example.test']
    const { refused, features } = await send({ port: server.ports.mx, to })
    expect(features).toEqual([
      '8bitmime',
      'chunking',
      'dsn',
      'enhancedstatuscodes',
      'limits',
      'pipelining',
      'size',
      'smtputf8',
      'starttls',
    ])
    expect(refused).toEqual({ 'stranger@elsewhere.test': [550, expect.stringMatching(/^5\.7\.1 /)] })
    await Promise.all([inbox('one'), inbox('two')])
  })

  test('SMTPUTF8: an address beyond ASCII', async () => {
    const result = await send({
      port: server.ports.mx,
      from: 'jürgen@zürich.test',
      to: ['δοκιμή@example.test'],
      options: ['SMTPUTF8', 'BODY=8BITMIME'],
    })
    expect(result).toMatchObject({ refused: {} })
    // A Maildir's folder is named in ASCII: what is not plain is written as its octets.
    const header = await inbox('%CE%B4%CE%BF%CE%BA%CE%B9%CE%BC%CE%AE')
    expect(header).toContain('Return-Path: <jürgen@zürich.test>')
    expect(header).toContain('with UTF8SMTP')
  })

  test('BDAT in chunks, the last one empty', async () => {
    const { replies } = await send({ port: server.ports.mx, to: ['bdat@example.test'], bdat: 7 })
    const data = replies?.slice(2) ?? []
    expect(data.length).toBeGreaterThan(5)
    expect(data.at(-1)).toMatch(/^250 2\.0\.0 OK: queued as /)
    expect(data.slice(0, -1).every(reply => reply.startsWith('250 2.0.0 '))).toBe(true)
    await inbox('bdat')
  })

  test('STARTTLS and a log-in', async () => {
    const { port, ...job } = { port: server.ports.submission, ca, ...anna }
    const result = await send({ port, ...job, from: anna.user, to: ['starttls@example.test'] })
    expect(result).toMatchObject({ refused: {} })
    expect(result.features).toContain('auth')
    expect(result.features).not.toContain('starttls')
    expect(await inbox('starttls')).toContain('with ESMTPSA')
  })

  test('TLS from the first octet and a log-in', async () => {
    const job = { port: server.ports.submissions, ca, implicit: true, ...anna }
    expect(await send({ ...job, from: anna.user, to: ['tls@example.test'] })).toMatchObject({ refused: {} })
    expect(await inbox('tls')).toContain('with ESMTPSA')
  })

  test('a user sends as itself', async () => {
    const job = { port: server.ports.submissions, ca, implicit: true, ...anna }
    const { error, refused } = await send({ ...job, from: 'boss@example.test', to: ['boss@example.test'] })
    expect(error ?? JSON.stringify(refused)).toMatch(/553.*5\.7\.1/)
  })

  test('LMTP', async () => {
    const job = { port: server.ports.lmtp, protocol: 'lmtp', to: ['lmtp@example.test'] }
    expect(await send(job)).toMatchObject({ refused: {} })
    expect(await inbox('lmtp')).toContain('with LMTP')
  })
})
