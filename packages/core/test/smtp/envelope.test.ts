import { expect, test } from 'vitest'
import { type ListenerOptions, Rig } from './rig.ts'

const hello = `
  S: 220 *
  C: EHLO client.example.test
  S: 250 ...
`

test('addresses come through as they were written', async () => {
  await using rig = await Rig.start({}, {})
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: MAIL FROM:<"a b"@Example.TEST>
    S: 250 *
    C: RCPT TO:<Postmaster>
    S: 250 *
    C: RCPT TO:<u@a_b.test>
    S: 250 *
    C: RCPT TO:<u@[192.0.2.1]>
    S: 250 *
    C: RCPT TO:<@relay.test:"x@y"@example.test>
    S: 250 *
    C: RCPT TO:<Bob@example.test>
    S: 250 *
    C: RCPT TO:<bob@example.test>
    S: 250 *
    C: RCPT TO: <spaced@example.test>
    S: 250 *
    C: DATA
    S: 354 *
    C: .
    S: 250 *
  `)
  const [message] = rig.pipeline.messages
  expect(message?.from).toEqual({ local: 'a b', domain: 'example.test', raw: '"a b"@Example.TEST' })
  expect(message?.to.map(({ mailbox }) => `${mailbox.local} at ${mailbox.domain}`)).toEqual([
    'Postmaster at ',
    'u at a_b.test',
    'u at [192.0.2.1]',
    'x@y at example.test',
    'Bob at example.test',
    'bob at example.test',
    'spaced at example.test',
  ])
})

test('SMTPUTF8: U-labels and UTF-8 local parts, only where it was said', async () => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: MAIL FROM:<jörg@bücher.example>
    S: 553 5.6.7 Non-ASCII address needs SMTPUTF8
    C: MAIL FROM:<jörg@bücher.example> SMTPUTF8
    S: 250 *
    C: RCPT TO:<дима@xn--bcher-kva.example>
    S: 250 *
    C: DATA
    S: 354 *
    C: .
    S: 250 *
    C: MAIL FROM:<a@example.test>
    S: 250 *
    C: RCPT TO:<jörg@bücher.example>
    S: 553 5.6.7 Non-ASCII address needs SMTPUTF8
  `)
  const [message] = rig.pipeline.messages
  expect(message?.from).toEqual({ local: 'jörg', domain: 'xn--bcher-kva.example', raw: 'jörg@bücher.example' })
  expect(message?.to[0]?.mailbox).toMatchObject({ local: 'дима', domain: 'xn--bcher-kva.example' })
})

test('parameters, and nothing of a refused MAIL in the next one', async () => {
  let refuse = true
  await using rig = await Rig.start(
    {},
    {
      script: {
        mail: () =>
          refuse ? { code: 451, enhanced: '4.7.1', lines: ['Later'] } : { code: 250, enhanced: '2.1.0', lines: ['OK'] },
      },
    },
  )
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: MAIL FROM:<a@example.test> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=x+2By SIZE=5
    S: 451 4.7.1 Later
  `)
  refuse = false
  await client.speak(`
    C: MAIL FROM:<>
    S: 250 *
    C: RCPT TO:<b@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+40example.test
    S: 250 *
    C: RCPT TO:<c@example.test>
    S: 250 *
    C: DATA
    S: 354 *
    C: .
    S: 250 *
  `)
  const [message] = rig.pipeline.messages
  expect(message?.from).toBeNull()
  expect(message?.params).toEqual({ smtputf8: false, requireTls: false, other: {} })
  expect(message?.to.map(({ params }) => params)).toEqual([
    { notify: ['success', 'delay'], orcpt: 'rfc822;B@example.test', other: {} },
    { other: {} },
  ])
})

test('what MAIL and RCPT refuse', async () => {
  await using rig = await Rig.start({ limits: { recipients: 2, errors: 100 } })
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: MAIL
    S: 501 5.5.4 Syntax: MAIL FROM:<address>
    C: MAIL TO:<a@example.test>
    S: 501 5.5.4 Syntax: MAIL FROM:<address>
    C: MAIL FROM:a@example.test
    S: 501 5.1.7 *
    C: MAIL FROM:<a@example.test
    S: 501 5.1.7 *
    C: MAIL FROM:<a@example.test> SIZE=1000001
    S: 552 5.3.4 Message too large
    C: MAIL FROM:<a@example.test> SIZE=many
    S: 501 5.5.4 *
    C: MAIL FROM:<a@example.test> SIZE=1 SIZE=1
    S: 501 5.5.4 *
    C: MAIL FROM:<a@example.test> MT-PRIORITY=3
    S: 555 5.5.4 Unsupported parameter
    C: MAIL FROM:<a@example.test> BODY=BINARYMIME
    S: 555 5.5.4 Unsupported parameter
    C: MAIL FROM:<a@example.test> REQUIRETLS
    S: 555 5.5.4 Unsupported parameter
    C: MAIL FROM:<a@example.test>
    S: 250 *
    C: MAIL FROM:<a@example.test>
    S: 503 5.5.1 A transaction is open already
    C: DATA
    S: 554 5.5.1 No valid recipients
    C: RCPT
    S: 501 5.5.4 Syntax: RCPT TO:<address>
    C: RCPT TO:<>
    S: 501 5.1.3 *
    C: RCPT TO:<b@>
    S: 501 5.1.3 *
    C: RCPT TO:<b@example.test> FOO=BAR
    S: 555 5.5.4 Unsupported parameter
    C: RCPT TO:<b@example.test> NOTIFY=NEVER,SUCCESS
    S: 501 5.5.4 *
    C: RCPT TO:<b@example.test>
    S: 250 *
    C: RCPT TO:<b@example.test>
    S: 250 *
    C: RCPT TO:<b@example.test>
    S: 452 4.5.3 Too many recipients
    C: DATA now
    S: 501 5.5.4 No argument allowed
    C: RSET
    S: 250 *
    C: RCPT TO:<b@example.test>
    S: 503 5.5.1 Send MAIL first
  `)
})

test('REQUIRETLS where it can be honoured, and only over TLS', async () => {
  await using rig = await Rig.start({}, { set: { requireTls: () => true } })
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: MAIL FROM:<a@example.test> REQUIRETLS
    S: 530 5.7.10 *
  `)
})

test('MT-PRIORITY counts from those who logged in, or from all, as the operator says', async () => {
  const given = async (options: ListenerOptions, transcript: string, user?: string) => {
    await using rig = await Rig.start(options)
    await using client = await rig.connect()
    await client.speak(hello)
    if (user !== undefined) await client.speak(`C: AUTH PLAIN ${btoa(`\0${user}\0x`)}\nS: 235 *`)
    await client.speak(transcript)
    client.send('RCPT TO:<b@example.test>\r\nDATA\r\n.\r\nEHLO again\r\n')
    for (const code of ['250', '354', '250']) await client.expect(`${code} *`)
    const offered = (await client.reply()).some(line => line.endsWith('MT-PRIORITY'))
    return [offered, rig.pipeline.messages[0]?.params.other]
  }
  const urgent = 'C: MAIL FROM:<a@example.test> mt-priority=-4\nS: 250 *'
  const auth = { auth: 'optional', insecureAuth: true } as const
  expect(await given(auth, urgent, 'anna')).toEqual([true, { 'MT-PRIORITY': '-4' }])
  expect(await given(auth, urgent)).toEqual([true, {}])
  expect(await given({ priorities: 'all' }, urgent)).toEqual([true, { 'MT-PRIORITY': '-4' }])
  const refused = (value: string, code: string) => `
    C: MAIL FROM:<a@example.test> MT-PRIORITY${value}
    S: ${code} 5.5.4 *
    C: MAIL FROM:<a@example.test>
    S: 250 *
  `
  expect(await given({ ...auth, priorities: 'off' }, refused('=1', '555'))).toEqual([false, {}])
  for (const value of ['', '=10', '=+1', '=-0', '=high']) {
    expect(await given({ priorities: 'all' }, refused(value, '501'))).toEqual([true, {}])
  }
})
