// The examples run: each is started as it is, but for ports, folders and certificates that only its reader has.

import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig, Posthorn } from '@posthorn/core/runtime'
import { goodCertificate, SmtpPeer, SmtpScript } from '@posthorn/testing'
import { afterEach, beforeEach, test } from 'vitest'
import { root } from './packages.ts'

const bases = [new URL('../../packages/cli/package.json', import.meta.url).href]
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'posthorn-example-'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** Starts a copy of an example in a folder of its own. */
async function start(name: string, behind = '127.0.0.1:1'): Promise<Posthorn> {
  await cp(join(root, 'examples', name), join(folder, 'example'), { recursive: true })
  await writeFile(join(folder, 'cert.pem'), goodCertificate.cert)
  await writeFile(join(folder, 'key.pem'), goodCertificate.key)
  const file = join(folder, 'example/posthorn.config.ts')
  const text = (await readFile(file, 'utf8'))
    .replaceAll(/listen: (\d+|'127\.0\.0\.1:\d+')/g, "listen: '127.0.0.1:0'")
    .replaceAll('mail.internal:25', behind)
    .replaceAll('/etc/posthorn/tls/fullchain.pem', join(folder, 'cert.pem'))
    .replaceAll('/etc/posthorn/tls/privkey.pem', join(folder, 'key.pem'))
    .replace(/data: '[^']*'/, `data: '${join(folder, 'data')}', log: { level: 'silent' }`)
  await writeFile(file, text)
  return Posthorn.start({ load: () => loadConfig({ file, bases, warn: () => {} }), version: '0.0.0' })
}

const portOf = ({ addresses }: Posthorn, name: string) =>
  Number(
    addresses
      .find(({ listener }) => listener === name)
      ?.address.split(':')
      .at(-1),
  )

test('gateway: takes mail for its domains only', async () => {
  await using behind = await SmtpPeer.start({
    on: { rcpt: ({ line }) => (line.includes('<b@') ? undefined : '550 5.1.1 no') },
  })
  const server = await start('gateway', behind.address)
  try {
    await using client = await SmtpScript.connect(portOf(server, 'mx'))
    await client.speak(`
      S: 220 mx.example.org *
      C: EHLO client.test
      S: 250 ...
      C: MAIL FROM:<a@client.test>
      C: RCPT TO:<b@example.net>
      C: RCPT TO:<eve@example.net>
      C: RCPT TO:<c@elsewhere.test>
      C: RCPT TO:<"d@elsewhere.test"@example.org>
      C: QUIT
      S: 250 2.1.0 *
      S: 250 2.1.5 *
      S: 550 5.1.1 *
      S: 550 5.7.1 *
      S: 550 5.7.1 *
      S: 221 *
    `)
  } finally {
    await server.stop()
  }
})

test('mail-server: its users log in over TLS, strangers reach its people only', async () => {
  const server = await start('mail-server')
  try {
    await using client = await SmtpScript.connect({
      port: portOf(server, 'submissions'),
      tls: { rejectUnauthorized: false },
    })
    const login = Buffer.from('\0anna@example.org\0correct horse battery staple').toString('base64')
    await client.speak(`
      S: 220 mail.example.org *
      C: EHLO client.test
      S: 250 ...
      C: MAIL FROM:<anna@example.org>
      S: 530 5.7.0 *
      C: AUTH PLAIN ${login}
      S: 235 2.7.0 *
      C: MAIL FROM:<anna@example.org>
      C: RCPT TO:<somebody@elsewhere.test>
      C: QUIT
      S: 250 2.1.0 *
      S: 250 2.1.5 *
      S: 221 *
    `)
    await using stranger = await SmtpScript.connect(portOf(server, 'mx'))
    await stranger.speak(`
      S: 220 *
      C: EHLO client.test
      S: 250 ...
      C: MAIL FROM:<a@client.test>
      C: RCPT TO:<bob@example.org>
      C: RCPT TO:<carol@example.org>
      C: RCPT TO:<somebody@elsewhere.test>
      S: 250 2.1.0 *
      S: 250 2.1.5 *
      S: 550 5.1.1 *
      S: 550 5.7.1 *
    `)
  } finally {
    await server.stop()
  }
})

test('custom-plugin: starts with the plugin beside it', async () => {
  const server = await start('custom-plugin')
  try {
    await using client = await SmtpScript.connect(portOf(server, 'mx'))
    await client.speak('S: 220 *\nC: EHLO client.test\nS: 250 ...')
  } finally {
    await server.stop()
  }
})
