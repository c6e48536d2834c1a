// Envelopes as they come and as they go on: every address that RFC 5321 allows, DSN parameters, and what is answered to
// each recipient.
import { SmtpPeer } from '@posthorn/testing'
import { describe, expect, test } from 'vitest'
import { greeted, Rig, type RigConfig, send } from './rig.ts'

const home = ['storage-level', { domains: { domains: ['example.test'] } }, 'maildir']
const plain = { listen: '127.0.0.1:0', tls: 'none' } as const

/** A gateway to `hop` for domains of every kind. */
const gateway = (hop: SmtpPeer, config: RigConfig = {}) =>
  Rig.start(
    {
      plugins: [
        'storage-level',
        './all.ts',
        { domains: { domains: ['example.test'] } },
        { relay: { to: hop.address, domains: '*', routedLocalParts: true } },
      ],
      ...config,
    },
    { files: { 'all.ts': everyone } },
  )

const everyone = `
  import { definePlugin } from '@posthorn/core'
  import * as z from 'zod'
  export default definePlugin({ name: 'everyone', schema: z.strictObject({}), setup: () => ({ rcpt: () => 'accept' }) })
`

describe('addresses come through as they were written', () => {
  test.each([
    ['"a b"@next.test'],
    ['"a\\\\b"@next.test'],
    ['"<>@,;"@next.test'],
    ['".dots..here."@next.test'],
    ['a/b=c+d!#$%&*?^_`{|}~@next.test'],
    ['x@under_score.next.test'],
    ['x@[192.0.2.1]'],
    ['x@[IPv6:2001:db8::1]'],
    [`${'l'.repeat(64)}@${'d'.repeat(60)}.test`],
    ['Case.Kept@next.test'],
  ])('%s', async address => {
    await using hop = await SmtpPeer.start()
    await using rig = await gateway(hop)
    await using client = await greeted(rig)
    await send(client, address, address)
    await hop.received(1)
    expect(`${hop.messages[0]?.mailLine} `.startsWith(`MAIL FROM:<${address}> `)).toBe(true)
    expect(hop.messages[0]?.rcptLines).toEqual([`RCPT TO:<${address}>`])
  })

  test('source routes are dropped, empty quotes refused, the null reverse-path kept', async () => {
    await using hop = await SmtpPeer.start()
    await using rig = await gateway(hop)
    await using client = await greeted(rig)
    await client.speak(`
      C: MAIL FROM:<>
      S: 250 2.1.0 *
      C: RCPT TO:<@one.test,@two.test:to@next.test>
      S: 250 2.1.5 *
      C: RCPT TO:<>
      S: 501 5.1.3 *
      C: RCPT TO:<to@next.test
      S: 501 5.1.3 *
      C: DATA
      S: 354 *
      C: Subject: x
      C: .
      S: 250 2.0.0 *
    `)
    await hop.received(1)
    expect(hop.messages[0]?.mailLine).toMatch(/^MAIL FROM:<>/)
    expect(hop.messages[0]?.rcptLines).toEqual(['RCPT TO:<to@next.test>'])
  })

  test('SMTPUTF8: U-labels and UTF-8 local parts, to a hop that takes them and to one that does not', async () => {
    await using hop = await SmtpPeer.start()
    await using old = await SmtpPeer.start({ offer: ['PIPELINING', '8BITMIME'] })
    await using rig = await Rig.start({
      plugins: [
        ...home,
        { use: 'relay', as: 'old', options: { to: old.address, domains: ['old.test'] } },
        { relay: { to: hop.address, domains: ['bücher.test'] } },
      ],
    })
    await using client = await greeted(rig)
    await client.speak(`
      C: MAIL FROM:<жанна@example.test>
      S: 553 5.6.7 *
      C: MAIL FROM:<жанна@example.test> SMTPUTF8
      C: RCPT TO:<jörg@bücher.test>
      C: RCPT TO:<жанна@example.test>
      C: RCPT TO:<jörg@old.test>
      C: DATA
      S: 250 *
      S: 250 *
      S: 250 *
      S: 250 *
      S: 354 *
      C: Subject: Grüße
      C: .
      S: 250 *
    `)
    await hop.received(1)
    expect(hop.messages[0]?.mailLine).toContain('<жанна@example.test>')
    expect(hop.messages[0]?.mailLine).toContain('SMTPUTF8')
    expect(hop.messages[0]?.rcptLines).toEqual(['RCPT TO:<jörg@bücher.test>'])
    // Her own copy, and the report on the hop that lacks SMTPUTF8.
    const folder = `${[...Buffer.from('жанна')].map(o => `%${o.toString(16).toUpperCase()}`).join('')}@example.test`
    const inbox = (await rig.delivered(folder, 2)).map(String)
    expect(inbox.filter(text => text.includes('Subject: Grüße\r\n'))).not.toEqual([])
    expect(inbox.filter(text => /^Status: 5\.6\.7\r\n/m.test(text))).toHaveLength(1)
    expect(old.count).toBe(0)
  })

  test('<Postmaster> without a domain is somebody; so is postmaster of each domain', async () => {
    await using rig = await Rig.start({
      plugins: [
        'storage-level',
        { domains: { domains: { 'example.test': ['anna'] }, postmaster: 'anna@example.test' } },
        'maildir',
      ],
    })
    await using client = await greeted(rig)
    await send(client, 'bob@client.test', 'Postmaster')
    await send(client, 'bob@client.test', 'POSTMASTER@example.test')
    const inbox = await rig.delivered('anna@example.test', 2)
    expect(inbox.every(bytes => String(bytes).includes('Delivered-To: anna@example.test\r\n'))).toBe(true)
  })
})

test('a recipient named three times gets one copy over SMTP, and LMTP answers three times', async () => {
  await using rig = await Rig.start({ listeners: { mx: plain, lmtp: { listen: '127.0.0.1:0' } }, plugins: home })
  await using client = await greeted(rig)
  await send(client, 'bob@client.test', ['anna@example.test', 'anna@example.test', 'anna@EXAMPLE.test'])
  await rig.empty()
  expect(await rig.inbox('anna@example.test')).toHaveLength(1)

  await using lmtp = await rig.connect('lmtp')
  await lmtp.speak(`
    S: 220 *
    C: LHLO client.example.test
    S: 250 ...
    C: MAIL FROM:<bob@client.test>
    C: RCPT TO:<bert@example.test>
    C: RCPT TO:<bert@example.test>
    C: RCPT TO:<bert@nowhere.test>
    C: RCPT TO:<bert@example.test>
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 250 2.1.5 *
    S: 550 5.7.1 *
    S: 250 2.1.5 *
    S: 354 *
    C: Subject: x
    C: .
    S: 250 2.0.0 *
    S: 250 2.0.0 *
    S: 250 2.0.0 *
    C: NOOP
    S: 250 *
  `)
  await rig.empty()
  expect(await rig.inbox('bert@example.test')).toHaveLength(1)
})

/** Says yes, no and later at the dot, by who it is for. */
const judge = `
  import { definePlugin, defer, reject } from '@posthorn/core'
  import * as z from 'zod'
  export default definePlugin({
    name: 'judge',
    schema: z.strictObject({}),
    setup: () => ({
      data: () => ({
        end: ({ recipients }) =>
          new Map(
            recipients.flatMap(({ targets }) => targets).flatMap(({ id, address }) =>
              address.local === 'no' ? [[id, reject(550, '5.7.1', 'Not this one')]]
              : address.local === 'later' ? [[id, defer(450, '4.7.1', 'Not yet')]] : []),
          ),
      }),
    }),
  })
`
const three = (dot: string) => `
    C: MAIL FROM:<bob@example.test>
    C: RCPT TO:<yes@example.test>
    C: RCPT TO:<no@example.test>
    C: RCPT TO:<later@example.test>
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 250 2.1.5 *
    S: 250 2.1.5 *
    S: 354 *
    C: Subject: x
    C: 
    C: x
    C: .
    ${dot}
    C: NOOP
    S: 250 2.0.0 OK`

describe('three recipients, three verdicts at the dot', () => {
  const judged = (config: RigConfig) =>
    Rig.start({ plugins: [...home, './judge.ts'], ...config }, { files: { 'judge.ts': judge } })

  test('LMTP answers each', async () => {
    await using rig = await judged({ listeners: { lmtp: { listen: '127.0.0.1:0' } } })
    await using client = await rig.connect('lmtp')
    await client.speak(`
      S: 220 *
      C: LHLO client.example.test
      S: 250 ...
      ${three('S: 250 2.0.0 OK: queued as *\n    S: 550 5.7.1 Not this one\n    S: 450 4.7.1 Not yet')}
    `)
    await rig.delivered('yes@example.test', 1)
    await rig.empty()
    expect(await rig.inbox('no@example.test')).toEqual([])
    expect(await rig.inbox('later@example.test')).toEqual([])
    expect(await rig.inbox('bob@example.test')).toEqual([])
  })

  test.each(['junk', 'discard', 'bounce'] as const)('SMTP, mixed: %s', async mixed => {
    await using rig = await judged({ mixed })
    await using client = await greeted(rig)
    await client.speak(three('S: 250 2.0.0 OK: queued as *'))
    await rig.delivered('yes@example.test', 1)
    await rig.empty()
    const inbox = async (address: string) => (await rig.inbox(address)).length
    for (const refused of ['no@example.test', 'later@example.test']) {
      expect(await inbox(refused)).toBe(0)
      expect(await rig.inbox(refused, '.Junk')).toHaveLength(mixed === 'junk' ? 1 : 0)
    }
    // A report tells of what was refused for good, and of what the sender's own server would have tried again.
    expect(await inbox('bob@example.test')).toBe(mixed === 'bounce' ? 1 : 0)
    if (mixed === 'bounce') {
      const text = String((await rig.inbox('bob@example.test'))[0])
      expect(text).toContain('Final-Recipient: rfc822; no@example.test\r\n')
      expect(text).toContain('Final-Recipient: rfc822; later@example.test\r\n')
    }
    const id = rig.log.find(({ message }) => message === 'accepted')?.id as string
    const traced = (await rig.server.traces.read(id)).filter(({ stage }) => stage === 'mixed')
    expect(traced).toMatchObject([
      { plugin: 'judge', verdict: mixed, reason: 'reject 550 5.7.1 Not this one', recipient: 'no@example.test' },
      { plugin: 'judge', verdict: mixed, reason: 'defer 450 4.7.1 Not yet', recipient: 'later@example.test' },
    ])
  })

  test('SMTP, all refused: the strongest is the reply, and nothing is kept', async () => {
    await using rig = await judged({})
    await using client = await greeted(rig)
    await client.speak(`
      C: MAIL FROM:<bob@example.test>
      C: RCPT TO:<later@example.test>
      C: RCPT TO:<no@example.test>
      C: DATA
      S: 250 *
      S: 250 *
      S: 250 *
      S: 354 *
      C: Subject: x
      C: .
      S: 550 5.7.1 Not this one
    `)
    expect((await rig.server.queue.operations.list({})).messages).toEqual([])
  })
})

const dsnLines = `
    C: MAIL FROM:<bob@example.test> RET=HDRS ENVID=QQ+2B314159
    C: RCPT TO:<to@next.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;first+2Bhand@elsewhere.test
    C: RCPT TO:<quiet@next.test> NOTIFY=NEVER
    C: DATA
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 250 2.1.5 *
    S: 354 *
    C: Subject: x
    C: 
    C: secret text
    C: .
    S: 250 2.0.0 *`

test('DSN parameters go on to a hop that offers DSN, which reports then', async () => {
  await using hop = await SmtpPeer.start()
  await using rig = await Rig.start({ plugins: [...home, { relay: { to: hop.address, domains: ['next.test'] } }] })
  await using client = await greeted(rig)
  await client.speak(dsnLines)
  await hop.received(1)
  await rig.empty()
  expect(hop.messages[0]?.mailLine).toMatch(/ RET=HDRS( |$)/)
  expect(hop.messages[0]?.mailLine).toMatch(/ ENVID=QQ\+2B314159( |$)/)
  expect(hop.messages[0]?.rcptLines).toEqual([
    expect.stringMatching(
      /^RCPT TO:<to@next\.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;first\+2Bhand@elsewhere\.test$/,
    ),
    expect.stringMatching(/^RCPT TO:<quiet@next\.test> NOTIFY=NEVER/),
  ])
  expect(await rig.inbox('bob@example.test')).toEqual([])
})

test('a priority goes on to a hop that knows of priorities, and is kept from one that does not', async () => {
  await using knows = await SmtpPeer.start({ offer: ['PIPELINING', 'MT-PRIORITY'] })
  await using other = await SmtpPeer.start({ offer: ['PIPELINING'] })
  await using rig = await Rig.start({
    listeners: { mx: { listen: '127.0.0.1:0', tls: 'none', priorities: 'all' } },
    plugins: [
      ...home,
      { relay: { to: knows.address, domains: ['next.test'] } },
      { use: 'relay', as: 'other', options: { to: other.address, domains: ['other.test'] } },
    ],
  })
  await using client = await greeted(rig)
  client.send('MAIL FROM:<a@client.test> MT-PRIORITY=-3\r\nRCPT TO:<b@next.test>\r\nRCPT TO:<b@other.test>\r\n')
  client.send('DATA\r\nSubject: s\r\n\r\ns\r\n.\r\n')
  for (const code of ['250', '250', '250', '354', '250']) await client.expect(`${code} *`)
  await rig.empty()
  expect(knows.messages.map(({ mailLine }) => mailLine)).toEqual(['MAIL FROM:<a@client.test> MT-PRIORITY=-3'])
  expect(other.messages.map(({ mailLine }) => mailLine)).toEqual(['MAIL FROM:<a@client.test>'])
})

test('a hop without DSN: one relayed report, for who asked, with the header only', async () => {
  await using hop = await SmtpPeer.start({ offer: ['PIPELINING', '8BITMIME'] })
  await using rig = await Rig.start({ plugins: [...home, { relay: { to: hop.address, domains: ['next.test'] } }] })
  await using client = await greeted(rig)
  await client.speak(dsnLines)
  const [report] = await rig.delivered('bob@example.test', 1)
  await rig.empty()
  const text = String(report)
  expect(hop.messages[0]?.rcptLines).toEqual(['RCPT TO:<to@next.test>', 'RCPT TO:<quiet@next.test>'])
  expect(text).toMatch(/^Original-Envelope-Id: QQ\+314159\r\n/m)
  expect(text).toMatch(/^Original-Recipient: rfc822; ?first\+hand@elsewhere\.test\r\n/m)
  expect(text).toMatch(/^Action: relayed\r\n/m)
  expect(text).not.toContain('quiet@next.test')
  expect(text).not.toContain('secret text')
  expect(await rig.inbox('bob@example.test')).toHaveLength(1)
})

test('REQUIRETLS is not offered by who cannot promise it; LIMITS tells what is', async () => {
  await using rig = await Rig.start({
    listeners: { mx: { listen: '127.0.0.1:0' } },
    limits: { recipients: 3, messagesPerConnection: 2 },
    plugins: home,
  })
  await using client = await greeted(rig)
  await client.speak(`
    C: STARTTLS
    S: 220 2.0.0 *
  `)
  await client.startTls()
  await client.speak('C: EHLO client.example.test')
  const offered = (await client.reply()).map(line => line.slice(4))
  expect(offered.filter(line => line.startsWith('REQUIRETLS') || line.startsWith('STARTTLS'))).toEqual([])
  expect(offered).toContain('LIMITS RCPTMAX=3 MAILMAX=2')
  await client.speak(`
    C: MAIL FROM:<bob@client.test> REQUIRETLS
    S: 555 5.5.4 *
    C: MAIL FROM:<bob@client.test>
    C: RCPT TO:<a@example.test>
    C: RCPT TO:<b@example.test>
    C: RCPT TO:<c@example.test>
    C: RCPT TO:<d@example.test>
    S: 250 2.1.0 *
    S: 250 2.1.5 *
    S: 250 2.1.5 *
    S: 250 2.1.5 *
    S: 452 4.5.3 *
    C: RSET
    S: 250 *
  `)
  await send(client, 'bob@client.test', 'a@example.test')
  await send(client, 'bob@client.test', 'a@example.test')
  await client.speak(`
    C: MAIL FROM:<bob@client.test>
    S: 421 4.7.0 *
    S: (closed)
  `)
})
