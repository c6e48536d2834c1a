// Transactions that pass through to the server behind: whose answers the client hears, and what becomes of a message
// when somebody goes away in the middle of it.
import { type PeerScript, SmtpPeer } from '@posthorn/testing'
import { describe, expect, test } from 'vitest'
import { greeted, Rig, send } from './rig.ts'

const gateway = (to: string | readonly string[], other?: SmtpPeer) =>
  Rig.start({
    plugins: [
      'storage-level',
      { passthrough: { to, domains: ['example.test'] } },
      ...(other === undefined ? [] : [{ relay: { to: other.address, domains: ['queued.test'] } }]),
    ],
  })

const accepted = (rig: Rig) => rig.log.filter(({ message }) => message === 'accepted').length

describe('the client hears the server behind', () => {
  test('to RCPT and to the message, and nothing is queued', async () => {
    const on: PeerScript = {
      rcpt: ({ line }) => (line.includes('anna') ? '250 2.1.5 anna is in' : '550 5.1.1 who is that'),
      dot: '250 2.6.0 stored as 4711',
    }
    await using hop = await SmtpPeer.start({ on })
    await using rig = await gateway(hop.address)
    await using client = await greeted(rig)
    await client.speak(`
      C: MAIL FROM:<bob@client.test>
      S: 250 2.1.0 *
      C: RCPT TO:<anna@example.test>
      S: 250 2.1.5 anna is in
      C: RCPT TO:<eve@example.test>
      S: 550 5.1.1 who is that
      C: DATA
      S: 354 *
      C: Subject: hello
      C: 
      C: ..dot
      C: .
      S: 250 2.6.0 stored as 4711
    `)
    const [message] = hop.messages
    expect(message?.to).toEqual(['anna@example.test'])
    expect(message?.bytes?.toString()).toMatch(
      /^Received: from client\.example\.test [\s\S]*\r\nSubject: hello\r\n\r\n\.dot\r\n$/,
    )
    expect(hop.connections).toBe(1)
    await client.speak(`
      C: QUIT
      S: 221 *
    `)
    expect(hop.count).toBe(1)
  })

  test.each([
    ['552 5.3.4 too big', '552 5.3.4 too big'],
    ['451 4.7.1 greylisted', '451 4.7.1 greylisted'],
    ['554 5.7.1 spam', '554 5.7.1 spam'],
  ])('its refusal of the message too: %s', async (dot, heard) => {
    await using hop = await SmtpPeer.start({ on: { dot } })
    await using rig = await gateway(hop.address)
    await using client = await greeted(rig)
    expect(await answerTo(client)).toBe(heard)
    expect(accepted(rig)).toBe(0)
  })

  test('one transaction after another, over one connection', async () => {
    await using hop = await SmtpPeer.start()
    await using rig = await gateway(hop.address)
    await using client = await greeted(rig)
    for (let i = 0; i < 3; i++) expect(await send(client, 'bob@client.test', 'anna@example.test')).toHaveLength(1)
    expect(hop.count).toBe(3)
    expect(hop.connections).toBe(1)
  })
})

describe('the first recipient fixes the way', () => {
  test.each([
    ['anna@example.test', 'zoe@queued.test'],
    ['zoe@queued.test', 'anna@example.test'],
  ])('%s first, %s has to wait', async (first, second) => {
    await using hop = await SmtpPeer.start()
    await using other = await SmtpPeer.start()
    await using rig = await gateway(hop.address, other)
    await using client = await greeted(rig)
    await client.speak(`
      C: MAIL FROM:<bob@client.test>
      S: 250 2.1.0 *
      C: RCPT TO:<${first}>
      S: 250 *
      C: RCPT TO:<${second}>
      S: 452 4.5.3 *
      C: DATA
      S: 354 *
      C: 
      C: x
      C: .
      S: 250 *
    `)
    await send(client, 'bob@client.test', second)
    await other.received(1)
    await hop.received(1)
    expect([hop.count, other.count]).toEqual([1, 1])
  })

  test('routes of the queue share a transaction; each server behind, and the queue, have one of their own', async () => {
    await using east = await SmtpPeer.start()
    await using west = await SmtpPeer.start()
    await using hop = await SmtpPeer.start()
    await using other = await SmtpPeer.start()
    const route = (name: string, { address: to }: SmtpPeer) => ({ name, when: { recipient: name }, to, accept: true })
    const passing = (as: string, { address: to }: SmtpPeer) => ({
      use: 'passthrough',
      as,
      options: { to, domains: [`${as}.test`] },
    })
    await using rig = await Rig.start({
      plugins: [
        'storage-level',
        passing('east', east),
        passing('west', west),
        { routes: { table: [route('one.test', hop), route('two.test', other)] } },
      ],
    })
    const all = ['a@east.test', 'b@west.test', 'c@one.test', 'd@two.test']
    for (const first of all) {
      await using client = await greeted(rig)
      const rest = all.filter(one => one !== first)
      const queued = (address = '') => /one|two/.test(address)
      await client.speak(`
        C: MAIL FROM:<bob@client.test>
        S: 250 2.1.0 *
        C: RCPT TO:<${first}>
        S: 250 *
        ${rest.map(one => `C: RCPT TO:<${one}>\nS: ${queued(first) && queued(one) ? '250 2.1.5' : '452 4.5.3'} *`).join('\n')}
        C: DATA
        S: 354 *
        C: 
        C: x
        C: .
        S: 250 *
      `)
    }
    await rig.empty()
    const got = [east, west, hop, other].map(({ messages }) => messages.map(({ to }) => to))
    expect(got).toEqual([
      [['a@east.test']],
      [['b@west.test']],
      [['c@one.test'], ['c@one.test']],
      [['d@two.test'], ['d@two.test']],
    ])
  })

  test('a first one that is refused fixes nothing', async () => {
    await using hop = await SmtpPeer.start({ on: { rcpt: '550 5.1.1 no' } })
    await using other = await SmtpPeer.start()
    await using rig = await gateway(hop.address, other)
    await using client = await greeted(rig)
    await client.speak(`
      C: MAIL FROM:<bob@client.test>
      S: 250 2.1.0 *
      C: RCPT TO:<eve@example.test>
      S: 550 5.1.1 no
      C: RCPT TO:<zoe@queued.test>
      S: 250 *
      C: DATA
      S: 354 *
      C: 
      C: x
      C: .
      S: 250 2.0.0 OK: queued as *
    `)
    await other.received(1)
  })
})

describe('a report of success that the client asks for', () => {
  const config = (hop: SmtpPeer, world: SmtpPeer, lmtp = false) => ({
    plugins: [
      'storage-level',
      { passthrough: { to: hop.address, domains: ['example.test'], lmtp } },
      { relay: { to: world.address, domains: ['client.test'] } },
    ],
  })
  const ask = (dot: string) => `
    C: MAIL FROM:<bob@client.test> RET=HDRS ENVID=QQ314159
    S: 250 2.1.0 *
    C: RCPT TO:<anna@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Anna@example.test
    S: 250 *
    C: DATA
    S: 354 *
    C: Subject: hello
    C: 
    C: x
    C: .
    S: ${dot}
  `

  test.each([
    ['relayed', false],
    ['delivered', true],
  ])('is ours to make where the server behind makes none: %s', async (action, lmtp) => {
    await using hop = await SmtpPeer.start({ offer: ['PIPELINING'], lmtp, on: { dot: '250 2.6.0 stored as 4711' } })
    await using world = await SmtpPeer.start()
    await using rig = await Rig.start(config(hop, world, lmtp))
    await using client = await greeted(rig)
    await client.speak(ask('250 2.6.0 stored as 4711'))
    await world.received(1)
    const [report] = world.messages
    expect([report?.from, report?.to]).toEqual(['', ['bob@client.test']])
    const text = report?.bytes?.toString() ?? ''
    for (const line of [
      'Original-Envelope-Id: QQ314159',
      'Original-Recipient: rfc822; Anna@example.test',
      'Final-Recipient: rfc822; anna@example.test',
      `Action: ${action}`,
      'Status: 2.0.0',
    ]) {
      expect(text).toContain(`\r\n${line}\r\n`)
    }
    expect(text).toContain('Subject: hello')
    await rig.empty()
    expect([hop.count, world.count]).toEqual([1, 1])
  })

  test('is its own where it knows DSN', async () => {
    await using hop = await SmtpPeer.start({ offer: ['PIPELINING', 'DSN'] })
    await using world = await SmtpPeer.start()
    await using rig = await Rig.start(config(hop, world))
    await using client = await greeted(rig)
    await client.speak(ask('250 *'))
    await rig.empty()
    expect(hop.messages[0]?.rcptLines[0]).toContain(' NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Anna@example.test')
    expect(world.count).toBe(0)
  })
})

describe('when somebody goes away', () => {
  test('the second server behind is asked, before the first recipient and between the last and the message', async () => {
    await using hop = await SmtpPeer.start()
    await using spare = await SmtpPeer.start()
    await using rig = await gateway(['127.0.0.1:1', hop.address, spare.address])
    await using client = await greeted(rig)
    await client.speak(`
      C: MAIL FROM:<bob@client.test>
      S: 250 2.1.0 *
      C: RCPT TO:<anna@example.test>
      S: 250 *
    `)
    await hop.close()
    await client.speak(`
      C: RCPT TO:<carl@example.test>
      S: 250 *
    `)
    expect(spare.commands.some(line => line.includes('carl'))).toBe(true)
    await client.speak(`
      C: DATA
      S: 354 *
      C: 
      C: x
      C: .
      S: 250 *
    `)
    expect(spare.messages[0]?.to).toEqual(['anna@example.test', 'carl@example.test'])
  })

  test.each<[string, PeerScript]>([
    ['refuses the connection', { connect: '421 4.3.2 no' }],
    ['is cut at MAIL', { mail: 'cut' }],
    ['is cut at RCPT', { rcpt: 'cut' }],
    ['says goodbye', { rcpt: '421 4.3.2 bye' }],
    ['talks nonsense', { rcpt: 'hello' }],
  ])('a server behind that %s is 451 4.4.1', async (_, on) => {
    await using hop = await SmtpPeer.start({ on })
    await using rig = await gateway(hop.address)
    await using client = await greeted(rig)
    await client.speak(`
      C: MAIL FROM:<bob@client.test>
      S: 250 2.1.0 *
      C: RCPT TO:<anna@example.test>
      S: 451 4.4.1 *
      C: RSET
      S: 250 *
    `)
  })

  test.each<[string, NonNullable<PeerScript['mail']>]>([
    ['was cut while it lay there', ({ nth }) => (nth === 3 ? 'cut' : undefined)],
    ['is told goodbye', ({ nth }) => (nth === 3 ? '421 4.7.0 too many errors' : undefined)],
  ])('a kept connection that %s is no reason to refuse: there are others', async (_, mail) => {
    await using hop = await SmtpPeer.start({ on: { mail } })
    await using rig = await gateway(hop.address)
    await using client = await greeted(rig)
    for (let i = 0; i < 2; i++) await send(client, 'bob@client.test', 'anna@example.test')
    expect([hop.count, hop.connections]).toEqual([2, 2])
  })

  test('a cut after the dot is 451: the client has the message still, and we do not', async () => {
    await using hop = await SmtpPeer.start({ on: { dot: 'cut' } })
    await using rig = await gateway(hop.address)
    await using client = await greeted(rig)
    expect(await answerTo(client)).toMatch(/^451 4\./)
    expect(accepted(rig)).toBe(0)
  })

  test('RSET and hang-up leave nothing open behind', async () => {
    await using hop = await SmtpPeer.start()
    await using rig = await gateway(hop.address)
    {
      await using client = await greeted(rig)
      await client.speak(`
        C: MAIL FROM:<bob@client.test>
        S: 250 2.1.0 *
        C: RCPT TO:<anna@example.test>
        S: 250 *
        C: RSET
        S: 250 *
      `)
      await hop.until(peer => peer.commands.filter(line => line === 'RSET').length === 1)
      await client.speak(`
        C: MAIL FROM:<bob@client.test>
        S: 250 2.1.0 *
        C: RCPT TO:<anna@example.test>
        S: 250 *
        C: (close)
      `)
    }
    await hop.until(peer => peer.commands.filter(line => line === 'RSET').length === 2)
    expect(hop.connections).toBe(1)
    expect(hop.count).toBe(0)
  })
})

/** The reply at the dot. */
async function answerTo(client: Awaited<ReturnType<typeof greeted>>): Promise<string> {
  client.send('MAIL FROM:<bob@client.test>\r\n')
  await client.expect('250 *')
  client.send('RCPT TO:<anna@example.test>\r\n')
  await client.expect('250 *')
  client.send('DATA\r\n')
  await client.expect('354 *')
  client.send('Subject: x\r\n\r\nx\r\n.\r\n')
  return (await client.reply())[0] ?? ''
}
