// A forward that fails elsewhere: our report goes back through the rewritten sender to whoever wrote the message.
import { SmtpPeer } from '@posthorn/testing'
import { expect, test } from 'vitest'
import { greeted, Rig, send, until } from './rig.ts'

test('the report of a forward that failed finds the sender through SRS', async () => {
  await using world = await SmtpPeer.start({
    on: { rcpt: ({ line }) => (line.includes('zoe@else.test') ? '550 5.1.1 gone' : undefined) },
  })
  await using rig = await Rig.start({
    plugins: [
      'storage-level',
      {
        aliases: {
          domains: ['example.test'],
          aliases: { forward: 'zoe@else.test' },
          srs: { domain: 'example.test', secret: 'secret' },
        },
      },
      { relay: { to: world.address } },
    ],
  })
  await using client = await greeted(rig)
  await send(client, 'bob@client.test', 'forward@example.test')
  await world.received(1)
  const [report] = world.messages
  expect(world.commands.find(line => line.includes('SRS0='))).toMatch(
    /^MAIL FROM:<SRS0=.*=client\.test=bob@example\.test>/,
  )
  expect(report?.from).toBe('')
  expect(report?.to).toEqual(['bob@client.test'])
  // Who wrote to the alias is not told where it leads.
  const text = report?.bytes?.toString()
  expect(text).toContain('Final-Recipient: rfc822; forward@example.test')
  expect(text).not.toContain('zoe@else.test')
})

test.each([
  ['a group', 'team', 'expanded', ['anna@else.test', 'zoe@else.test']],
  ['a list', 'news', 'delivered', ['anna@else.test', 'zoe@else.test']],
])('who wrote to %s and asked to hear of success is told once: %s was %s', async (_what, name, action, members) => {
  await using world = await SmtpPeer.start({ offer: ['DSN'] })
  await using rig = await Rig.start({
    plugins: [
      'storage-level',
      {
        aliases: {
          domains: ['example.test'],
          aliases: { team: members, news: { to: members, list: 'owner@example.test' } },
        },
      },
      { relay: { to: world.address } },
    ],
  })
  await using client = await greeted(rig)
  await client.speak(`
    C: MAIL FROM:<bob@client.test> ENVID=QQ314159
    S: 250 2.1.0 *
    C: RCPT TO:<${name}@example.test> NOTIFY=SUCCESS
    S: 250 *
    C: DATA
    S: 354 *
    C: Subject: hello
    C: 
    C: x
    C: .
    S: 250 *
  `)
  await world.received(2)
  await rig.empty()
  const reports = world.messages.filter(({ from }) => from === '')
  expect(reports.map(({ to }) => to)).toEqual([['bob@client.test']])
  const text = reports[0]?.bytes?.toString()
  expect(text).toContain(`Final-Recipient: rfc822; ${name}@example.test\r\n`)
  expect(text).toContain(`Action: ${action}\r\n`)
  expect(text).not.toContain('else.test')
  const copies = world.messages.filter(({ from }) => from !== '')
  expect(copies.flatMap(({ to }) => to).sort()).toEqual(members)
  expect(copies.flatMap(({ rcptLines }) => rcptLines).join()).not.toContain('SUCCESS')
})

test('the owner of a list hears which member failed, not where that member’s mail leads', async () => {
  await using world = await SmtpPeer.start({
    on: { rcpt: ({ line }) => (line.includes('<gone') ? '550 5.1.1 no such user' : undefined) },
  })
  await using rig = await Rig.start({
    plugins: [
      'storage-level',
      {
        aliases: {
          domains: ['example.test'],
          aliases: {
            news: { to: ['anna@else.test', 'gone@else.test', 'carl'], list: 'owner@list.test' },
            carl: 'gone-carl@home.test',
          },
        },
      },
      { relay: { to: world.address } },
    ],
  })
  await using client = await greeted(rig)
  await send(client, 'bob@client.test', 'news@example.test')
  const reports = () => world.messages.filter(({ from }) => from === '')
  const told = () =>
    reports().flatMap(({ bytes }) =>
      Array.from(String(bytes).matchAll(/^Final-Recipient: rfc822; (.*)\r$/gm), ([, who]) => who),
    )
  await until('both are told', () => told().length === 2)
  expect(told().sort()).toEqual(['carl@example.test', 'gone@else.test'])
  expect(reports().every(({ to }) => to[0] === 'owner@list.test')).toBe(true)
})
