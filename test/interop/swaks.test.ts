// swaks, the operator's own tool, against every door of a server: each message is then in its Maildir, byte for byte.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { delivered, headerOf } from './mailbox.ts'
import { needs } from './needs.ts'
import { anna, type RunningPosthorn, startPosthorn } from './posthorn.ts'
import { type Ended, run } from './program.ts'

const letter = (subject: string, ...lines: readonly string[]) =>
  ['From: bob@client.test', `Subject: ${subject}`, 'Message-ID: <1@client.test>', '', ...lines, ''].join('\r\n')

const plain = letter('plain', 'How are you?', '.', '..', '.leading', 'and an end')
const secure = ['--tls', '--auth-user', anna.user, '--auth-password', anna.password, '--from', anna.user]

let server: RunningPosthorn
let files: string

/** Sends with swaks; the dialogue is what it printed. */
function swaks(listener: string, to: string, message: string, ...args: readonly string[]): Promise<Ended> {
  const file = join(files, `${to}.eml`)
  // It adds the last line end itself.
  writeFileSync(file, message.replace(/\r\n$/, ''))
  const where = ['--server', '127.0.0.1', '--port', String(server.ports[listener])]
  const envelope = ['--from', 'bob@client.test', '--to', `${to}@example.test`, '--helo', 'client.test']
  return run('swaks', [...where, ...envelope, '--data', `@${file}`, ...args])
}

/** The one message that `local` has got. */
async function inbox(local: string): Promise<string> {
  const [message = ''] = await delivered(join(server.folder, 'data/mail/example.test', local), 1)
  return message
}

/** What lies in the Maildir ends with the octets that went in. */
async function arrives(local: string, message: string, { code, out, err }: Ended): Promise<string> {
  expect(code, out + err).toBe(0)
  const stored = await inbox(local)
  const octets = Buffer.from(message).toString('latin1')
  expect(stored.slice(-octets.length)).toBe(octets)
  return headerOf(stored)
}

describe.runIf(needs('swaks'))('swaks', () => {
  beforeAll(async () => {
    files = mkdtempSync(join(tmpdir(), 'posthorn-swaks-'))
    server = await startPosthorn({
      listeners: {
        mx: { listen: '127.0.0.1:0' },
        submission: { listen: '127.0.0.1:0' },
        submissions: { listen: '127.0.0.1:0' },
        lmtp: { listen: '127.0.0.1:0' },
        'mx-proxy': { listen: '127.0.0.1:0', proxy: true },
      },
      trust: { proxy: '127.0.0.1/32', xclient: '127.0.0.1/32' },
    })
  })
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]()
    rmSync(files, { recursive: true, force: true })
  })

  test('plain SMTP, lines with leading dots', async () => {
    const header = await arrives('plain', plain, await swaks('mx', 'plain', plain))
    expect(header).toMatch(/^Return-Path: <bob@client\.test>\r\nDelivered-To: plain@example\.test\r\nReceived: /)
    expect(header).toContain('from client.test')
    expect(header).toContain('with ESMTP')
  })

  test('8-bit UTF-8 in the body', async () => {
    const message = letter('8-bit', 'Grüße aus Zürich ✉ 日本語', 'Ω')
    await arrives('utf8', message, await swaks('mx', 'utf8', message))
  })

  test('pipelined', async () => {
    const ended = await swaks('mx', 'pipelined', plain, '--pipeline')
    expect(ended.out).toMatch(/-> RCPT TO:<pipelined@example\.test>\n -> DATA\n<-/)
    await arrives('pipelined', plain, ended)
  })

  test('SMTP without extensions', async () => {
    const header = await arrives('helo', plain, await swaks('mx', 'helo', plain, '--protocol', 'SMTP'))
    expect(header).toContain('with SMTP id')
  })

  test('LMTP', async () => {
    const header = await arrives('lmtp', plain, await swaks('lmtp', 'lmtp', plain, '--protocol', 'LMTP'))
    expect(header).toContain('with LMTP')
  })

  test('LMTP answers for each recipient', async () => {
    const to = ['--to', 'one@example.test,stranger@elsewhere.test,two@example.test', '--protocol', 'LMTP']
    const { out } = await swaks('lmtp', 'unused', plain, ...to)
    expect(out).toMatch(/<\*\* 550 5\.7\.1/)
    expect(out.match(/^<- {2}250 2\.0\.0 /gm)).toHaveLength(2)
    await Promise.all([inbox('one'), inbox('two')])
  })

  test('XCLIENT: the client is whom a trusted proxy names', async () => {
    const xclient = ['--xclient-addr', '192.0.2.7', '--xclient-name', 'far.example.net', '--xclient-port', '4711']
    const header = await arrives('xclient', plain, await swaks('mx', 'xclient', plain, ...xclient))
    expect(header).toMatch(/Received: from client\.test \(.*192\.0\.2\.7/)
  })

  test('PROXY v1', async () => {
    const proxy = ['--proxy-version', '1', '--proxy-family', 'TCP4', '--proxy-source', '192.0.2.8']
    const rest = ['--proxy-source-port', '4712', '--proxy-dest', '192.0.2.1', '--proxy-dest-port', '25']
    const header = await arrives('proxy1', plain, await swaks('mx-proxy', 'proxy1', plain, ...proxy, ...rest))
    expect(header).toMatch(/Received: from client\.test \(.*192\.0\.2\.8/)
  })

  test('PROXY v2, IPv6', async () => {
    const proxy = ['--proxy-version', '2', '--proxy-family', 'AF_INET6', '--proxy-source', '2001:db8::8']
    const rest = ['--proxy-source-port', '4712', '--proxy-dest', '2001:db8::1', '--proxy-dest-port', '25']
    const header = await arrives('proxy2', plain, await swaks('mx-proxy', 'proxy2', plain, ...proxy, ...rest))
    expect(header).toMatch(/Received: from client\.test \(.*IPv6:2001:db8::8/)
  })

  test('no relaying for strangers', async () => {
    const { code, out } = await swaks('mx', 'unused', plain, '--to', 'somebody@elsewhere.test')
    expect(code).not.toBe(0)
    expect(out).toMatch(/<\*\* 550 5\.7\.1/)
  })

  test('no password before TLS, not even asked for', async () => {
    const login = ['--auth-user', anna.user, '--auth-password', anna.password]
    const { code, out } = await swaks('submission', 'unused', plain, ...login)
    expect(code).not.toBe(0)
    expect(out).not.toMatch(/^<-.*\bAUTH\b/m)
  })
})

describe.runIf(needs('swaks', 'perl:Net::SSLeay'))('swaks over TLS', () => {
  beforeAll(async () => {
    files = mkdtempSync(join(tmpdir(), 'posthorn-swaks-'))
    server = await startPosthorn({
      listeners: {
        mx: { listen: '127.0.0.1:0' },
        submission: { listen: '127.0.0.1:0' },
        submissions: { listen: '127.0.0.1:0' },
      },
    })
  })
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]()
    rmSync(files, { recursive: true, force: true })
  })

  test('STARTTLS', async () => {
    const ended = await swaks('mx', 'starttls', plain, '--tls')
    expect(ended.out).toMatch(/TLSv1\.[23]/)
    const header = await arrives('starttls', plain, ended)
    expect(header).toContain('with ESMTPS')
  })

  test.each(['PLAIN', 'LOGIN'])('AUTH %s over STARTTLS', async mechanism => {
    const local = mechanism.toLowerCase()
    const ended = await swaks('submission', local, plain, ...secure, '--auth', mechanism)
    expect(ended.out).toContain(` ~> AUTH ${mechanism}`)
    expect(await arrives(local, plain, ended)).toContain('with ESMTPSA')
  })

  test('TLS from the first octet', async () => {
    const args = secure.map(arg => (arg === '--tls' ? '--tls-on-connect' : arg))
    expect(await arrives('implicit', plain, await swaks('submissions', 'implicit', plain, ...args))).toContain(
      'ESMTPSA',
    )
  })

  test('a wrong password', async () => {
    const { code, out } = await swaks('submission', 'unused', plain, ...secure, '--auth-password', 'wrong')
    expect(code).not.toBe(0)
    expect(out).toMatch(/<~\* 535 5\.7\.8/)
  })
})
