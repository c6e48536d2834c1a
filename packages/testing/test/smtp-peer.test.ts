import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { expiredCertificate, SmtpPeer, SmtpScript, testCa } from '../src/index.ts'

const to = (peer: SmtpPeer) => SmtpScript.connect(peer.path === '' ? { port: peer.port } : { path: peer.path })

test('takes a message, dots unstuffed, and remembers what was said', async () => {
  await using peer = await SmtpPeer.start()
  await using client = await to(peer)
  await client.speak(String.raw`
    S: 220 *
    C: EHLO client.example.test
    S: 250-peer.example.test
    S: 250 ...
    C: MAIL FROM:<a@example.test> SIZE=30
    C: RCPT TO:<b@example.test> NOTIFY=NEVER
    C: RCPT TO:<"c d"@example.test>
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 250 2.1.5 *
    S: 354 *
    C: ..
    C: ...two
    C: \xe9
    C: .
    S: 250 2.0.0 *
    C: QUIT
    S: 221 *
    S: (closed)
  `)
  const bytes = Buffer.from('.\r\n..two\r\n\xe9\r\n', 'latin1')
  expect(peer.messages).toEqual([
    {
      session: 1,
      from: 'a@example.test',
      to: ['b@example.test', '"c d"@example.test'],
      mailLine: 'MAIL FROM:<a@example.test> SIZE=30',
      rcptLines: ['RCPT TO:<b@example.test> NOTIFY=NEVER', 'RCPT TO:<"c d"@example.test>'],
      via: 'data',
      size: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      bytes,
      tls: false,
    },
  ])
  expect(peer.dialogues[0]?.at(-1)).toBe('S: 221 2.0.0 bye')
})

test('takes chunks by count, and swallows those that it refuses', async () => {
  await using peer = await SmtpPeer.start()
  await using client = await to(peer)
  await client.speak(String.raw`
    S: 220 *
    C: EHLO client.example.test
    S: 250 ...
    C: MAIL FROM:<>
    C: BDAT 6 LAST
    C: DATA
    S: 250 *
    S: 503 *
    C: RCPT TO:<b@example.test>
    S: 250 *
    C: BDAT 4
    C: \0.
    C: BDAT 0 LAST
    S: 250 2.0.0 4 octets
    S: 250 *
  `)
  expect(peer.messages.map(({ bytes, via, from }) => [via, from, bytes?.toString('latin1')])).toEqual([
    ['bdat', '', '\0.\r\n'],
  ])
})

test('the octets of DATA mean the same however they are cut', async () => {
  const stuffed = '..a\r\n.b\r\n\r\n..\r\n\r\n.\r\n'
  for (let cut = 1; cut < stuffed.length; cut++) {
    await using peer = await SmtpPeer.start()
    await using client = await to(peer)
    await client.speak(
      'C: EHLO x\nC: MAIL FROM:<>\nC: RCPT TO:<b@x.test>\nC: DATA\nS: 220 *\nS: 250 ...\nS: 250 *\nS: 250 *\nS: 354 *',
    )
    await client.sent(Buffer.from(stuffed.slice(0, cut)))
    await new Promise(resolve => setImmediate(resolve))
    client.send(stuffed.slice(cut))
    await client.speak('S: 250 *')
    expect(peer.messages[0]?.bytes?.toString()).toBe('.a\r\nb\r\n\r\n.\r\n\r\n')
  }
})

test('an empty body', async () => {
  await using peer = await SmtpPeer.start()
  await using client = await to(peer)
  await client.speak(
    'C: HELO x\nC: MAIL FROM:<>\nC: RCPT TO:<b@x.test>\nC: DATA\nC: .\nS: 220 *\nS: 250 *\nS: 250 *\nS: 250 *\nS: 354 *\nS: 250 *',
  )
  expect(peer.messages[0]?.size).toBe(0)
})

test.each(['\n.\n', '\r\n.\n', '\n.\r\n', '\r.\r'])(
  'a lenient peer is fooled by %j, a strict one is not',
  async end => {
    const send = `MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n`
    for (const [endOfData, count] of [
      ['lenient', 2],
      ['strict', 1],
    ] as const) {
      await using peer = await SmtpPeer.start({ endOfData })
      await using client = await to(peer)
      client.send(`EHLO x\r\n${send}one${end}${send}two\r\n.\r\nQUIT\r\n`)
      await peer.until(({ open, connections }) => connections > 0 && open === 0)
      expect(peer.count).toBe(count)
    }
  },
)

test('LMTP answers each recipient', async () => {
  await using peer = await SmtpPeer.start({
    lmtp: true,
    unix: true,
    on: { dot: ({ recipient }) => (recipient === 'c@x.test' ? '452 4.2.2 full' : undefined) },
  })
  await using client = await to(peer)
  await client.speak(`
    S: 220 *
    C: EHLO x
    S: 500 *
    C: LHLO x
    S: 250 ...
    C: MAIL FROM:<>
    C: RCPT TO:<b@x.test>
    C: RCPT TO:<c@x.test>
    C: RCPT TO:<b@x.test>
    C: DATA
    S: 250 *
    S: 250 *
    S: 250 *
    S: 250 *
    S: 354 *
    C: hello
    C: .
    S: 250 *
    S: 452 4.2.2 full
    S: 250 *
  `)
  expect(peer.messages[0]?.to).toEqual(['b@x.test', 'b@x.test'])
})

test('the script decides at each step', async () => {
  await using peer = await SmtpPeer.start({
    bytewise: true,
    on: {
      mail: ({ nth }) => (nth === 1 ? '451-4.3.0 not\n451 4.3.0 now' : undefined),
      rcpt: ({ line }) => (line.includes('bad') ? '550 5.1.1 no' : undefined),
      dot: 'cut',
    },
  })
  await using client = await to(peer)
  await client.speak(`
    S: 220 *
    C: EHLO x
    S: 250 ...
    C: MAIL FROM:<a@x.test>
    S: 451-4.3.0 not
    S: 451 4.3.0 now
    C: MAIL FROM:<a@x.test>
    C: RCPT TO:<bad@x.test>
    C: RCPT TO:<good@x.test>
    C: DATA
    S: 250 *
    S: 550 5.1.1 no
    S: 250 *
    S: 354 *
    C: .
    S: (closed)
  `)
  expect(peer.count).toBe(0)
  peer.on = { connect: { raw: '220 half a gree', end: 'cut' } }
  await using other = await to(peer)
  await other.speak('S: (closed)')
})

test('cuts at an octet', async () => {
  await using output = await SmtpPeer.start({ cutAfterOutput: 4 })
  await using a = await to(output)
  await a.speak('S: (closed)')
  await using input = await SmtpPeer.start({ cutAfterInput: 10 })
  await using b = await to(input)
  await b.speak('S: 220 *\nC: NOOP\nS: 250 *\nC: NOOP\nS: (closed)')
})

test('STARTTLS and AUTH', async () => {
  await using peer = await SmtpPeer.start({ tls: 'starttls', users: { anna: 'secret' } })
  await using client = await to(peer)
  await client.speak('S: 220 *\nC: EHLO x\nS: 250 ...\nC: STARTTLS\nS: 220 *')
  await client.startTls({ ca: testCa, rejectUnauthorized: true, servername: 'localhost' })
  await client.speak(`
    C: EHLO x
    S: 250 ...
    C: AUTH PLAIN ${Buffer.from('\0anna\0wrong').toString('base64')}
    S: 535 *
    C: AUTH LOGIN
    S: 334 *
    C: ${Buffer.from('anna').toString('base64')}
    S: 334 *
    C: ${Buffer.from('secret').toString('base64')}
    S: 235 *
    C: MAIL FROM:<>
    C: RCPT TO:<b@x.test>
    C: BDAT 0 LAST
    S: 250 *
    S: 250 *
    S: 250 *
  `)
  expect(peer.messages[0]).toMatchObject({ tls: true, user: 'anna' })
})

test('certificates are as bad as they say', async () => {
  await using peer = await SmtpPeer.start({ tls: 'implicit', certificate: expiredCertificate })
  const failed = SmtpScript.connect({ port: peer.port, tls: { ca: testCa, servername: 'localhost' } })
  await expect(failed).rejects.toMatchObject({ code: 'CERT_HAS_EXPIRED' })
})

test('refuses connections while it does not listen', async () => {
  await using peer = await SmtpPeer.start()
  await peer.stopListening()
  await expect(to(peer)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  await peer.listen()
  await using client = await to(peer)
  await client.speak('S: 220 *')
})

test('a wrong answer fails with the dialogue', async () => {
  await using peer = await SmtpPeer.start()
  await using client = await to(peer)
  await expect(client.speak('S: 220 *\nC: NOOP\nS: 500 *')).rejects.toThrow('C: NOOP\n  S: 250 2.0.0 ok')
})

test('silence fails too', async () => {
  await using peer = await SmtpPeer.start({ on: { connect: 'stall' } })
  await using client = await SmtpScript.connect({ port: peer.port, patience: 20 })
  await expect(client.speak('S: 220 *')).rejects.toThrow('did not answer')
})
