// The gateway of the examples in front of a real Postfix and a real Dovecot: whom they do not know is refused at once,
// and all that was accepted arrives, though they go away in the middle of it.

import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { ConfigInput } from '@posthorn/core'
import { createTransport } from 'nodemailer'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../../bench/contender.ts'
import example from '../../examples/gateway/posthorn.config.ts'
import { type RunningDovecot, startDovecot } from './dovecot.ts'
import { countIn, delivered, headerOf, messagesIn, until } from './mailbox.ts'
import { needs } from './needs.ts'
import { type RunningPostfix, startPostfix } from './postfix.ts'
import { accounts, anna, type RunningPosthorn, startPosthorn } from './posthorn.ts'
import { run } from './program.ts'

const connections = 5
const names = ['anna@example.org', 'bob@example.org', 'you@example.org', 'friend@elsewhere.example']
let folder: string
let postfix: RunningPostfix
let dovecot: RunningDovecot
let box: string

const hash = accounts.users.users[anna.user] as string

/** The plugins of the example, with the server behind where it is here. */
function behindPostfix(relay = ''): NonNullable<ConfigInput['plugins']> {
  const text = JSON.stringify(example.plugins)
    .replaceAll('mail.internal:25', `127.0.0.1:${postfix.port}`)
    .replace('"relay":{', `"relay":{${relay}`)
  return JSON.parse(text) as NonNullable<ConfigInput['plugins']>
}

function gateway(change: Partial<ConfigInput> = {}): Promise<RunningPosthorn> {
  return startPosthorn({ queue: { gather: 0, retry: ['1s'] }, plugins: behindPostfix(), ...change })
}

/** What the guide tells to type: its shell blocks line by line, and every `posthorn …` in its text, each once. */
function guideCommands(): string[] {
  const text = readFileSync(join(import.meta.dirname, '../../docs/guide/gateway.md'), 'utf8')
  const shell = Array.from(text.matchAll(/^ *```sh\n([\s\S]*?)^ *```$/gm), ([, lines = '']) => lines)
  const found = shell.flatMap(lines => lines.trim().split(/\n\s*/))
  for (const [, command = ''] of text.matchAll(/`(posthorn\s[^`]+)`/g)) found.push(command.replace(/\s+/g, ' '))
  return [...new Set(found)]
}

function swaks(port: number | undefined, ...args: readonly string[]) {
  const where = ['--server', '127.0.0.1', '--port', String(port), '--helo', 'client.test']
  return run('swaks', [...where, '--from', 'bob@client.test', ...args])
}

describe.runIf(needs('postfix', 'dovecot', 'swaks', 'root'))('a gateway', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'posthorn-gateway-'))
    chmodSync(folder, 0o755)
    const below = (name: string) => mkdtempSync(join(folder, name))
    dovecot = await startDovecot(below('dovecot-'), await freePort(), { 'anna@example.org': 'secret' })
    box = dovecot.maildir('box')
    postfix = await startPostfix(below('postfix-'), await freePort(), {
      smtpd_authorized_xclient_hosts: '127.0.0.0/8',
      smtpd_relay_restrictions: 'reject_unauth_destination',
      smtpd_peername_lookup: 'no',
      virtual_mailbox_domains: 'example.org, example.net, elsewhere.example',
      virtual_transport: 'virtual',
      virtual_mailbox_base: join(box, '..'),
      virtual_mailbox_maps: `inline:{${names.map(name => `${name}=box/`).join(', ')}}`,
      virtual_uid_maps: 'static:65534',
      virtual_gid_maps: 'static:65534',
    })
  })
  afterAll(async () => {
    await postfix?.stop()
    await dovecot?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  test('every command of the guide, as printed: one arrives, the unknown and the stranger are refused', async () => {
    const commands = guideCommands()
    const plugins = [
      ...behindPostfix(),
      { users: { users: { 'you@example.org': hash } } },
      { use: 'relay', as: 'world', options: { to: `127.0.0.1:${postfix.port}`, tls: 'none' } },
    ]
    const listeners = { mx: { listen: '127.0.0.1:0' }, submission: { listen: '127.0.0.1:0' } } as const
    await using server = await gateway({ listeners, plugins })
    const path = join(import.meta.dirname, '../../node_modules/.bin') + delimiter + process.env.PATH
    const env = { ...process.env, PATH: path, NODE_OPTIONS: '--conditions=@posthorn/source' }
    const shell = (line: string, cwd = server.folder) => run('bash', ['-c', line], { cwd, env })
    /** The next command of the guide that begins so; elsewhere it would be another port, and swaks would ask. */
    const next = async (start: string, cwd?: string, more = '') => {
      const at = commands.findIndex(line => line.startsWith(start))
      const [line = ''] = commands.splice(at, at < 0 ? 0 : 1)
      expect(line, start).not.toBe('')
      const here = line
        .replace('localhost:2525', `127.0.0.1:${server.ports.mx}`)
        .replace('localhost:587', `127.0.0.1:${server.ports.submission}`)
        .replace('<id>', id)
      return shell(`${here}${more}`, cwd)
    }
    let id = ''
    const made = mkdtempSync(join(folder, 'init-'))
    for (const [command, more] of [
      // It would ask for what is not said.
      ['posthorn init', ' --yes --hostname mx.example.org --domain example.org'],
      ['posthorn check', ''],
    ] as const) {
      const { code, out, err } = await next(command, made, more)
      expect(code, out + err).toBe(0)
    }

    const sent = await next('swaks')
    expect(sent.code, sent.out + sent.err).toBe(0)
    await delivered(box, 1)
    expect((await next('swaks')).out).toContain('550 5.1.1')
    expect((await next('swaks')).out).toContain('550 5.7.1')
    id = /queued as (\w+)/.exec(sent.out)?.[1] as string
    await until(
      async () => (await server.queue()).totals.messages === 0,
      () => server.log(),
    )
    const listed = await next('posthorn queue list')
    expect([listed.code, listed.out]).toEqual([0, expect.not.stringContaining(id)])
    const explained = await next('posthorn explain')
    expect(explained.out).toMatch(/deliver .*relayed/)
    expect((await next('posthorn queue retry')).code).toBe(0)

    const login = await next('swaks', undefined, ` --auth-password '${anna.password}'`)
    expect(login.code, login.out + login.err).toBe(0)
    expect((await delivered(box, 2)).some(text => headerOf(text).includes('with ESMTPSA'))).toBe(true)
    expect(commands).toEqual([])
    rmSync(join(box, 'new'), { recursive: true })
  })

  test('it stops and starts in mid-stream: all arrives, twice at most what was outstanding', {
    timeout: 60_000,
  }, async () => {
    const count = 400
    await using server = await gateway({ plugins: behindPostfix(`"connections":${connections},`) })
    const client = createTransport({ host: '127.0.0.1', port: server.ports.mx ?? 0, pool: true, ignoreTLS: true })
    const envelope = { from: 'bob@client.test', to: 'anna@example.org' }
    const sending = Promise.all(
      Array.from({ length: count }, (_, n) =>
        client.sendMail({ envelope, raw: `Subject: numbered\r\nX-Number: ${n}\r\n\r\nhello\r\n` }),
      ),
    )
    await until(
      () => countIn(box) > 30,
      () => postfix.log().slice(-2000),
    )
    await postfix.crash()
    const before = countIn(box)
    await sending
    client.close()
    expect(before).toBeLessThan(count)
    await postfix.command('start')
    await postfix.ready()
    await server.ask('queue', 'retry', '--all')
    await until(
      async () => (await server.queue()).totals.messages === 0 && (await postfix.empty()),
      async () => `${countIn(box)} arrived; ${JSON.stringify(await server.queue())}`,
      45_000,
    )
    const ids = new Map<string, Set<string>>()
    for (const message of messagesIn(box)) {
      const number = /^X-Number: (\d+)/m.exec(message)?.[1] ?? ''
      const own = /by postfix\.test \(Postfix\) with \w+ id (\w+)/.exec(message)?.[1] ?? ''
      ids.set(number, (ids.get(number) ?? new Set()).add(own))
    }
    const duplicates = [...ids.values()].reduce((sum, { size }) => sum + size - 1, 0)
    expect(ids.size).toBe(count)
    expect(duplicates).toBeLessThanOrEqual(connections)
    rmSync(join(box, 'new'), { recursive: true })
  })

  test('Postfix sees the client, by XCLIENT; its answers go through where nothing is queued', async () => {
    await using server = await gateway({
      trust: { xclient: '127.0.0.1/32' },
      plugins: [
        'storage-level',
        { passthrough: { to: `127.0.0.1:${postfix.port}`, domains: ['example.org'], forward: 'xclient' } },
      ],
    })
    const as = ['--xclient', 'ADDR=192.0.2.7 NAME=far.client.test']
    const sent = await swaks(server.ports.mx, ...as, '--to', 'anna@example.org')
    expect(sent.code, sent.out + sent.err).toBe(0)
    expect(sent.out).toMatch(/250 2\.0\.0 Ok: \d+ bytes queued as/)
    const [message = ''] = await delivered(box, 1)
    expect(headerOf(message)).toMatch(/from mx\.example\.test \(far\.client\.test \[192\.0\.2\.7\]\) by postfix\.test/)
    const unknown = await swaks(server.ports.mx, '--to', 'nobody-here@example.org', '--quit-after', 'RCPT')
    expect(unknown.out).toMatch(/550 5\.1\.1 .*User unknown in virtual mailbox table/)
    rmSync(join(box, 'new'), { recursive: true })
  })

  test('swaks with TLS and a log-in sends through it', async () => {
    await using server = await gateway({
      listeners: { submission: { listen: '127.0.0.1:0' } },
      plugins: [...behindPostfix(), accounts],
    })
    const login = ['--tls', '--auth-user', anna.user, '--auth-password', anna.password, '--from', anna.user]
    const sent = await swaks(server.ports.submission, ...login, '--to', 'bob@example.org')
    expect(sent.code, sent.out + sent.err).toBe(0)
    const [message = ''] = await delivered(box, 1)
    expect(headerOf(message)).toContain('with ESMTPSA')
  })

  test('Dovecot by LMTP says who exists, gets the mail, and gets it when it is back', async () => {
    const to = dovecot.lmtp.unix
    await using server = await gateway({
      plugins: [
        'storage-level',
        { recipients: { domains: ['example.org'], callout: { to, lmtp: true } } },
        'relaying',
        { relay: { to, lmtp: true, domains: ['example.org'] } },
      ],
    })
    const inbox = dovecot.maildir('anna@example.org')
    expect((await swaks(server.ports.mx, '--to', 'anna@example.org')).code).toBe(0)
    await delivered(inbox, 1)
    const unknown = await swaks(server.ports.mx, '--to', 'eve@example.org', '--quit-after', 'RCPT')
    expect(unknown.out).toContain('550 5.1.1')
    await dovecot.stop()
    rmSync(to.replace('unix:', ''), { force: true })
    expect((await swaks(server.ports.mx, '--to', 'anna@example.org')).code).toBe(0)
    const new1 = await swaks(server.ports.mx, '--to', 'new@example.org', '--quit-after', 'RCPT')
    expect(new1.out).toContain('451 4.4.1')
    await dovecot.start()
    await server.ask('queue', 'retry', '--all')
    await delivered(inbox, 2)
  })
})
