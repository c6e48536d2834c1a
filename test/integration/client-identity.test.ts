// Who the client is said to be: by XCLIENT, by a PROXY header, by a login; and who is believed.
import { hashPassword } from '@posthorn/core'
import { SmtpPeer } from '@posthorn/testing'
import { describe, expect, test } from 'vitest'
import { greeted, Rig, type RigConfig, send } from './rig.ts'
import { who } from './who.ts'

const home = ['storage-level', { domains: { domains: ['example.test'] } }, 'maildir']
const plain = { listen: '127.0.0.1:0', tls: 'none' } as const

describe('who the client is', () => {
  const asked = (config: RigConfig) =>
    Rig.start({ plugins: ['./who.ts', ...home], ...config }, { files: { 'who.ts': who } })
  const head = async (rig: Rig) => String((await rig.delivered('anna@example.test', 1))[0])

  test('XCLIENT from a trusted network is believed, once', async () => {
    await using rig = await asked({ trust: { xclient: ['127.0.0.0/8'] } })
    await using client = await greeted(rig)
    await client.speak(`
      C: XCLIENT ADDR=192.0.2.7 NAME=Far.Client.Test PORT=4711 LOGIN=carol
      S: 220 *
      C: XCLIENT ADDR=192.0.2.8
      S: 550 *
      C: EHLO said.client.test
      S: 250 ...
    `)
    expect(client.dialogue.join('\n')).toMatch(/XCLIENT NAME/)
    await send(client, 'bob@client.test', 'anna@example.test')
    const text = await head(rig)
    expect(text).toContain('X-Who: 192.0.2.7 far.client.test xclient said.client.test carol\r\n')
    expect(text).toMatch(/^Received: from said\.client\.test \(far\.client\.test \[192\.0\.2\.7\]\)\r\n/m)
  })

  test('XCLIENT from anybody else is neither offered nor believed', async () => {
    await using rig = await asked({ trust: { xclient: ['192.0.2.0/24'] } })
    await using client = await greeted(rig)
    expect(client.dialogue.join('\n')).not.toContain('XCLIENT')
    await client.speak(`
      C: XCLIENT ADDR=192.0.2.7
      S: 550 5.7.1 *
    `)
    await send(client, 'bob@client.test', 'anna@example.test')
    expect(await head(rig)).toContain('X-Who: 127.0.0.1 - direct client.example.test -\r\n')
  })

  const version2 = Buffer.concat([
    Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24', 'latin1'),
    Buffer.from('20010db8000000000000000000000007', 'hex'),
    Buffer.from('20010db8000000000000000000000001', 'hex'),
    Buffer.from([0x12, 0x67, 0, 25]),
  ])

  test.each([
    ['1', Buffer.from('PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n'), '192.0.2.7', '[192.0.2.7]'],
    ['2', version2, '2001:db8::7', '[IPv6:2001:db8::7]'],
  ])('PROXY version %s tells it before the greeting', async (_, header, ip, literal) => {
    await using rig = await asked({ listeners: { mx: { ...plain, proxy: true } }, trust: { proxy: ['127.0.0.1/32'] } })
    await using client = await rig.connect()
    client.send(header)
    await client.speak(`
      S: 220 *
      C: EHLO said.client.test
      S: 250 ...
    `)
    await send(client, 'bob@client.test', 'anna@example.test')
    const text = await head(rig)
    expect(text).toContain(`X-Who: ${ip} - proxy said.client.test -\r\n`)
    expect(text).toContain(`Received: from said.client.test (${literal})\r\n`)
  })

  test('what is no PROXY header is closed without a word', async () => {
    await using rig = await asked({ listeners: { mx: { ...plain, proxy: true } }, trust: { proxy: ['127.0.0.1/32'] } })
    await using client = await rig.connect()
    await client.speak(`
      C: EHLO client.example.test
      S: (closed)
    `)
  })

  test('a user who logged in over TLS relays anywhere, as himself only', async () => {
    await using hop = await SmtpPeer.start()
    await using rig = await Rig.start({
      listeners: { submission: { listen: '127.0.0.1:0' } },
      plugins: [
        ...home,
        { users: { users: { 'anna@example.test': await hashPassword('secret') } } },
        { relay: { to: hop.address } },
      ],
    })
    await using client = await greeted(rig, 'submission')
    const plain = (password: string) => Buffer.from(`\0anna@example.test\0${password}`).toString('base64')
    await client.speak(`
      C: MAIL FROM:<anna@example.test>
      S: 530 5.7.0 *
      C: AUTH PLAIN ${plain('secret')}
      S: 538 5.7.11 *
      C: STARTTLS
      S: 220 2.0.0 *
    `)
    await client.startTls()
    await client.speak(`
      C: EHLO client.example.test
      S: 250 ...
      C: MAIL FROM:<anna@example.test>
      S: 530 5.7.0 *
      C: AUTH PLAIN ${plain('wrong')}
      S: 535 5.7.8 *
      C: AUTH PLAIN ${plain('secret')}
      S: 235 2.7.0 *
      C: MAIL FROM:<bert@example.test>
      S: 553 5.7.1 *
    `)
    await send(client, 'anna@example.test', 'anybody@anywhere.test')
    await hop.received(1)
    expect(String(hop.messages[0]?.bytes)).toContain(' with ESMTPSA ')
    expect(JSON.stringify(rig.log)).not.toMatch(/secret|wrong|c2VjcmV0/)
  })
})
