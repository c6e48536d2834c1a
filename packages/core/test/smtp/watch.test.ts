import { expect, test } from 'vitest'
import { Rig, reply } from './rig.ts'

const open = `
  S: 220 *
  C: EHLO client.example.test
  C: MAIL FROM:<a@example.test>
  C: RCPT TO:<b@example.test>
  C: DATA
  S: 250 ...
  S: 250 2.1.0 *
  S: 250 2.1.5 *
  S: 354 *
`

test('silence between commands', async () => {
  await using rig = await Rig.start({ limits: { idle: 60_000 } })
  await using client = await rig.connect()
  await client.speak('S: 220 *')
  await rig.clock.advance(50_000)
  await client.speak('C: NOOP\nS: 250 *')
  await rig.clock.advance(50_000)
  await client.speak('C: NOOP\nS: 250 *')
  await rig.clock.advance(62_000)
  await client.speak('S: 421 4.4.2 Timeout waiting for input\nS: (closed)')
})

test('silence in the middle of a line, of a message, of a chunk', async () => {
  await using rig = await Rig.start({ limits: { idle: 60_000, minRate: 0 } })
  for (const words of ['S: 220 *', `${open}C: Subject: x`, `${open}C: .\nS: 250 *`]) {
    await using client = await rig.connect()
    await client.speak(words)
    await client.sent(Buffer.from('NO'))
    await rig.clock.settle()
    await rig.clock.advance(63_000)
    await client.speak('S: 421 4.4.2 *\nS: (closed)')
  }
  await rig.closed()
  expect(rig.pipeline.messages.map(({ outcome }) => outcome)).toEqual([undefined, 'ended'])
})

test('while we owe an answer no clock runs', async () => {
  let answer: (() => void) | undefined
  const script = {
    end: () =>
      new Promise<ReturnType<typeof reply>>(resolve => (answer = () => resolve(reply(250, '2.0.0', 'Queued')))),
  }
  await using rig = await Rig.start({ limits: { idle: 60_000, dataTime: 60_000, session: 120_000 } }, { script })
  await using client = await rig.connect()
  await client.speak(`${open}C: .`)
  while (answer === undefined) await rig.clock.settle()
  await rig.clock.advance(500_000)
  answer()
  await client.speak('S: 250 2.0.0 Queued')
  // Then the session is too old.
  await rig.clock.advance(2000)
  await client.speak('S: 421 4.4.2 Session lasted too long\nS: (closed)')
})

test('a message that trickles is cut, one that is fast enough is not', async () => {
  await using rig = await Rig.start({ limits: { minRate: 100 } })
  await using slow = await rig.connect()
  await using steady = await rig.connect()
  await slow.speak(open)
  await steady.speak(open)
  for (let second = 0; second < 29; second++) {
    await steady.sent(Buffer.alloc(150, 'X-Line: y\r\n'.padEnd(15)))
    await slow.sent(Buffer.from('y'))
    await rig.clock.settle()
    await rig.clock.advance(1000)
  }
  expect(slow.closed).toBe(false)
  for (let second = 0; second < 4; second++) {
    await steady.sent(Buffer.alloc(150, 'X-Line: y\r\n'.padEnd(15)))
    await rig.clock.settle()
    await rig.clock.advance(1000)
  }
  await slow.speak('S: 421 4.4.2 Message came too slowly\nS: (closed)')
  expect(steady.closed).toBe(false)
})

test('a message may take only so long, chunks of BDAT together', async () => {
  await using rig = await Rig.start({ limits: { dataTime: 100_000, minRate: 0 } })
  await using client = await rig.connect()
  await client.speak(`
    S: 220 *
    C: EHLO client.example.test
    C: MAIL FROM:<a@example.test>
    C: RCPT TO:<b@example.test>
    S: 250 ...
    S: 250 *
    S: 250 *
  `)
  for (let chunk = 0; chunk < 3; chunk++) {
    client.send('BDAT 4\r\na')
    await rig.clock.settle()
    await rig.clock.advance(40_000)
    if (chunk < 2) client.send('\r\nb')
    if (chunk < 2) await client.expect('250 *')
  }
  await client.speak('S: 421 4.4.2 Message came too slowly\nS: (closed)')
})

test('a session of commands only lasts so long', async () => {
  await using rig = await Rig.start({ limits: { session: 100_000, idle: 60_000 } })
  await using client = await rig.connect()
  await client.speak('S: 220 *')
  await rig.clock.advance(50_000)
  await client.speak('C: NOOP\nS: 250 *')
  await rig.clock.advance(51_000)
  await client.speak('S: 421 4.4.2 Session lasted too long\nS: (closed)')
})

test('who was refused at connect has ten seconds', async () => {
  await using rig = await Rig.start({}, { script: { connect: () => reply(554, '5.7.1', 'No') } })
  await using client = await rig.connect()
  await client.speak('S: 554 *')
  await rig.clock.advance(12_000)
  await client.speak('S: 421 4.4.2 *\nS: (closed)')
})

test('a retired session ends between commands, an idle one at once', async () => {
  await using rig = await Rig.start()
  await using busy = await rig.connect()
  await using idle = await rig.connect()
  await busy.speak(open)
  await idle.speak('S: 220 *')
  rig.pipeline.script = { retired: true }
  await rig.clock.advance(2000)
  await idle.speak('S: 421 4.3.2 Service shutting down, try again\nS: (closed)')
  await busy.speak('C: Subject: x\nC: .\nS: 250 2.0.0 Queued\nS: 421 4.3.2 *\nS: (closed)')
})
