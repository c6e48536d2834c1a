// Every known way to make a server send mail for strangers, tried on a whole one that has a way out for all it accepts.
// What arrives at the way out was relayed.
import { hashPassword } from '@posthorn/core'
import { SmtpPeer } from '@posthorn/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { acceptedPaths } from './relay-tricks.ts'
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

const senders = ['<eve@evil.test>', '<>', '<anna@example.test>', '<postmaster@example.test>', '<zoe@gate.test>']

/** The paths that a listener accepted, of those that it should not. */
async function accepted(listener: string, from: string, prelude = '', hello = 'EHLO client.test'): Promise<string[]> {
  return acceptedPaths(rig, { listener, from, prelude, hello })
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

describe('a gateway that nobody told of relaying, in front of a server that trusts it', () => {
  const recipients = { domains: ['gate.test'], patterns: ['.*@gate\\.test'] }
  const callout = (to: string) => ({ domains: ['gate.test'], callout: { to, catchAll: false } })
  const table = (to: string) => [{ when: { recipient: 'gate.test' }, to, accept: true }]
  test.each<[string, (to: string) => readonly object[]]>([
    ['relay', to => [{ relay: { to, domains: ['gate.test'] } }]],
    ['passthrough', to => [{ passthrough: { to, domains: ['gate.test'] } }]],
    ['a call-out', to => [{ recipients: callout(to) }, { relay: { to } }]],
    ['patterns', to => [{ recipients }, { relay: { to } }]],
    ['a table', to => [{ routes: { table: table(to) } }]],
  ])('by %s: nothing leads elsewhere', async (_, plugins) => {
    await using behind = await SmtpPeer.start()
    await using gateway = await Rig.start({
      listeners: { mx: plain },
      plugins: ['storage-level', ...plugins(behind.address)] as never,
    })
    const accepted = await acceptedPaths(gateway, { listener: 'mx', from: '<eve@evil.test>' })
    // RFC 5321 §3.6.1: such a route is ignored, and not passed on.
    expect(accepted.filter(path => !path.startsWith('<@else.test:zoe@gate.test>'))).toEqual([])
    await using client = await greeted(gateway)
    await send(client, 'eve@evil.test', 'zoe@gate.test')
    await behind.received(1)
    const asked = new Set(behind.commands.filter(line => line.startsWith('RCPT')))
    expect([...asked]).toEqual(['RCPT TO:<zoe@gate.test>'])
  })
})
