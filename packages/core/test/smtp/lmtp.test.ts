import { expect, test } from 'vitest'
import { Rig, reply } from './rig.ts'

const lmtp = { name: 'lmtp', role: 'lmtp' } as const
const open = `
  S: 220 mx.example.test LMTP
  C: LHLO client.example.test
  S: 250 ...
`

test('LHLO and nothing else', async () => {
  await using rig = await Rig.start(lmtp)
  await using client = await rig.connect()
  await client.speak(`
    S: 220 mx.example.test LMTP
    C: EHLO client.example.test
    S: 500 5.5.1 Not spoken here, use LHLO
    C: HELO client.example.test
    S: 500 5.5.1 Not spoken here, use LHLO
    C: MAIL FROM:<a@example.test>
    S: 503 5.5.1 Send LHLO first
    C: LHLO client.example.test
    S: 250-mx.example.test
    S: 250-PIPELINING
    S: 250-SIZE 1000000
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250-CHUNKING
    S: 250 LIMITS *
  `)
  expect(rig.pipeline.arrivals[0]).toMatchObject({ protocol: 'lmtp', listener: { role: 'lmtp' } })
})

test('one reply for each accepted RCPT, in order, repeats included', async () => {
  const verdicts: Record<string, ReturnType<typeof reply>> = {
    anna: reply(452, '4.2.2', 'Over quota'),
    bob: reply(250, '2.0.0', 'Delivered'),
    carl: reply(550, '5.7.1', 'Spam'),
  }
  await using rig = await Rig.start(lmtp, {
    script: {
      rcpt: to => (to.local === 'nobody' ? reply(550, '5.1.1', 'No such user') : reply(250, '2.1.5', 'OK')),
      end: ({ to }) => to.flatMap(({ mailbox }) => verdicts[mailbox.local] ?? []),
    },
  })
  await using client = await rig.connect()
  const transaction = `
    C: MAIL FROM:<a@example.test>
    C: RCPT TO:<anna@example.test>
    C: RCPT TO:<nobody@example.test>
    C: RCPT TO:<bob@example.test>
    C: RCPT TO:<carl@example.test>
    C: RCPT TO:<bob@example.test>
    S: 250 *
    S: 250 *
    S: 550 5.1.1 *
    S: 250 *
    S: 250 *
    S: 250 *
  `
  const answers = `
    S: 452 4.2.2 Over quota
    S: 250 2.0.0 Delivered
    S: 550 5.7.1 Spam
    S: 250 2.0.0 Delivered
    C: NOOP
    S: 250 2.0.0 OK
  `
  await client.speak(`${open}${transaction}C: DATA\nS: 354 *\nC: Subject: x\nC: .\n${answers}`)
  await client.speak(`${transaction}C: BDAT 0 LAST\n${answers}`)
})

test('a body that is refused is refused for each', async () => {
  await using rig = await Rig.start(lmtp)
  await using client = await rig.connect()
  const transaction = `
    C: MAIL FROM:<a@example.test>
    C: RCPT TO:<b@example.test>
    C: RCPT TO:<b@example.test>
    S: 250 *
    S: 250 *
    S: 250 *
  `
  await client.speak(`${open}${transaction}C: DATA\nS: 354 *`)
  client.send('a\nb\r\n.\r\n')
  await client.speak('S: 550 5.6.0 *\nS: 550 5.6.0 *')
  await client.speak(transaction)
  client.send('BDAT 3\r\na\nbBDAT 0 LAST\r\n')
  // Only the last chunk answers for each recipient.
  await client.speak('S: 550 5.6.0 *\nS: 503 5.5.1 *\nC: NOOP\nS: 250 *')
  await client.speak(transaction)
  client.send('BDAT 3 LAST\r\na\nb')
  await client.speak('S: 550 5.6.0 *\nS: 550 5.6.0 *\nC: NOOP\nS: 250 *')
})

test('too few replies are a fault of ours, and said as one', async () => {
  await using rig = await Rig.start(lmtp, { script: { end: () => [reply(250, '2.0.0', 'one')] } })
  await using client = await rig.connect()
  await client.speak(`
    ${open}
    C: MAIL FROM:<a@example.test>
    C: RCPT TO:<b@example.test>
    C: RCPT TO:<c@example.test>
    C: DATA
    S: 250 *
    S: 250 *
    S: 250 *
    S: 354 *
    C: .
    S: 421 4.3.0 Internal error, closing
    S: (closed)
  `)
  expect(rig.logged).toContainEqual(expect.objectContaining({ level: 'error' }))
})

test('refused recipients are no errors of an LMTP client', async () => {
  await using rig = await Rig.start(
    { ...lmtp, limits: { errors: 3 } },
    { script: { rcpt: () => reply(550, '5.1.1', 'No such user') } },
  )
  await using client = await rig.connect()
  await client.speak(`${open}C: MAIL FROM:<a@example.test>\nS: 250 *`)
  await client.speak('C: RCPT TO:<b@example.test>\nS: 550 5.1.1 *\n'.repeat(10))
})
