// One message in is one message out, or a refusal, however CR, LF and dots are mixed: no client makes us see, or our
// next hop see, mail that it did not send as mail of its own. The next hop here is of the kind that can be smuggled to.
import { expect, test } from 'vitest'
import { greeted, Rig } from './rig.ts'
import {
  type Attempt,
  attack,
  bare,
  between,
  expectAtHop,
  lenient,
  mixes,
  normalised,
  smuggled,
  unstuffed,
} from './smuggler.ts'

const letters = ['\r', '\n', '.']
const places = [
  (mix: string) => [`Subject: s\r\n\r\nfirst${mix.slice(0, 2)}`, `${mix.slice(2)}${smuggled}`] as const,
  (mix: string) => [`Subject: s${mix.slice(0, 1)}`, `${mix.slice(1)}X-Evil: yes\r\n\r\nbody`] as const,
]

/** DATA: what follows the mix is only reached where the mix does not end the data for real. */
function inData(longest: number, mode: 'refuse' | 'normalise'): readonly Attempt[] {
  return places.flatMap(place =>
    [...mixes(letters, longest)]
      .filter(mix => !mix.includes('\r\n.\r\n'))
      .map(mix => {
        const [first, rest] = place(mix)
        const text = `${first}${rest}\r\n`
        const whole = mode === 'refuse' ? unstuffed(text) : normalised(unstuffed(text))
        return { first, rest, expected: mode === 'refuse' && bare.test(text) ? undefined : whole }
      }),
  )
}

test.each([['refuse', 5] as const, ['normalise', 4] as const])('DATA, bare line ends: %s', async (mode, longest) => {
  await using hop = await lenient()
  await using rig = await between(hop, mode)
  await using client = await greeted(rig)
  const attempts = inData(longest, mode)
  await attack(client, attempts, async n => {
    client.send('DATA\r\n')
    await client.expect('354 *')
    const { first, rest } = attempts[n] as Attempt
    // Two writes, so that the mix is cut in the middle.
    await client.sent(Buffer.from(first))
    client.send(`${rest}\r\n.\r\n`)
  })
  await expectAtHop(rig, hop, attempts)
})

test.each([['refuse', 5] as const, ['normalise', 4] as const])('BDAT, bare line ends: %s', async (mode, longest) => {
  await using hop = await lenient()
  await using rig = await between(hop, mode)
  await using client = await greeted(rig)
  // Here a dot between line ends is text, and must still be text at a next hop that takes DATA.
  const attempts = places.flatMap(place =>
    [...mixes(letters, longest)].map((mix): Attempt => {
      const [first, rest] = place(mix)
      const text = `${first}${rest}\r\n`
      const expected = mode === 'normalise' ? normalised(text) : bare.test(text) ? undefined : text
      return { first, rest, expected }
    }),
  )
  await attack(client, attempts, async n => {
    const { first, rest } = attempts[n] as Attempt
    client.send(`BDAT ${first.length}\r\n${first}`)
    const [taken] = await client.reply()
    if (taken?.startsWith('550')) {
      // The transaction has failed with this chunk; the next is read, and refused.
      client.send(`BDAT ${rest.length + 2} LAST\r\n${rest}\r\n`)
      await client.expect('503 *')
      client.send(`MAIL FROM:<n${n}@client.test>\r\nRCPT TO:<to@next.test>\r\n`)
      await client.expect('250 2.1.0 *')
      await client.expect('250 2.1.5 *')
      client.send(`BDAT ${first.length + rest.length + 2} LAST\r\n${first}${rest}\r\n`)
    } else client.send(`BDAT ${rest.length + 2} LAST\r\n${rest}\r\n`)
  })
  await expectAtHop(rig, hop, attempts)
})

test('a BDAT that counts the commands behind it has them in its message, and nowhere else', async () => {
  await using hop = await lenient()
  await using rig = await between(hop, 'refuse')
  await using client = await greeted(rig)
  const text = `Subject: s\r\n\r\n.\r\n${smuggled}\r\n.\r\nQUIT\r\n`
  client.send(`MAIL FROM:<n0@client.test>\r\nRCPT TO:<to@next.test>\r\nBDAT ${text.length} LAST\r\n${text}NOOP\r\n`)
  for (let i = 0; i < 4; i++) await client.expect('250 *')
  await expectAtHop(rig, hop, [{ first: '', rest: '', expected: text }])
})

test('a BDAT whose size makes no sense ends the session: nobody knows where commands begin again', async () => {
  await using hop = await lenient()
  await using rig = await between(hop, 'refuse')
  for (const size of ['-1', '1x', '', '99999999999999999999', '0x10', '1 LAST LAST', '+5', '5 last.']) {
    await using client = await greeted(rig)
    client.send(`MAIL FROM:<n0@client.test>\r\nRCPT TO:<to@next.test>\r\nBDAT ${size}\r\n${smuggled}\r\n.\r\n`)
    await client.expect('250 2.1.0 *')
    await client.expect('250 2.1.5 *')
    await client.expect('501 5.5.4 *')
    await client.expect('(closed)')
  }
  expect(hop.connections).toBe(0)
})

test.each([
  ['refuse', /\r\n/, /\r|\n|\0/],
  ['normalise', /\r?\n/, /\r|\0/],
] as const)('commands, bare line ends: %s', async (mode, lineEnd, unfit) => {
  await using hop = await lenient()
  await using rig = await between(hop, mode)
  await using client = await greeted(rig)
  for (const mix of mixes(['\r', '\n', '\0'], 4)) {
    const said = `NOOP${mix}VRFY x`
    await client.sent(Buffer.from(said.slice(0, 5)))
    client.send(`${said.slice(5)}\r\n`)
    for (const line of said.split(lineEnd)) {
      const code = unfit.test(line) ? '500 5.5.2' : line === 'NOOP' ? '250' : line === 'VRFY x' ? '252' : '500'
      await client.expect(`${code} *`)
    }
    client.send('RSET\r\n')
    await client.expect('250 2.0.0 OK')
  }
  expect(hop.connections).toBe(0)
})

test('plain text behind STARTTLS is never taken for a command under TLS', async () => {
  await using hop = await lenient()
  await using rig = await Rig.start({
    listeners: { mx: { listen: '127.0.0.1:0' } },
    plugins: ['storage-level', { relay: { to: hop.address, domains: ['next.test'] } }],
  })
  await using client = await greeted(rig)
  client.send('STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\n')
  await client.expect('220 2.0.0 *')
  // Whether the plain text breaks the handshake or is dropped is up to where packets were cut; no reply comes to it.
  const secured = await client.startTls().then(
    () => true,
    () => false,
  )
  if (secured) {
    await client.speak(`
      C: RCPT TO:<victim@next.test>
      S: 503 5.5.1 *
      C: MAIL FROM:<a@client.test>
      S: 503 5.5.1 *
    `)
  }
  expect(hop.connections).toBe(0)
})
