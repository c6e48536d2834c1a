// Who the server behind a gateway believes the client to be: XCLIENT and PROXY between two whole servers, XFORWARD to
// a scripted one. What one client was must never be said of another's mail.
import { SmtpPeer } from '@posthorn/testing'
import { describe, expect, test } from 'vitest'
import { greeted, Rig, send } from './rig.ts'
import { who } from './who.ts'

const plain = { listen: '127.0.0.1:0', tls: 'none' } as const

/** A server behind that believes this machine, and a gateway to it that does too, so that the test can be anybody. */
async function pair(forward: 'xclient' | 'proxy', by: 'relay' | 'passthrough' = 'relay') {
  const inner = await Rig.start(
    {
      listeners: { mx: { ...plain, proxy: forward === 'proxy' } },
      trust: { [forward]: ['127.0.0.0/8'] },
      plugins: ['storage-level', './who.ts', { domains: { domains: ['example.test'] } }, 'maildir'],
    },
    { files: { 'who.ts': who } },
  )
  const gateway = await Rig.start({
    listeners: { mx: plain },
    trust: { xclient: ['127.0.0.0/8'] },
    plugins: [
      'storage-level',
      { [by]: { to: `127.0.0.1:${inner.port()}`, domains: ['example.test'], forward, connections: 2 } },
    ],
  })
  return {
    inner,
    gateway,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]()
      await inner[Symbol.asyncDispose]()
    },
  }
}

const body = (text: string) => `Subject: ${text}\r\n\r\nhello\r\n`

/** What each message's subject says against what the server behind wrote down. */
const seen = (messages: readonly Buffer[]) =>
  messages
    .map(String)
    .map(text => [/^Subject: (.*)\r$/m.exec(text)?.[1], /^X-Who: (.*)\r$/m.exec(text)?.[1]] as const)
    .sort(([a = ''], [b = '']) => (a < b ? -1 : 1))

describe('the server behind sees the client', () => {
  test.each([
    ['xclient', 'relay'],
    ['proxy', 'relay'],
    ['xclient', 'passthrough'],
    ['proxy', 'passthrough'],
  ] as const)('by %s of %s, each its own, over however many connections', async (forward, by) => {
    await using servers = await pair(forward, by)
    const { gateway, inner } = servers
    const ips = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '198.51.100.7']
    await Promise.all(
      ips.map(async (ip, nth) => {
        await using client = await greeted(gateway)
        const login = nth === 3 && forward === 'xclient' ? ' LOGIN=carol' : ''
        await client.speak(`
          C: XCLIENT ADDR=${ip} PORT=4711 NAME=c${nth}.client.test DESTADDR=203.0.113.1 DESTPORT=25${login}
          S: 220 *
          C: EHLO said.test
          S: 250 ...
        `)
        for (let i = 0; i < 4; i++) await send(client, 'bob@client.test', 'anna@example.test', body(`${ip}${login}`))
      }),
    )
    await using plain = await greeted(gateway)
    await send(plain, 'bob@client.test', 'anna@example.test', body('127.0.0.1'))
    const found = seen(await inner.delivered('anna@example.test', 17))
    expect(found).toHaveLength(17)
    for (const [ip = '', said = ''] of found) {
      const [real, login] = ip.split(' ')
      expect(said.split(' ')[0]).toBe(real)
      expect(said.split(' ').at(-1)).toBe(login === undefined ? '-' : 'carol')
    }
  })

  test('our own reports are nobody else’s', async () => {
    await using servers = await pair('proxy')
    const { gateway, inner } = servers
    await inner.reload({
      plugins: ['storage-level', './who.ts', { domains: { domains: { 'example.test': ['anna'] } } }, 'maildir'],
    })
    await using client = await greeted(gateway)
    await client.speak(`
      C: XCLIENT ADDR=192.0.2.9 PORT=4711 DESTADDR=203.0.113.1 DESTPORT=25
      S: 220 *
      C: EHLO said.test
      S: 250 ...
    `)
    await send(client, 'anna@example.test', 'nobody@example.test', body('lost'))
    const [report = ''] = (await inner.delivered('anna@example.test', 1)).map(String)
    expect(report).toMatch(/^X-Who: 127\.0\.0\.1 /m)
    expect(report).toContain('192.0.2.9')
  })

  test('by XFORWARD, said again for each message', async () => {
    await using hop = await SmtpPeer.start({ offer: ['PIPELINING', 'XFORWARD NAME ADDR HELO'] })
    await using gateway = await Rig.start({
      listeners: { mx: plain },
      plugins: ['storage-level', { relay: { to: hop.address, domains: ['example.test'], forward: 'xforward' } }],
    })
    await using client = await greeted(gateway)
    for (const _ of [1, 2]) await send(client, 'bob@client.test', 'anna@example.test')
    await hop.received(2)
    const said = hop.commands.filter(line => line.startsWith('XFORWARD'))
    expect(said).toHaveLength(2)
    expect(said[0]).toBe('XFORWARD NAME=[UNAVAILABLE] ADDR=127.0.0.1 HELO=client.example.test')
  })

  test('who does not offer it is told nothing, and gets the mail', async () => {
    await using hop = await SmtpPeer.start()
    await using gateway = await Rig.start({
      listeners: { mx: plain },
      plugins: ['storage-level', { relay: { to: hop.address, domains: ['example.test'], forward: 'xclient' } }],
    })
    await using client = await greeted(gateway)
    await send(client, 'bob@client.test', 'anna@example.test')
    await hop.received(1)
    expect(hop.commands.join('\n')).not.toContain('XCLIENT')
  })
})
