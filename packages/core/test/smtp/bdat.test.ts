import { expect, test } from 'vitest'
import { Rig, reply } from './rig.ts'

const open = `
  S: 220 *
  C: EHLO client.example.test
  C: MAIL FROM:<a@example.test>
  C: RCPT TO:<b@example.test>
  S: 250 ...
  S: 250 2.1.0 *
  S: 250 2.1.5 *
`

async function ready(rig: Rig) {
  const client = await rig.connect()
  await client.speak(open)
  return client
}

test('chunks, pipelined, with dots and what looks like commands in them', async () => {
  await using rig = await Rig.start()
  await using client = await ready(rig)
  const first = 'Subject: x\r\n\r\n.\r\nQUIT\r\n'
  const second = 'no line end'
  client.send(`BDAT ${first.length}\r\n${first}BDAT ${second.length} LAST\r\n${second}NOOP\r\n`)
  await client.speak(`
    S: 250 2.0.0 ${first.length} octets received
    S: 250 2.0.0 Queued
    S: 250 2.0.0 OK
  `)
  expect(rig.pipeline.kept).toEqual([first + second])
})

test('BDAT 0 LAST closes, also a message without an octet', async () => {
  await using rig = await Rig.start()
  await using client = await ready(rig)
  client.send('BDAT 3\r\na\r\nBDAT 0 LAST\r\n')
  await client.speak(`
    S: 250 2.0.0 3 octets received
    S: 250 2.0.0 Queued
    C: MAIL FROM:<a@example.test>
    C: RCPT TO:<b@example.test>
    C: bdat 0 last
    C: BDAT 0 LAST
    S: 250 *
    S: 250 *
    S: 250 2.0.0 Queued
    S: 503 5.5.1 Send MAIL first
  `)
  expect(rig.pipeline.kept).toEqual(['a\r\n', ''])
})

test('octets are swallowed where no BDAT was due', async () => {
  await using rig = await Rig.start({}, { script: { rcpt: () => reply(550, '5.1.1', 'No such user') } })
  await using client = await rig.connect()
  await client.speak('S: 220 *\nC: EHLO c\nS: 250 ...')
  client.send(
    'BDAT 6\r\nQUIT\r\nMAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n',
  )
  await client.speak(`
    S: 503 5.5.1 Send MAIL first
    S: 250 2.1.0 *
    S: 550 5.1.1 No such user
    S: 554 5.5.1 No valid recipients
    S: 250 2.0.0 OK
  `)
})

test('a refusal of the first chunk swallows it and those behind it', async () => {
  await using rig = await Rig.start({}, { script: { data: () => reply(451, '4.7.1', 'Greylisted') } })
  await using client = await ready(rig)
  client.send('BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n')
  await client.speak(`
    S: 451 4.7.1 Greylisted
    S: 503 5.5.1 Send MAIL first
    S: 250 2.0.0 OK
  `)
})

test('a bad chunk fails the message; later chunks find no transaction', async () => {
  await using rig = await Rig.start()
  await using client = await ready(rig)
  client.send('BDAT 3\r\na\nbBDAT 3\r\nabcBDAT 1 LAST\r\nxRSET\r\n')
  await client.speak(`
    S: 550 5.6.0 Bare LF in message, lines end with CRLF
    S: 503 5.5.1 Send MAIL first
    S: 503 5.5.1 Send MAIL first
    S: 250 2.0.0 OK
  `)
  expect(rig.pipeline.messages).toMatchObject([{ outcome: { code: 550 } }])
})

test('CR at the end of a chunk waits for the next one', async () => {
  await using rig = await Rig.start()
  await using client = await ready(rig)
  client.send('BDAT 2\r\na\rBDAT 2\r\n\nbBDAT 1 LAST\r\n\r')
  await client.speak(`
    S: 250 2.0.0 2 octets received
    S: 250 2.0.0 2 octets received
    S: 550 5.6.0 Bare CR in message, lines end with CRLF
  `)
  expect(rig.pipeline.kept).toEqual([])
})

test('RSET between chunks forgets them all', async () => {
  await using rig = await Rig.start()
  await using client = await ready(rig)
  client.send('BDAT 3\r\nabcRSET\r\nBDAT 3 LAST\r\nabc')
  await client.speak(`
    S: 250 2.0.0 3 octets received
    S: 250 2.0.0 OK
    S: 503 5.5.1 Send MAIL first
  `)
  expect(rig.pipeline.messages).toMatchObject([{ outcome: undefined }])
})

test('between chunks nothing else of a transaction may come', async () => {
  await using rig = await Rig.start()
  await using client = await ready(rig)
  client.send('BDAT 3\r\nabc')
  await client.speak(`
    S: 250 2.0.0 3 octets received
    C: RCPT TO:<c@example.test>
    S: 503 5.5.1 Bad sequence of commands
    C: DATA
    S: 503 5.5.1 DATA and BDAT cannot be mixed
    C: MAIL FROM:<a@example.test>
    S: 503 5.5.1 A transaction is open already
    C: NOOP
    S: 250 *
    C: BDAT 0 LAST
    S: 250 2.0.0 Queued
  `)
})

test('a BDAT whose size nobody can read ends the session', async () => {
  await using rig = await Rig.start()
  for (const bad of ['BDAT', 'BDAT x', 'BDAT -1', 'BDAT 1 FIRST', 'BDAT 1 LAST LAST', 'BDAT 9999999999999999']) {
    await using client = await ready(rig)
    client.send(`${bad}\r\nMAIL FROM:<smuggled@example.test>\r\n`)
    await client.speak('S: 501 5.5.4 Syntax: BDAT size [LAST]\nS: (closed)')
  }
})

test('too large: refused at the chunk, cut off where it is hopeless', async () => {
  await using rig = await Rig.start({ limits: { messageSize: 1000 } })
  await using client = await ready(rig)
  client.send(`BDAT 1001\r\n${'x'.repeat(1001)}`)
  await client.expect('552 5.3.4 *')
  await client.speak('C: BDAT 3000000\nS: 421 4.3.4 *\nS: (closed)')
  await using second = await ready(rig)
  await second.speak('C: BDAT 3000000 LAST\nS: 421 4.3.4 *\nS: (closed)')
  expect(rig.pipeline.kept).toEqual([])
})

test('BINARYMIME brings any octet, by BDAT only', async () => {
  await using rig = await Rig.start({ binarymime: true })
  await using client = await rig.connect()
  client.send('EHLO c\r\n')
  await client.expect('220 *')
  expect(await client.reply()).toContain('250-BINARYMIME')
  client.send(
    'MAIL FROM:<a@example.test> BODY=BINARYMIME\r\nRCPT TO:<b@example.test>\r\nDATA\r\nBDAT 8 LAST\r\na\0\nb\r\0\r.',
  )
  await client.speak(`
    S: 250 *
    S: 250 *
    S: 503 5.5.1 BODY=BINARYMIME needs BDAT
    S: 250 2.0.0 Queued
  `)
  expect(rig.pipeline.kept).toEqual(['a\0\nb\r\0\r.'])
})

test('normalised BDAT ends its last line', async () => {
  await using rig = await Rig.start({ bareNewlines: 'normalise' })
  await using client = await ready(rig)
  client.send('BDAT 4\r\na\nb\rBDAT 0 LAST\r\n')
  await client.speak('S: 250 *\nS: 250 2.0.0 Queued')
  expect(rig.pipeline.kept).toEqual(['a\r\nb\r\n'])
})

test('hang-up between and in chunks: nothing is kept', async () => {
  await using rig = await Rig.start()
  for (const words of ['BDAT 3\r\nabc', 'BDAT 30 LAST\r\nabc']) {
    await using client = await ready(rig)
    await client.sent(Buffer.from(words))
    while (rig.pipeline.messages.length === 0) await rig.clock.settle()
    client.close()
    await rig.closed()
  }
  expect(rig.pipeline.kept).toEqual([])
})
