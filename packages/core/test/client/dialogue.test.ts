// What goes over the wire, as the peer saw it.
import { connect } from '@posthorn/core/client'
import { SmtpPeer } from '@posthorn/testing'
import { expect, test } from 'vitest'
import { box, fates, hopTo, mail, to } from './sample.ts'

/** The dialogue of one connection, greeting and EHLO left out. */
const after = (peer: SmtpPeer) => {
  const lines = peer.dialogues[0] ?? []
  const start = lines.findIndex(line => /^C: (MAIL|RSET)/.test(line))
  return lines.slice(start).join('\n')
}

test('pipelines the envelope with DATA', async () => {
  await using peer = await SmtpPeer.start({ offer: ['PIPELINING', 'SIZE'] })
  const connection = await connect(hopTo(peer))
  expect(await fates(connection, mail(), to('bob@example.test', 'cid@example.test'))).toEqual(['accepted', 'accepted'])
  expect(after(peer)).toBe(
    [
      'C: MAIL FROM:<anna@example.test> SIZE=26',
      'S: 250 2.1.0 ok',
      'C: RCPT TO:<bob@example.test>',
      'S: 250 2.1.5 ok',
      'C: RCPT TO:<cid@example.test>',
      'S: 250 2.1.5 ok',
      'C: DATA',
      'S: 354 go ahead',
      'C: (26 octets)',
      'S: 250 2.0.0 queued as 1',
    ].join('\n'),
  )
  connection.destroy()
})

test('one command at a time where the peer does not pipeline, and none too many', async () => {
  await using peer = await SmtpPeer.start({
    offer: [],
    on: { rcpt: ({ line }) => (line.includes('bob') ? '550 5.1.1 no bob' : undefined) },
  })
  const connection = await connect(hopTo(peer))
  expect(await fates(connection, mail(), to('bob@example.test'))).toEqual(['550 5.1.1 rcpt'])
  expect(await fates(connection, mail(), to('cid@example.test'))).toEqual(['accepted'])
  peer.on = { mail: '451 4.3.2 not now' }
  expect(await fates(connection, mail(), to('cid@example.test'))).toEqual(['451 4.3.2 mail'])
  const said = (peer.dialogues[0] ?? []).filter(line => line.startsWith('C: '))
  expect(said).toEqual([
    'C: EHLO client.test',
    'C: MAIL FROM:<anna@example.test>',
    'C: RCPT TO:<bob@example.test>',
    // The transaction without recipients is still open there.
    'C: RSET',
    'C: MAIL FROM:<anna@example.test>',
    'C: RCPT TO:<cid@example.test>',
    'C: DATA',
    'C: (26 octets)',
    'C: MAIL FROM:<anna@example.test>',
  ])
  connection.destroy()
})

test.each(['354 go ahead', '554 5.5.1 no valid recipients'])(
  'DATA for nobody, answered %j, sends nothing',
  async data => {
    await using peer = await SmtpPeer.start({ offer: ['PIPELINING'], on: { rcpt: '550 5.1.1 no', data } })
    const connection = await connect(hopTo(peer))
    expect(await fates(connection, mail())).toEqual(['550 5.1.1 rcpt'])
    peer.on = {}
    expect(await fates(connection, mail())).toEqual(['accepted'])
    expect(peer.count).toBe(1)
    // RSET rides with the next envelope.
    expect(peer.commands.slice(4)).toEqual([
      ...(data.startsWith('354') ? ['(0 octets)'] : []),
      'RSET',
      'MAIL FROM:<anna@example.test>',
      'RCPT TO:<bob@example.test>',
      'DATA',
      '(26 octets)',
    ])
    connection.destroy()
  },
)

test('envelope and chunk in one write where BDAT is offered', async () => {
  await using peer = await SmtpPeer.start()
  const connection = await connect(hopTo(peer))
  expect(await fates(connection, mail())).toEqual(['accepted'])
  expect(peer.commands).toEqual([
    'EHLO client.test',
    'MAIL FROM:<anna@example.test> SIZE=26',
    'RCPT TO:<bob@example.test>',
    'BDAT 26 LAST',
    '(26 octets)',
  ])
  connection.destroy()
})

test('a chunk that nobody may have is swallowed, and the next message goes', async () => {
  await using peer = await SmtpPeer.start({
    on: { rcpt: ({ line }) => (line.includes('bob') ? '450 4.2.1 later' : undefined) },
  })
  const connection = await connect(hopTo(peer))
  expect(await fates(connection, mail(), to('bob@example.test'))).toEqual(['450 4.2.1 rcpt'])
  expect(await fates(connection, mail(), to('bob@example.test', 'cid@example.test'))).toEqual([
    '450 4.2.1 rcpt',
    'accepted',
  ])
  peer.on = { mail: '452 4.3.1 full' }
  expect(await fates(connection, mail())).toEqual(['452 4.3.1 mail'])
  peer.on = { dot: '554 5.6.0 spam' }
  expect(await fates(connection, mail())).toEqual(['554 5.6.0 dot'])
  peer.on = {}
  expect(await fates(connection, mail())).toEqual(['accepted'])
  expect(peer.messages.map(({ to }) => to)).toEqual([['cid@example.test'], ['bob@example.test']])
  connection.destroy()
})

test('LMTP: one reply for each recipient that was accepted, repeats included', async () => {
  await using peer = await SmtpPeer.start({
    lmtp: true,
    unix: true,
    on: {
      rcpt: ({ line }) => (line.includes('nobody') ? '550 5.1.1 who?' : undefined),
      dot: ({ recipient, nth }) =>
        recipient === 'full@example.test' ? '452 4.2.2 full' : nth === 3 ? '552 5.2.2 never' : undefined,
    },
  })
  const connection = await connect(hopTo(peer))
  const recipients = to(
    'a@example.test',
    'nobody@example.test',
    'full@example.test',
    'a@example.test',
    'b@example.test',
  )
  expect(await fates(connection, mail(), recipients)).toEqual([
    'accepted',
    '550 5.1.1 rcpt',
    '452 4.2.2 dot',
    '552 5.2.2 dot',
    'accepted',
  ])
  expect(peer.commands[0]).toBe('LHLO client.test')
  connection.destroy()
})

test('DSN parameters go to a peer that offers DSN, each recipient its own, and what was absent stays absent', async () => {
  const message = mail(undefined, { params: { ret: 'hdrs', envid: 'a+b', size: 9 } })
  const recipients = [
    { address: box('bob@example.test'), notify: ['success', 'failure'] as const, orcpt: 'rfc822;Bob+x@Example.Test' },
    { address: box('cid@example.test'), notify: ['never'] as const },
    { address: box('dan@example.test') },
  ]
  await using peer = await SmtpPeer.start({ offer: ['DSN', 'SIZE'] })
  const connection = await connect(hopTo(peer))
  const answers: unknown[] = []
  await connection.send(message, recipients, (_, answer) => answers.push(answer))
  expect(answers).toEqual(Array(3).fill(expect.objectContaining({ kind: 'accepted', dsn: true })))
  expect(peer.commands.slice(1, 5)).toEqual([
    'MAIL FROM:<anna@example.test> SIZE=26 RET=HDRS ENVID=a+2Bb',
    'RCPT TO:<bob@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2Bx@Example.Test',
    'RCPT TO:<cid@example.test> NOTIFY=NEVER',
    'RCPT TO:<dan@example.test>',
  ])
  connection.destroy()

  await using other = await SmtpPeer.start({ offer: [] })
  const plain = await connect(hopTo(other))
  await plain.send(message, recipients, (_, answer) => expect(answer).toMatchObject({ kind: 'accepted', dsn: false }))
  expect(other.commands.slice(1, 3)).toEqual(['MAIL FROM:<anna@example.test>', 'RCPT TO:<bob@example.test>'])
  plain.destroy()
})

test('the null reverse-path, odd local parts, literals and bare postmaster', async () => {
  await using peer = await SmtpPeer.start({ offer: [] })
  const connection = await connect(hopTo(peer))
  const recipients = [
    ...to('"a b"@example.test', '"x\\"y"@example.test', 'u@[192.0.2.1]', 'u@a_b.test', 'u@bücher.example'),
    { address: { local: 'Postmaster', domain: '', raw: 'Postmaster' } },
  ]
  await connection.send(mail(undefined, { from: null }), recipients, () => {})
  expect(peer.commands.slice(1, 8)).toEqual([
    'MAIL FROM:<>',
    'RCPT TO:<"a b"@example.test>',
    'RCPT TO:<"x\\"y"@example.test>',
    'RCPT TO:<u@[192.0.2.1]>',
    'RCPT TO:<u@a_b.test>',
    'RCPT TO:<u@xn--bcher-kva.example>',
    'RCPT TO:<Postmaster>',
  ])
  connection.destroy()
})

test('an address that would break out of its line is not sent', async () => {
  await using peer = await SmtpPeer.start()
  const connection = await connect(hopTo(peer))
  const evil = { address: { local: 'bob', domain: 'example.test>\r\nRCPT TO:<eve@example.test', raw: '' } }
  expect(await fates(connection, mail(), [evil, ...to('cid@example.test')])).toEqual(['unsent 5.1.3', 'accepted'])
  expect(peer.messages[0]?.to).toEqual(['cid@example.test'])
  connection.destroy()
})

test('RFC 9422 limits are kept: the other recipients may follow at once, the next message on a new connection', async () => {
  await using peer = await SmtpPeer.start({ offer: ['PIPELINING', 'LIMITS RCPTMAX=2 MAILMAX=1'] })
  const connection = await connect(hopTo(peer))
  const three = to('a@example.test', 'b@example.test', 'c@example.test')
  expect(await fates(connection, mail(), three)).toEqual(['accepted', 'accepted', 'unsent 4.5.3'])
  expect(connection.usable).toBe(false)
  connection.destroy()
})

test('421 in answer to anything ends the connection', async () => {
  for (const step of ['mail', 'rcpt', 'data', 'dot', 'rset'] as const) {
    await using peer = await SmtpPeer.start({ offer: ['PIPELINING'] })
    const connection = await connect(hopTo(peer))
    peer.on = { rcpt: '550 5.1.1 no' }
    await fates(connection, mail())
    peer.on = { [step]: '421 4.3.2 shutting down' }
    expect(await fates(connection, mail())).toEqual(['untold', `refused at ${step === 'rset' ? 'mail' : step}`])
    expect(connection.usable).toBe(false)
  }
})

test('the dialogue shows commands and replies, and no secret', async () => {
  await using peer = await SmtpPeer.start({ users: { anna: 'secret' } })
  const lines: string[] = []
  const connection = await connect(hopTo(peer, { auth: { user: 'anna', password: 'secret', insecure: true } }), {
    dialogue: (who, line) => lines.push(`${who}: ${line}`),
  })
  await fates(connection, mail())
  connection.close()
  expect(lines).toContain('C: AUTH PLAIN ***')
  expect(lines).toContain('C: RCPT TO:<bob@example.test>')
  expect(lines).toContain('S: 250 2.0.0 queued as 1')
  expect(lines.at(-1)).toBe('C: QUIT')
  expect(lines.join()).not.toContain(Buffer.from('\0anna\0secret').toString('base64'))
})
