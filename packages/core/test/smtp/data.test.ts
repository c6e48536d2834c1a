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
const again = `
  C: MAIL FROM:<a@example.test>
  C: RCPT TO:<b@example.test>
  S: 250 *
  S: 250 *
`

test('a refusal before 354 ends the transaction', async () => {
  await using rig = await Rig.start({}, { script: { data: () => reply(451, '4.7.1', 'Greylisted') } })
  await using client = await rig.connect()
  await client.speak(`
    ${open}
    C: DATA
    S: 451 4.7.1 Greylisted
    C: RCPT TO:<b@example.test>
    S: 503 5.5.1 *
  `)
})

test.each([
  ['bare LF', 'a\nb', '550 5.6.0 Bare LF in message, lines end with CRLF'],
  ['bare CR', 'a\rb', '550 5.6.0 Bare CR in message, lines end with CRLF'],
  ['NUL', 'a\0b', '550 5.6.0 NUL in message'],
])('%s: read to the end, refused, nothing kept, the session goes on', async (_, bad, answer) => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak(open)
  client.send('DATA\r\n')
  await client.expect('354 *')
  client.send(`Subject: x\r\n\r\n${bad}\r\n`)
  client.send('more\r\n.\r\nNOOP\r\n')
  await client.expect(answer)
  await client.expect('250 2.0.0 OK')
  expect(rig.pipeline.messages.map(({ outcome }) => outcome)).toEqual([expect.objectContaining({ code: 550 })])
  await client.speak(`
    ${again}
    C: DATA
    S: 354 *
    C: .
    S: 250 2.0.0 Queued
  `)
  expect(rig.pipeline.kept).toEqual([''])
})

test('normalising listeners take bare LF and CR, and keep CRLF', async () => {
  await using rig = await Rig.start({ bareNewlines: 'normalise' })
  await using client = await rig.connect()
  await client.speak(open)
  client.send('DATA\n')
  await client.expect('354 *')
  client.send('Subject: x\n\na\rb\n.\n\r\n.\r\n')
  await client.expect('250 *')
  expect(rig.pipeline.kept).toEqual(['Subject: x\r\n\r\na\r\nb\r\n.\r\n\r\n'])
})

test('the first write holds the whole header, however it came', async () => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak(open)
  client.send('DATA\r\n')
  await client.expect('354 *')
  const header = 'Subject: a long one\r\n folded\r\nFrom: a@example.test\r\n\r\n'
  for (const octet of header) await client.sent(Buffer.from(octet))
  client.send('body\r\n.\r\n')
  await client.expect('250 *')
  expect(rig.pipeline.kept).toEqual([`${header}body\r\n`])
  expect(rig.pipeline.messages[0]?.writes[0]).toBeGreaterThanOrEqual(header.length)
})

test('a message that is all header, and one that is nothing', async () => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak(`
    ${open}
    C: DATA
    S: 354 *
    C: Subject: x
    C: .
    S: 250 *
    ${again}
    C: DATA
    S: 354 *
    C: .
    S: 250 *
  `)
  expect(rig.pipeline.kept).toEqual(['Subject: x\r\n', ''])
})

test.each([
  ['octets', `Subject: ${'x'.repeat(70_000)}\r\n`],
  ['folds', `Subject: x\r\n${' y\r\n'.repeat(600)}`],
  ['fields', 'A: b\r\n'.repeat(101)],
])('a header over its limit of %s reaches nobody', async (_, header) => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak(open)
  client.send('DATA\r\n')
  await client.expect('354 *')
  client.send(`${header}\r\nbody\r\n.\r\n`)
  await client.expect('552 5.3.4 Message header too large')
  expect(rig.pipeline.messages).toMatchObject([{ body: '', outcome: { code: 552 } }])
})

test('a message over the size is refused at its end, one far over is cut off', async () => {
  await using rig = await Rig.start({ limits: { messageSize: 100_000 } })
  await using client = await rig.connect()
  await client.speak(open)
  client.send('DATA\r\n')
  await client.expect('354 *')
  client.send(`Subject: x\r\n\r\n${`${'x'.repeat(98)}\r\n`.repeat(1100)}.\r\n`)
  await client.expect('552 5.3.4 Message too large')
  await client.speak(again)
  client.send('DATA\r\n')
  await client.expect('354 *')
  client.send(`Subject: x\r\n\r\n${`${'x'.repeat(98)}\r\n`.repeat(13_000)}`)
  await client.expect('421 4.3.4 Message far too large, closing')
  await client.expect('(closed)')
  await rig.closed()
  expect(rig.pipeline.kept).toEqual([])
})

test('a slow sink stops the client, and octets in memory are counted', async () => {
  let release: (() => void) | undefined
  await using rig = await Rig.start(
    { limits: { messageSize: 100_000_000 } },
    {
      script: {
        write: () =>
          new Promise<void>(resolve => {
            release = resolve
          }),
      },
    },
  )
  await using client = await rig.connect()
  await client.speak(open)
  client.send('DATA\r\n')
  await client.expect('354 *')
  client.send('Subject: x\r\n\r\n')
  let written = 0
  const block = Buffer.from(`${'x'.repeat(98)}\r\n`.repeat(5000))
  const pump = () =>
    client.socket.write(block, () => {
      written += block.length
      if (written < 100 * block.length) pump()
    })
  pump()
  let before = -1
  for (let still = 0; still < 30; still = written === before ? still + 1 : 0) {
    before = written
    await rig.clock.settle()
  }
  expect(written).toBeLessThan(30_000_000)
  expect(rig.set.inflight).toBeGreaterThan(0)
  rig.pipeline.script = {}
  release?.()
  client.close()
  await rig.closed()
  expect(rig.pipeline.kept).toEqual([])
  expect(rig.set.inflight).toBe(0)
})

test('hang-up while the sink writes: it is told when the write comes back', async () => {
  let release: (() => void) | undefined
  const script = { write: () => new Promise<void>(resolve => (release = resolve)) }
  await using rig = await Rig.start({}, { script })
  await using client = await rig.connect()
  await client.speak(open)
  await client.speak('C: DATA\nS: 354 *\nC: Subject: x\nC:')
  while (release === undefined) await rig.clock.settle()
  client.socket.resetAndDestroy()
  await rig.closed()
  expect(rig.pipeline.messages[0]?.outcome).toBe('open')
  release()
  await rig.clock.settle()
  expect(rig.pipeline.messages[0]?.outcome).toBeUndefined()
  expect(rig.set.inflight).toBe(0)
})

test('over the budget of octets in memory, sockets wait, and go on by turns', async () => {
  const ends: (() => void)[] = []
  await using rig = await Rig.start(
    {},
    {
      config: { body: { memory: 10_000, inflight: 15_000, deadline: 240_000 } },
      script: { end: () => new Promise(resolve => ends.push(() => resolve(reply(250, '2.0.0', 'Queued')))) },
    },
  )
  const body = `Subject: x\r\n\r\n${`${'x'.repeat(98)}\r\n`.repeat(90)}.\r\n`
  const clients = await Promise.all([rig.connect(), rig.connect(), rig.connect()])
  for (const client of clients) {
    await client.speak(open)
    await client.speak('C: DATA\nS: 354 *')
    client.send(body)
    await rig.clock.settle()
  }
  for (let turn = 0; turn < 50 && ends.length < 1; turn++) await rig.clock.settle()
  expect(ends).toHaveLength(1)
  // The others hold octets too; without a turn they would wait for each other.
  await rig.clock.advance(1000)
  for (let turn = 0; turn < 50 && ends.length < 3; turn++) await rig.clock.settle()
  expect(ends).toHaveLength(3)
  for (const end of ends) end()
  for (const client of clients) {
    await client.expect('250 2.0.0 Queued')
    client.close()
  }
  expect(rig.set.inflight).toBe(0)
})

test('hang-up in the middle of a message: nothing of it is kept', async () => {
  await using rig = await Rig.start()
  for (const half of [false, true]) {
    await using client = await rig.connect()
    await client.speak(open)
    await client.speak('C: DATA\nS: 354 *\nC: Subject: x\nC:\nC: half a')
    if (half) client.socket.end()
    else client.close()
    await rig.closed()
  }
  expect(rig.pipeline.kept).toEqual([])
  for (const { outcome } of rig.pipeline.messages) expect(outcome).toBeUndefined()
})
