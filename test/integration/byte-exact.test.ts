// What was sent is what is stored and what is passed on, octet by octet, whoever sent it and however it came.
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { Mail, NextHop } from '@posthorn/core/client'
import { connect } from '@posthorn/core/client'
import { parseAddress, scanHeader } from '@posthorn/mail'
import { SmtpPeer, type SmtpScript } from '@posthorn/testing'
import SmtpConnection from 'nodemailer/lib/smtp-connection/index.js'
import { expect, test } from 'vitest'
import { carriable, corpus } from '../corpus.ts'
import { type Awkward, awkward, large } from './awkward.ts'
import { greeted, parted, Rig, type RigConfig } from './rig.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

const carried: readonly Awkward[] = [
  ...corpus().flatMap(({ name, bytes }) => {
    const mail = carriable(bytes)
    return mail === undefined ? [] : [{ name, bytes: mail }]
  }),
  ...awkward,
]

const recipients = ['anna@example.test', 'to@bdat.test', 'to@data.test']

/** One rig for all ways in: anna's Maildir, a next hop that takes BDAT, and one that does not. */
async function office(config: RigConfig = {}) {
  const bdat = await SmtpPeer.start()
  const data = await SmtpPeer.start({ offer: ['PIPELINING', '8BITMIME', 'SMTPUTF8'] })
  const rig = await Rig.start({
    listeners: { mx: { listen: '127.0.0.1:0' } },
    plugins: [
      'storage-level',
      { domains: { domains: ['example.test'] } },
      'maildir',
      { use: 'relay', as: 'by-bdat', options: { to: bdat.address, domains: ['bdat.test'] } },
      { use: 'relay', as: 'by-data', options: { to: data.address, domains: ['data.test'] } },
    ],
    ...config,
  })
  return {
    rig,
    bdat,
    data,
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await Promise.all([bdat.close(), data.close()])
    },
  }
}

const isText = (bytes: Buffer) =>
  scanHeader(bytes).fields.length === 0 && bytes.length > 0 && bytes.subarray(0, 2).toString('latin1') !== '\r\n'

/** The sender tells which message it is, so that not an octet is added to it. */
const sender = (n: number) => `n${n}@client.test`

/** Compares all that arrived anywhere with what was sent. */
async function expectAll({ rig, bdat, data }: Awaited<ReturnType<typeof office>>, sent: readonly Awkward[]) {
  const stored = await rig.delivered('anna@example.test', sent.length)
  await Promise.all([bdat.received(sent.length), data.received(sent.length)])
  const places = {
    maildir: stored.map(bytes => ({ bytes, from: /^Return-Path: <(.*)>\r\n/.exec(bytes.toString('latin1'))?.[1] })),
    bdat: bdat.messages,
    data: data.messages,
  }
  expect(new Set(bdat.messages.map(({ via }) => via))).toEqual(new Set(['bdat']))
  expect(new Set(data.messages.map(({ via }) => via))).toEqual(new Set(['data']))
  for (const [place, messages] of Object.entries(places)) {
    const found = new Map(messages.map(({ from, bytes }) => [from, sha256(parted(bytes as Buffer).received)]))
    expect(messages, place).toHaveLength(sent.length)
    sent.forEach(({ name, bytes }, n) => {
      // DATA has no way to end a message without ending its last line.
      const whole = bytes.length === 0 || bytes.subarray(-2).toString('latin1') === '\r\n'
      const ended = place === 'data' && !whole ? Buffer.concat([bytes, Buffer.from('\r\n')]) : bytes
      // Text without a header would read as part of our last field, so an empty line of ours parts them.
      const expected = isText(bytes) ? Buffer.concat([Buffer.from('\r\n'), ended]) : ended
      expect(found.get(sender(n)), `${name} at ${place}`).toBe(sha256(expected))
    })
  }
}

function mailOf(bytes: Buffer, from: string): Mail {
  const mailbox = parseAddress(from)
  if ('error' in mailbox) throw new Error(from)
  return {
    from: mailbox,
    params: { smtputf8: false, requireTls: false, body: '8bitmime', other: {} },
    size: bytes.length,
    async *open() {
      yield bytes
    },
  }
}

/** By our own client, over one connection. */
async function byClient(rig: Rig, sent: readonly Awkward[], hop: Pick<NextHop, 'tls' | 'chunking'>): Promise<void> {
  const endpoint = { host: '127.0.0.1', port: rig.port() }
  const connection = await connect({ endpoint, protocol: 'smtp', helo: 'client.example.test', ...hop })
  const to = recipients.map(text => {
    const address = parseAddress(text)
    if ('error' in address) throw new Error(text)
    return { address }
  })
  for (const [n, { name, bytes }] of sent.entries()) {
    const answers: string[] = []
    const failure = await connection.send(mailOf(bytes, sender(n)), to, (_, { kind }) => answers.push(kind))
    expect([name, failure, answers]).toEqual([name, undefined, ['accepted', 'accepted', 'accepted']])
  }
  connection.close()
}

/** By nodemailer, which is not ours. */
async function byNodemailer(rig: Rig, sent: readonly Awkward[], tls: boolean): Promise<void> {
  const connection = new SmtpConnection({
    host: '127.0.0.1',
    port: rig.port(),
    name: 'client.example.test',
    ...(tls ? { requireTLS: true, tls: { rejectUnauthorized: false } } : { ignoreTLS: true }),
  })
  await new Promise<void>((resolve, reject) => {
    connection.once('error', reject)
    connection.connect(error => (error ? reject(error) : resolve()))
  })
  expect(connection.secure).toBe(tls)
  for (const [n, { bytes }] of sent.entries()) {
    const envelope = { from: sender(n), to: [...recipients], use8BitMime: true }
    await new Promise<void>((resolve, reject) => {
      connection.send(envelope, Readable.from([bytes]), error => (error ? reject(error) : resolve()))
    })
  }
  connection.quit()
}

/** By BDAT in chunks of `sizes`, over and over: CRLF, header and dots are cut anywhere. */
async function byChunks(client: SmtpScript, sent: readonly Awkward[], sizes: readonly number[]): Promise<void> {
  for (const [n, { name, bytes }] of sent.entries()) {
    const rcpts = recipients.map(to => `RCPT TO:<${to}>\r\n`).join('')
    const parts: Buffer[] = [Buffer.from(`MAIL FROM:<${sender(n)}> BODY=8BITMIME\r\n${rcpts}`)]
    let chunks = 0
    for (let at = 0; at < bytes.length; chunks++) {
      // A thousand odd ones, then the rest at once.
      const size = chunks > 1000 ? bytes.length : (sizes[chunks % sizes.length] as number)
      parts.push(Buffer.from(`BDAT ${Math.min(size, bytes.length - at)}\r\n`), bytes.subarray(at, at + size))
      at += size
    }
    parts.push(Buffer.from('BDAT 0 LAST\r\n'))
    client.send(Buffer.concat(parts))
    for (let i = 0; i < chunks + 5; i++) expect([name, (await client.reply())[0]?.slice(0, 3)]).toEqual([name, '250'])
  }
}

test('the corpus, by our client with DATA', async () => {
  await using all = await office()
  await byClient(all.rig, carried, { tls: { mode: 'none' }, chunking: false })
  await expectAll(all, carried)
})

test('the corpus, by our client with BDAT over STARTTLS', async () => {
  await using all = await office()
  await byClient(all.rig, carried, { tls: { mode: 'require' }, chunking: true })
  await expectAll(all, carried)
})

test.each([true, false])('the corpus, by nodemailer, STARTTLS: %s', async tls => {
  await using all = await office()
  await byNodemailer(all.rig, carried, tls)
  await expectAll(all, carried)
})

test.each([
  [1, 2, 3, 5, 7, 11, 101],
  [4096, 1],
])('the corpus in chunks of %i, %i … octets', async (...sizes) => {
  const odd = [
    ...carried,
    { name: 'no final newline', bytes: Buffer.from('Subject: cut\r\n\r\nnot the end of a line') },
    { name: 'ends in a dot', bytes: Buffer.from('Subject: dot\r\n\r\n.\r\n.') },
    { name: 'a header cut off', bytes: Buffer.from('Subject: nothing') },
    { name: 'nothing at all', bytes: Buffer.alloc(0) },
  ]
  await using all = await office()
  await using client = await greeted(all.rig)
  await byChunks(client, odd, sizes)
  await expectAll(all, odd)
})

test.each([true, false])('30 MB, BDAT: %s', async chunking => {
  const sent = [{ name: '30 MB', bytes: large(30_000_000) }]
  await using all = await office()
  await byClient(all.rig, sent, { tls: { mode: 'none' }, chunking })
  await expectAll(all, sent)
})

test('BINARYMIME: NUL, bare CR and bare LF arrive; a next hop without it sees nothing, the sender one report', async () => {
  await using all = await office({ listeners: { mx: { listen: '127.0.0.1:0', tls: 'none', binarymime: true } } })
  const { rig, bdat } = all
  await using client = await greeted(rig)
  const bytes = Buffer.from('Subject: binary\r\n\r\n\0\n\r\0\x01\xff\r\n.\n.\r.\r\nno end', 'latin1')
  client.send(
    'MAIL FROM:<bob@example.test> BODY=BINARYMIME\r\nRCPT TO:<anna@example.test>\r\nRCPT TO:<to@bdat.test>\r\n',
  )
  client.send(`BDAT ${bytes.length} LAST\r\n`)
  client.send(bytes)
  for (let i = 0; i < 4; i++) await client.expect('250 *')
  const [stored] = await rig.delivered('anna@example.test', 1)
  expect(sha256(parted(stored as Buffer).received)).toBe(sha256(bytes))
  const [report] = await rig.delivered('bob@example.test', 1)
  await rig.empty()
  const text = String(report)
  expect(text).toContain('Return-Path: <>\r\n')
  expect(text).toContain('Final-Recipient: rfc822; to@bdat.test\r\n')
  expect(text).toContain('Action: failed\r\nStatus: 5.6.3\r\n')
  expect(await rig.inbox('bob@example.test')).toHaveLength(1)
  expect(bdat.count).toBe(0)
  expect(bdat.commands.filter(line => /^(?:MAIL|RCPT|DATA|BDAT)/.test(line))).toEqual([])
})

test('BINARYMIME at both ends passes through', async () => {
  await using hop = await SmtpPeer.start({ offer: ['PIPELINING', '8BITMIME', 'CHUNKING', 'BINARYMIME'] })
  await using rig = await Rig.start({
    listeners: { mx: { listen: '127.0.0.1:0', tls: 'none', binarymime: true } },
    plugins: ['storage-level', { relay: { to: hop.address, domains: ['next.test'] } }],
  })
  await using client = await greeted(rig)
  const bytes = Buffer.from('Subject: binary\r\n\r\n\0\n\r\r\n.\r\n\n', 'latin1')
  client.send('MAIL FROM:<bob@client.test> BODY=BINARYMIME\r\nRCPT TO:<to@next.test>\r\n')
  client.send(`BDAT ${bytes.length} LAST\r\n`)
  client.send(bytes)
  for (let i = 0; i < 3; i++) await client.expect('250 *')
  await hop.received(1)
  expect(parted(hop.messages[0]?.bytes as Buffer).received).toEqual(bytes)
  expect(hop.messages[0]?.mailLine).toContain('BODY=BINARYMIME')
  await rig.empty()
})
