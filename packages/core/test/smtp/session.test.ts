import { expect, test } from 'vitest'
import { Rig, reply } from './rig.ts'

const hello = `
  S: 220 *
  C: EHLO client.example.test
  S: 250 ...
`

test('a message from greeting to QUIT', async () => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak(`
    S: 220 mx.example.test ESMTP
    C: EHLO client.example.test
    S: 250-mx.example.test
    S: 250-PIPELINING
    S: 250-SIZE 1000000
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250-CHUNKING
    S: 250 LIMITS RCPTMAX=100 MAILMAX=1000
    C: MAIL FROM:<a@example.test> SIZE=20
    S: 250 2.1.0 Sender OK
    C: RCPT TO:<b@example.test>
    S: 250 2.1.5 Recipient OK
    C: DATA
    S: 354 End data with <CR><LF>.<CR><LF>
    C: Subject: hello
    C:
    C: ..two dots
    C: .
    S: 250 2.0.0 Queued
    C: QUIT
    S: 221 2.0.0 Bye
    S: (closed)
  `)
  expect(rig.pipeline.kept).toEqual(['Subject: hello\r\n\r\n.two dots\r\n'])
  await rig.closed()
  expect(rig.pipeline.calls).toEqual(['open', 'EHLO client.example.test', 'data', 'close'])
})

test('every command in its place', async () => {
  await using rig = await Rig.start({ banner: 'ready' })
  await using client = await rig.connect()
  await client.speak(`
    S: 220 mx.example.test ESMTP ready
    C: MAIL FROM:<a@example.test>
    S: 503 5.5.1 Send EHLO first
    C: HELO
    S: 501 5.5.4 Syntax: HELO name
    C: HELO two words
    S: 501 5.5.4 Invalid name
    C: helo client.example.test
    S: 250 mx.example.test
    C: RCPT TO:<b@example.test>
    S: 503 5.5.1 Send MAIL first
    C: DATA
    S: 503 5.5.1 Send MAIL first
    C: NOOP with words
    S: 250 2.0.0 OK
    C: RSET
    S: 250 2.0.0 OK
    C: RSET now
    S: 501 5.5.4 No argument allowed
    C: VRFY
    S: 501 5.5.4 Syntax: VRFY address
    C: VRFY postmaster
    S: 252 2.0.0 *
    C: EXPN list
    S: 502 5.5.1 Command not implemented
    C: HELP
    S: 214 2.0.0 *
    C: STARTTLS
    S: 502 5.5.1 Command not implemented
    C: AUTH PLAIN
    S: 502 5.5.1 Command not implemented
    C: XCLIENT ADDR=192.0.2.1
    S: 550 5.7.1 Not allowed
    C: LHLO client.example.test
    S: 500 5.5.1 Not spoken here, use EHLO
    C: WIZ
    S: 500 5.5.1 Command not recognised
    C: XFORWARD ADDR=192.0.2.1
    S: 500 5.5.1 Command not recognised
    C: QUIT now
    S: 501 5.5.4 No argument allowed
    C: QUIT
    S: 221 2.0.0 Bye
    S: (closed)
  `)
})

test('pipelined commands are answered in order and in one packet', async () => {
  await using rig = await Rig.start(
    {},
    { script: { rcpt: to => (to.local === 'no' ? reply(550, '5.1.1', 'No such user') : reply(250, '2.1.5', 'OK')) } },
  )
  await using client = await rig.connect()
  await client.speak(hello)
  const packets: string[] = []
  client.socket.on('data', packet => packets.push(packet.toString()))
  await client.speak(`
    C: MAIL FROM:<a@example.test>
    C: RCPT TO:<yes@example.test>
    C: RCPT TO:<no@example.test>
    C: RCPT TO:<yes@example.test>
    C: NOOP
    S: 250 2.1.0 Sender OK
    S: 250 2.1.5 OK
    S: 550 5.1.1 No such user
    S: 250 2.1.5 OK
    S: 250 2.0.0 OK
  `)
  expect(packets).toHaveLength(1)
})

test('answers that come late keep their order', async () => {
  const late = <T>(value: T) => new Promise<T>(resolve => setImmediate(() => resolve(value)))
  await using rig = await Rig.start(
    {},
    {
      script: {
        connect: () => late(undefined),
        helo: () => late(undefined),
        mail: () => late(reply(250, '2.1.0', 'OK')),
        rcpt: to => late(reply(250, '2.1.5', to.local)),
        data: () => late(undefined),
        write: () => late(undefined),
        end: () => late(reply(250, '2.0.0', 'Queued')),
      },
    },
  )
  await using client = await rig.connect()
  await client.speak(`
    S: 220 *
    C: EHLO c
    C: MAIL FROM:<a@example.test>
    C: RCPT TO:<one@example.test>
    C: RCPT TO:<two@example.test>
    C: DATA
    S: 250 ...
    S: 250 2.1.0 OK
    S: 250 2.1.5 one
    S: 250 2.1.5 two
    S: 354 *
    C: Subject: x
    C:
    C: .
    C: MAIL FROM:<b@example.test>
    C: QUIT
    S: 250 2.0.0 Queued
    S: 250 2.1.0 OK
    S: 221 *
    S: (closed)
  `)
})

test('a refusal at connect leaves only QUIT, unless it closes', async () => {
  await using rig = await Rig.start({}, { script: { connect: () => reply(554, '5.7.1', 'Not welcome') } })
  await using first = await rig.connect()
  await first.speak(`
    S: 554 5.7.1 Not welcome
    C: EHLO client
    S: 503 5.5.1 This session was refused, send QUIT
    C: QUIT
    S: 221 2.0.0 Bye
    S: (closed)
  `)
  rig.pipeline.script = { connect: () => reply(421, '4.3.2', 'Later') }
  await using second = await rig.connect()
  await second.speak(`
    S: 421 4.3.2 Later
    S: (closed)
  `)
})

test('a refused EHLO leaves the session without one', async () => {
  await using rig = await Rig.start(
    {},
    { script: { helo: (_, name) => (name === 'bad' ? reply(550, '5.7.1', 'Liar') : undefined) } },
  )
  await using client = await rig.connect()
  await client.speak(`
    S: 220 *
    C: EHLO bad
    S: 550 5.7.1 Liar
    C: MAIL FROM:<a@example.test>
    S: 503 5.5.1 Send EHLO first
    C: EHLO good
    S: 250 ...
    C: MAIL FROM:<a@example.test>
    S: 250 *
    C: EHLO again
    S: 250 ...
    C: RCPT TO:<b@example.test>
    S: 503 5.5.1 Send MAIL first
  `)
  expect(rig.pipeline.calls).toContain('reset')
})

test('who speaks before the greeting is seen, and waits for it', async () => {
  let greet: (() => void) | undefined
  await using rig = await Rig.start(
    {},
    {
      script: {
        connect: () =>
          new Promise(resolve => {
            greet = () => resolve(undefined)
          }),
      },
    },
  )
  await using client = await rig.connect()
  const { arrivals } = rig.pipeline
  await client.sent(Buffer.from('EHLO early\r\nNOOP\r\n'))
  while (arrivals[0]?.pendingInput() !== true) await new Promise(resolve => setImmediate(resolve))
  greet?.()
  await client.speak(`
    S: 220 *
    S: 250 ...
    S: 250 2.0.0 OK
  `)
  expect(arrivals[0]?.pendingInput()).toBe(false)
})

test('lines that are no commands', async () => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak(hello)
  client.send('NOOP\nMAIL FROM:<a@example.test>\r\n')
  await client.expect('500 5.5.2 Bare LF in command, lines end with CRLF')
  client.send('NO\rOP\r\n')
  await client.expect('500 5.5.2 Bare CR in command, lines end with CRLF')
  client.send('NO\0OP\r\n')
  await client.expect('500 5.5.2 NUL in command')
  client.send(`NOOP ${'x'.repeat(1100)}\r\n`)
  await client.expect('500 5.5.2 Command line too long')
  client.send(Buffer.from('MAIL FROM:<\xff@example.test>\r\n', 'latin1'))
  await client.expect('500 5.5.2 Command is not valid UTF-8')
  client.send('\r\n')
  await client.expect('500 5.5.1 Command not recognised')
  client.send('NOOP\r\n')
  await client.expect('250 2.0.0 OK')
})

test('a browser is shown the door', async () => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak(`
    S: 220 *
    C: POST / HTTP/1.1
    C: Host: mx.example.test
    S: 421 4.7.0 This is not HTTP
    S: (closed)
  `)
})

test('too many errors end the session, mail taken forgives them', async () => {
  await using rig = await Rig.start({ limits: { errors: 3 } })
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: ONE
    S: 500 5.5.1 *
    C: TWO
    S: 500 5.5.1 *
    C: MAIL FROM:<a@example.test>
    C: RCPT TO:<b@example.test>
    C: DATA
    S: 250 *
    S: 250 *
    S: 354 *
    C: .
    S: 250 *
    C: ONE
    S: 500 5.5.1 *
    C: TWO
    S: 500 5.5.1 *
    C: THREE
    C: NOOP
    S: 421 4.7.0 Too many errors
    S: (closed)
  `)
})

test('idling with commands ends the session', async () => {
  await using rig = await Rig.start({ limits: { idleCommands: 3 } })
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: NOOP
    S: 250 *
    C: RSET
    S: 250 *
    C: VRFY x
    S: 421 4.7.0 Too many commands without mail
    S: (closed)
  `)
})

test('a session takes so many messages and no more', async () => {
  await using rig = await Rig.start({ limits: { messagesPerConnection: 1 } })
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: MAIL FROM:<a@example.test>
    C: RCPT TO:<b@example.test>
    C: DATA
    S: 250 *
    S: 250 *
    S: 354 *
    C: .
    S: 250 *
    C: MAIL FROM:<a@example.test>
    S: 421 4.7.0 Too many messages in one session, connect again
    S: (closed)
  `)
})

test('421 from a stage hangs up, so does a reply that says close', async () => {
  await using rig = await Rig.start(
    {},
    {
      script: {
        rcpt: to => (to.local === 'a' ? reply(421, '4.7.0', 'Go away') : reply(550, '5.7.1', 'Go away', true)),
      },
    },
  )
  for (const [local, code] of [
    ['a', 421],
    ['b', 550],
  ]) {
    await using client = await rig.connect()
    await client.speak(`
      ${hello}
      C: MAIL FROM:<a@example.test>
      C: RCPT TO:<${local}@example.test>
      C: NOOP
      S: 250 *
      S: ${code} *
      S: (closed)
    `)
  }
  await rig.closed()
})

test('a client that closes its side first still gets its replies', async () => {
  await using rig = await Rig.start(
    {},
    { script: { mail: () => new Promise(resolve => setImmediate(() => resolve(reply(250, '2.1.0', 'OK')))) } },
  )
  await using client = await rig.connect()
  client.socket.end('EHLO c\r\nMAIL FROM:<a@example.test>\r\nQUI')
  await client.speak(`
    S: 220 *
    S: 250 ...
    S: 250 2.1.0 OK
    S: (closed)
  `)
  await rig.closed()
})

test('a client that never reads is not read either', async () => {
  await using rig = await Rig.start({ limits: { idleCommands: 1e9, idle: 60_000 } })
  await using client = await rig.connect()
  await client.speak(hello)
  client.socket.pause()
  let taken = 0
  const commands = Buffer.from('HELP\r\n'.repeat(10_000))
  const pump = () =>
    client.socket.write(commands, () => {
      taken++
      if (taken < 1000) pump()
    })
  pump()
  let before = -1
  for (let still = 0; still < 30; still = taken === before ? still + 1 : 0) {
    before = taken
    await rig.clock.settle()
  }
  expect(taken).toBeLessThan(300)
  for (let turn = 0; turn < 50 && rig.pipeline.open_ > 0; turn++) await rig.clock.advance(10_000)
  expect(rig.pipeline.open_).toBe(0)
})
