// What a peer lacks: refused here, with the code of the RFC, before a command is spent; nothing is ever converted.
import { connect, type Mail } from '@posthorn/core/client'
import { SmtpPeer, testCa } from '@posthorn/testing'
import { expect, test } from 'vitest'
import { fates, hopTo, mail, to } from './sample.ts'

const big = (line: string) => `Subject: big\r\n\r\n${line.repeat(3000)}`
const eightBit = 'Subject: x\r\n\r\nGrüße\r\n'
const utf8Header = 'Subject: Grüße\r\n\r\nHello\r\n'

const all = ['PIPELINING', '8BITMIME', 'SMTPUTF8', 'SIZE 500000', 'CHUNKING', 'BINARYMIME']
const without = (...lacking: string[]) => all.filter(keyword => !lacking.includes(keyword.split(' ')[0] as string))

const utf8 = { smtputf8: true }
const cases: [what: string, offer: string[], message: ReturnType<typeof mail>, recipients: string[], fate: string[]][] =
  [
    ['8-bit content', all, mail(eightBit, { params: { body: '8bitmime' } }), ['b@x.test'], ['accepted']],
    [
      '8-bit content',
      without('8BITMIME'),
      mail(eightBit, { params: { body: '8bitmime' } }),
      ['b@x.test'],
      ['unsent 5.6.3'],
    ],
    ['8-bit content that nobody declared', without('8BITMIME'), mail(eightBit), ['b@x.test'], ['unsent 5.6.3']],
    ['large 8-bit content', without('8BITMIME'), mail(big(`${'ä'.repeat(30)}\r\n`)), ['b@x.test'], ['unsent 5.6.3']],
    [
      '8BITMIME declared for what is ASCII',
      without('8BITMIME'),
      mail('a\r\n', { params: { body: '8bitmime' } }),
      ['b@x.test'],
      ['accepted'],
    ],
    ['large ASCII', without('8BITMIME'), mail(big(`${'a'.repeat(60)}\r\n`)), ['b@x.test'], ['accepted']],
    ['binary', all, mail('a\0\rb\n\r', { params: { body: 'binarymime' } }), ['b@x.test'], ['accepted']],
    ['binary', without('BINARYMIME'), mail('a\0', { params: { body: 'binarymime' } }), ['b@x.test'], ['unsent 5.6.3']],
    ['binary', without('CHUNKING'), mail('a\0', { params: { body: 'binarymime' } }), ['b@x.test'], ['unsent 5.6.3']],
    ['a UTF-8 recipient', all, mail(undefined, { params: utf8 }), ['bäb@x.test', 'c@x.test'], ['accepted', 'accepted']],
    [
      'a UTF-8 recipient',
      without('SMTPUTF8'),
      mail(undefined, { params: utf8 }),
      ['bäb@x.test', 'c@x.test'],
      ['unsent 5.6.7', 'accepted'],
    ],
    [
      'a UTF-8 sender',
      without('SMTPUTF8'),
      mail(undefined, { from: 'änna@x.test', params: utf8 }),
      ['c@x.test'],
      ['unsent 5.6.7'],
    ],
    ['a UTF-8 header', without('SMTPUTF8'), mail(utf8Header, { params: utf8 }), ['c@x.test'], ['unsent 5.6.9']],
    ['a UTF-8 header', all, mail(utf8Header, { params: utf8 }), ['c@x.test'], ['accepted']],
    [
      'SMTPUTF8 declared for what is ASCII',
      without('SMTPUTF8'),
      mail(undefined, { params: utf8 }),
      ['c@x.test'],
      ['accepted'],
    ],
    ['a U-label domain', without('SMTPUTF8'), mail(undefined, { params: utf8 }), ['c@bücher.example'], ['accepted']],
    ['more octets than SIZE', without('SIZE').concat('SIZE 10'), mail(), ['c@x.test'], ['unsent 5.3.4']],
    ['SIZE without a limit', without('SIZE').concat('SIZE 0'), mail(), ['c@x.test'], ['accepted']],
    [
      'REQUIRETLS without TLS',
      [...all, 'REQUIRETLS'],
      mail(undefined, { params: { requireTls: true } }),
      ['c@x.test'],
      ['unsent 5.7.30'],
    ],
  ]

test.each(cases)('%s, to a peer with %j', async (_what, offer, message, recipients, fate) => {
  await using peer = await SmtpPeer.start({ offer })
  const connection = await connect(hopTo(peer))
  expect(await fates(connection, message, to(...recipients))).toEqual(fate)
  if (fate.includes('accepted')) expect(peer.messages[0]?.bytes?.equals(message.octets)).toBe(true)
  else expect(peer.commands).toHaveLength(1)
  // Refusing costs nothing: the connection is as good as before.
  expect(await fates(connection, mail('.'.repeat(9)))).toEqual(['accepted'])
  connection.destroy()
})

test('says SMTPUTF8 and U-labels to a peer that understands, BODY where the content is 8-bit', async () => {
  await using peer = await SmtpPeer.start()
  const connection = await connect(hopTo(peer))
  await fates(connection, mail(eightBit, { from: 'änna@bücher.example', params: { smtputf8: true } }), to('b@x.test'))
  await fates(connection, mail(eightBit), to('b@bücher.example'))
  expect(peer.messages.map(({ mailLine, rcptLines }) => [mailLine, ...rcptLines])).toEqual([
    ['MAIL FROM:<änna@bücher.example> SIZE=23 BODY=8BITMIME SMTPUTF8', 'RCPT TO:<b@x.test>'],
    ['MAIL FROM:<anna@example.test> SIZE=23 BODY=8BITMIME', 'RCPT TO:<b@xn--bcher-kva.example>'],
  ])
  connection.destroy()
})

test('REQUIRETLS goes over a verified connection to a peer that offers it, and nowhere else', async () => {
  const message = mail(undefined, { params: { requireTls: true } })
  const offer = ['PIPELINING', 'REQUIRETLS']
  for (const [mode, offered, fate] of [
    ['verify', offer, 'accepted'],
    ['verify', ['PIPELINING'], 'unsent 5.7.30'],
    ['require', offer, 'unsent 5.7.30'],
  ] as const) {
    await using peer = await SmtpPeer.start({ offer: offered, tls: 'starttls' })
    const ca = mode === 'verify' ? { ca: testCa } : {}
    const connection = await connect(hopTo(peer, { tls: { mode, ...ca } }))
    expect(await fates(connection, message)).toEqual([fate])
    if (fate === 'accepted') expect(peer.messages[0]?.mailLine).toContain(' REQUIRETLS')
    connection.destroy()
  }
})

test('a large message is read before it is begun only where nobody looked at it', async () => {
  await using peer = await SmtpPeer.start({ offer: without('8BITMIME') })
  const connection = await connect(hopTo(peer))
  const opened = async (content: '7bit' | '8bit' | undefined) => {
    const message = mail(big('This one is longer than it looks.\r\n.dot\r\n'))
    let times = 0
    const open = () => {
      times++
      return message.open()
    }
    const fate = await fates(connection, { ...message, open, ...(content && { content }) })
    return [...fate, times]
  }
  expect(await opened(undefined)).toEqual(['accepted', 2])
  expect(await opened('7bit')).toEqual(['accepted', 1])
  // What lacks 8BITMIME is refused only what really has eight bits.
  expect(await opened('8bit')).toEqual(['accepted', 2])
  for (const message of peer.messages)
    expect(message.bytes?.equals(mail(big('This one is longer than it looks.\r\n.dot\r\n')).octets)).toBe(true)
  connection.destroy()
})

test('a small message that sits in memory is not opened, and goes out as it is', async () => {
  for (const offer of [all, without('CHUNKING')]) {
    await using peer = await SmtpPeer.start({ offer })
    const { octets, ...rest } = mail('Subject: x\r\n\r\n.dot\r\nend\r\n')
    const inMemory: Mail = {
      ...rest,
      content: '7bit',
      pieces: [octets.subarray(0, 14), octets.subarray(14)],
      open: () => {
        throw new Error('it was opened')
      },
    }
    const connection = await connect(hopTo(peer))
    expect(await fates(connection, inMemory)).toEqual(['accepted'])
    expect(peer.messages[0]?.bytes?.equals(octets)).toBe(true)
    expect(await fates(connection, { ...inMemory, size: octets.length + 1 })).toEqual(['unsent 4.3.0'])
    connection.destroy()
  }
})
