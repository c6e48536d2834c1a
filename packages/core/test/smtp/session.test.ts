import { expect, test } from 'vitest'
import { Rig, reply } from './rig.ts'

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
})
