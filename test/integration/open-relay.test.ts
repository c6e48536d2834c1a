// Every known way to make a server send mail for strangers, tried on a whole one that has a way out for all it accepts.
// What arrives at the way out was relayed.
import { hashPassword } from '@posthorn/core'
import { SmtpPeer } from '@posthorn/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { greeted, Rig, send } from './rig.ts'

let out: SmtpPeer
let rig: Rig
const plain = { listen: '127.0.0.1:0', tls: 'none' } as const
const password = 'correct horse'

beforeAll(async () => {
  out = await SmtpPeer.start()
  rig = await Rig.start({
    listeners: {
      mx: plain,
      submission: { ...plain, requireTls: false, insecureAuth: true },
      open: { ...plain, role: 'mx', auth: 'optional', insecureAuth: true },
      lmtp: { listen: '127.0.0.1:0' },
      proxied: { ...plain, role: 'mx', proxy: true },
    },
    // Trusted, but not who the tests come as.
    trust: { xclient: ['192.0.2.0/24'], proxy: ['192.0.2.0/24'] },
    plugins: [
      'storage-level',
      { domains: { domains: { 'example.test': 'any', 'bücher.test': 'any', 'list.test': ['anna'] } } },
      { users: { users: { 'anna@example.test': await hashPassword(password) } } },
      {
        aliases: {
          domains: ['example.test', 'list.test'],
          aliases: { forward: 'zoe@else.test', '@parked.test': '@example.test' },
          srs: { domain: 'example.test', secret: 'secret' },
        },
      },
      { relaying: { networks: ['10.0.0.0/8'], users: ['postmaster'], certificates: { authorized: true } } },
      { recipients: { domains: ['gate.test'], patterns: ['.*@gate\\.test'] } },
      { relay: { to: out.address, domains: ['gate.test', '*.gate.test'] } },
      { use: 'relay', as: 'world', options: { to: out.address } },
    ],
  })
}, 30_000)

afterAll(async () => {
  await rig?.[Symbol.asyncDispose]()
  await out?.close()
})

const ours = ['example.test', 'gate.test', 'sub.gate.test', 'parked.test', 'xn--bcher-kva.test']

/** Paths that lead, or may lead the next server, to else.test. */
const paths = [
  '<zoe@else.test>',
  '<zoe@ELSE.test>',
  'zoe@else.test',
  '<zoe@else.test.>',
  '<zoe@[127.0.0.1]>',
  '<zoe@[IPv6:::1]>',
  '<zoe@[example.test]>',
  '<zoe@127.0.0.1>',
  '<zoe@localhost>',
  '<zoe@mx.example.test>',
  '<zoe>',
  '<"zoe@else.test">',
  '<zoe%else.test>',
  '<else.test!zoe>',
  '<@else.test>',
  '<"">',
  '<zoe@else.test;anna@example.test>',
  '<zoe@else.test,anna@example.test>',
  '<anna@example.test><zoe@else.test>',
  '<zoe@else.test> <anna@example.test>',
  '<zoe@else.test> ORCPT=rfc822;anna@example.test',
  '<anna@example.test',
  'anna@example.test>',
  '<<zoe@else.test>>',
  '<zoe+x@else.test>',
  '<postmaster@else.test>',
  '<zoe@else.test\\x00@example.test>',
  '<anna@example.test\\x00.else.test>',
  '<zoe@else.test\\t@example.test>',
  '<zoe@else.test\\r@example.test>',
  '<zoe@example.test.else.test>',
  '<zoe@EXAMPLE.TEST.else.test>',
  '<zoe@notexample.test>',
  '<zoe@example.test.>',
  '<zoe@.example.test>',
  '<zoe@example..test>',
  '<zoe@sub.example.test>',
  '<zoe@xn--bcher-kva.test.else.test>',
  '<zoe@xn--bcher-kva>',
  '<zoe@b\\xc3\\xbccher.else.test>',
  // U+3002, and fullwidth letters: a looser IDNA makes dots and letters of them.
  '<zoe@example\\xe3\\x80\\x82test>',
  '<zoe@else\\xe3\\x80\\x82test>',
  '<zoe@\\xef\\xbd\\x85lse.test>',
  '<eve@list.test>',
  '<SRS0=abcdef=AB=else.test=zoe@example.test>',
  '<SRS0+abcdef=AB=else.test=zoe@example.test>',
  '<srs0=======@example.test>',
  '<SRS1=abcdef=else.test==xxxxxx=AB=else.test=zoe@example.test>',
  ...ours.flatMap(domain => [
    `<zoe%else.test@${domain}>`,
    `<zoe%else.test%gate.test@${domain}>`,
    `<"zoe%else.test"@${domain}>`,
    `<else.test!zoe@${domain}>`,
    `<"else.test!zoe"@${domain}>`,
    `<a!else.test!zoe@${domain}>`,
    `<zoe@else.test@${domain}>`,
    `<"zoe@else.test"@${domain}>`,
    `<"zoe\\\\@else.test"@${domain}>`,
    `<zoe\\\\@else.test@${domain}>`,
    `<@${domain}:zoe@else.test>`,
    `<@${domain},@else.test:zoe@else.test>`,
    `<@else.test:zoe@${domain}>`,
    `<@${domain}:zoe%else.test@${domain}>`,
    `<zoe%else.test+x@${domain}>`,
    `<+zoe%else.test@${domain}>`,
  ]),
]

const senders = ['<eve@evil.test>', '<>', '<anna@example.test>', '<postmaster@example.test>', '<zoe@gate.test>']

/** The paths that a listener accepted, of those that it should not. */
async function accepted(listener: string, from: string, prelude = '', hello = 'EHLO client.test'): Promise<string[]> {
  const wrong: string[] = []
  for (let at = 0; at < paths.length; at += 10) {
    await using client = await rig.connect(listener)
    await client.reply()
    client.send(`${hello}\r\n`)
    await client.reply()
    if (prelude !== '') {
      client.send(`${prelude}\r\n`)
      await client.reply()
    }
    client.send(Buffer.from(`MAIL FROM:${from}\r\n`))
    await client.reply()
    for (const path of paths.slice(at, at + 10)) {
      const octets = path.replace(/\\(x[0-9a-f]{2}|[\\rt])/g, (_, e: string) =>
        e === '\\' ? '\\' : e === 'r' ? '\r' : e === 't' ? '\t' : String.fromCharCode(Number.parseInt(e.slice(1), 16)),
      )
      client.send(Buffer.from(`RCPT TO:${octets}\r\n`, 'latin1'))
      const [reply = ''] = await client.reply()
      if (/^2/.test(reply)) wrong.push(`${path}: ${reply}`)
      else if (/^421/.test(reply)) throw new Error(`hung up at ${path}: ${client.dialogue.join('\n')}`)
    }
  }
  return wrong
}

describe('strangers', () => {
  test.each(senders)('from %s, by mx', async from => {
    expect(await accepted('mx', from)).toEqual([])
  })

  test('with SMTPUTF8', async () => {
    expect(await accepted('mx', '<eve@evil.test> SMTPUTF8')).toEqual([])
  })

  test.each(['submission', 'open', 'lmtp'])('by %s, without log-in', async listener => {
    const hello = listener === 'lmtp' ? 'LHLO client.test' : 'EHLO client.test'
    expect(await accepted(listener, '<eve@evil.test>', '', hello)).toEqual([])
    expect(await accepted(listener, '<>', '', hello)).toEqual([])
  })

  test.each([
    ['XCLIENT ADDR=10.0.0.1'],
    ['XCLIENT LOGIN=anna@example.test'],
    ['XCLIENT ADDR=10.0.0.1 LOGIN=anna@example.test NAME=localhost'],
    ['XFORWARD ADDR=10.0.0.1'],
    ['PROXY TCP4 10.0.0.1 10.0.0.2 1 25'],
    ['AUTH PLAIN AGFubmFAZXhhbXBsZS50ZXN0AHdyb25n'],
    ['AUTH EXTERNAL YW5uYQ=='],
    ['AUTH ANONYMOUS YW5uYQ=='],
    ['AUTH PLAIN AAAA'],
  ])('who say %s', async prelude => {
    expect(await accepted('open', '<eve@evil.test>', prelude)).toEqual([])
  })

  test('who say that somebody trusted sent it', async () => {
    expect(await accepted('mx', '<eve@evil.test> AUTH=anna@example.test')).toEqual([])
    expect(await accepted('open', '<eve@evil.test> AUTH=<>')).toEqual([])
    expect(await accepted('mx', '<eve@evil.test>', '', 'EHLO [10.0.0.1]')).toEqual([])
    expect(await accepted('mx', '<eve@evil.test>', '', 'HELO localhost')).toEqual([])
  })

  test('a PROXY header from who is no proxy, before anything else', async () => {
    for (const head of [
      'PROXY TCP4 10.0.0.1 10.0.0.2 1 25\r\n',
      Buffer.concat([
        Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'),
        Buffer.from([0x21, 0x11, 0, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 25]),
      ]),
    ]) {
      for (const listener of ['mx', 'proxied']) {
        await using client = await rig.connect(listener)
        client.send(head)
        client.send(
          'EHLO client.test\r\nMAIL FROM:<eve@evil.test>\r\nRCPT TO:<zoe@else.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n',
        )
        const said: string[] = []
        while (!client.closed) said.push(...(await client.reply().catch(() => [])))
        expect(said.filter(line => /^(?:354|250 2\.1\.5|250 2\.0\.0)/.test(line))).toEqual([])
      }
    }
  })

  test('nothing of all this got in, or out', () => {
    expect(rig.log.filter(({ message }) => message === 'accepted')).toEqual([])
    expect(out.messages.map(({ rcptLines }) => rcptLines)).toEqual([])
  })
})

describe('and who may, can: the tests above would see it', () => {
  test('users, forwards and the domains behind', async () => {
    {
      await using client = await rig.connect('submission')
      await client.speak(`
        S: 220 *
        C: EHLO client.test
        S: 250 ...
        C: AUTH PLAIN ${Buffer.from(`\0anna@example.test\0${password}`).toString('base64')}
        S: 235 *
      `)
      await send(client, 'anna@example.test', 'zoe@else.test')
    }
    await using client = await greeted(rig)
    await send(client, 'eve@evil.test', 'forward@example.test')
    await send(client, 'eve@evil.test', 'carl@gate.test')
    await out.received(3)
    expect(out.messages.flatMap(({ to }) => to).sort()).toEqual(['carl@gate.test', 'zoe@else.test', 'zoe@else.test'])
  })
})
