// curl as a mail client: with certificates that it checks, which is what its users have.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { goodCertificate, testCa, wrongNameCertificate } from '@posthorn/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { delivered, headerOf } from './mailbox.ts'
import { needs } from './needs.ts'
import { anna, type RunningPosthorn, startPosthorn } from './posthorn.ts'
import { type Ended, run } from './program.ts'

const message = Buffer.from('From: bob@client.test\r\nSubject: curl\r\n\r\nGrüße.\r\n.\r\n..two\r\n', 'utf8')
const login = ['--user', `${anna.user}:${anna.password}`]

let server: RunningPosthorn
let files: string
let ca: string[]

/** Sends `message` with curl from standard input. */
function curl(url: string, from: string, to: readonly string[], ...args: readonly string[]): Promise<Ended> {
  const envelope = ['--mail-from', from, ...to.flatMap(address => ['--mail-rcpt', address])]
  return run('curl', ['-sSv', '-m', '20', url, ...envelope, '-T', '-', ...args], { input: message })
}

async function inbox(local: string): Promise<string> {
  const [stored = ''] = await delivered(join(server.folder, 'data/mail/example.test', local), 1)
  expect(stored.slice(-message.length)).toBe(message.toString('latin1'))
  return headerOf(stored)
}

describe.runIf(needs('curl'))('curl', () => {
  beforeAll(async () => {
    files = mkdtempSync(join(tmpdir(), 'posthorn-curl-'))
    const file = (name: string, text: string) => {
      writeFileSync(join(files, name), text, { mode: 0o600 })
      return join(files, name)
    }
    ca = ['--cacert', file('ca.pem', testCa)]
    server = await startPosthorn({
      listeners: {
        mx: { listen: '127.0.0.1:0' },
        mx6: { listen: '[::1]:0' },
        submission: { listen: '127.0.0.1:0' },
        submissions: { listen: '127.0.0.1:0' },
      },
      tls: {
        default: { cert: file('cert.pem', goodCertificate.cert), key: file('key.pem', goodCertificate.key) },
        names: {
          'mx.example.test': {
            cert: file('c2.pem', wrongNameCertificate.cert),
            key: file('k2.pem', wrongNameCertificate.key),
          },
        },
      },
    })
  })
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]()
    rmSync(files, { recursive: true, force: true })
  })

  test('smtp://, two recipients', async () => {
    const to = ['plain@example.test', 'other@example.test']
    const ended = await curl(`smtp://127.0.0.1:${server.ports.mx}`, 'bob@client.test', to)
    expect(ended.code, ended.err).toBe(0)
    expect(await inbox('plain')).toContain('Delivered-To: plain@example.test')
    expect(await inbox('other')).toContain('Delivered-To: other@example.test')
  })

  test('over IPv6', async () => {
    const ended = await curl(`smtp://[::1]:${server.ports.mx6}`, 'bob@client.test', ['six@example.test'])
    expect(ended.code, ended.err).toBe(0)
    expect(await inbox('six')).toContain('[IPv6:::1]')
  })

  test('STARTTLS, the certificate checked, and a log-in', async () => {
    const url = `smtp://localhost:${server.ports.submission}`
    const ended = await curl(url, anna.user, ['starttls@example.test'], '--ssl-reqd', ...ca, ...login)
    expect(ended.code, ended.err).toBe(0)
    expect(await inbox('starttls')).toContain('with ESMTPSA')
  })

  test('smtps://, AUTH LOGIN, TLS 1.2', async () => {
    const url = `smtps://localhost:${server.ports.submissions}`
    const args = [...ca, ...login, '--login-options', 'AUTH=LOGIN', '--tls-max', '1.2']
    const ended = await curl(url, anna.user, ['smtps@example.test'], ...args)
    expect(ended.code, ended.err).toBe(0)
    expect(ended.err).toContain('TLSv1.2')
    expect(await inbox('smtps')).toContain('with ESMTPSA')
  })

  test('the certificate is that of the name asked for (SNI)', async () => {
    const url = `smtps://mx.example.test:${server.ports.submissions}`
    const here = ['--resolve', `mx.example.test:${server.ports.submissions}:127.0.0.1`]
    const ended = await curl(url, anna.user, ['sni@example.test'], ...ca, ...login, ...here)
    expect(ended.err).toContain('elsewhere.example.test')
    expect(ended.code).toBe(60)
  })

  test('TLS 1.1 is refused', async () => {
    const url = `smtps://localhost:${server.ports.submissions}`
    const args = [...ca, ...login, '--tls-max', '1.1', '--ciphers', 'DEFAULT:@SECLEVEL=0']
    const ended = await curl(url, anna.user, ['tls11@example.test'], ...args)
    expect(ended.code).toBe(35)
  })

  test('a refused recipient is an error, with the reply', async () => {
    const ended = await curl(`smtp://127.0.0.1:${server.ports.mx}`, 'bob@client.test', ['stranger@elsewhere.test'])
    expect(ended.code).not.toBe(0)
    expect(ended.err).toContain('550 5.7.1')
  })
})
