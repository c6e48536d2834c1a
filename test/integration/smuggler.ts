// What the smuggling tests share: a server between a client that smuggles and a next hop that can be smuggled to.
import { SmtpPeer, type SmtpScript } from '@posthorn/testing'
import { expect } from 'vitest'
import { parted, Rig } from './rig.ts'

export const smuggled =
  'MAIL FROM:<evil@client.test>\r\nRCPT TO:<victim@next.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil'

/** Every string over `alphabet` of 1 to `longest` letters. */
export function* mixes(alphabet: readonly string[], longest: number, before = ''): Generator<string> {
  if (longest === 0) return
  for (const letter of alphabet) {
    yield before + letter
    yield* mixes(alphabet, longest - 1, before + letter)
  }
}

export const bare = /\r(?!\n)|(?<!\r)\n/
export const unstuffed = (text: string) => text.replace(/(^|\r\n)\./g, '$1')
export const normalised = (text: string) => text.replace(/\r\n|\r|\n/g, '\r\n')

export interface Attempt {
  readonly first: string
  readonly rest: string
  /** What the next hop shall have; undefined: the client hears a refusal and nobody gets anything. */
  readonly expected: string | undefined
}

/** Everything goes through one session, so that a reply too many or too few is noticed at the next command. */
export async function attack(client: SmtpScript, attempts: readonly Attempt[], body: (n: number) => Promise<void>) {
  for (const [n, { expected, first, rest }] of attempts.entries()) {
    client.send(`MAIL FROM:<n${n}@client.test>\r\nRCPT TO:<to@next.test>\r\n`)
    await client.expect('250 2.1.0 Sender OK')
    await client.expect('250 2.1.5 Recipient OK')
    await body(n)
    const [reply] = await client.reply()
    const said = expected === undefined ? /^550 5\.6\.0 / : /^250 2\.0\.0 OK: queued/
    expect(reply, JSON.stringify(first + rest)).toMatch(said)
    client.send('RSET\r\nVRFY x\r\n')
    await client.expect('250 2.0.0 OK')
    await client.expect('252 *')
  }
}

export async function expectAtHop(rig: Rig, hop: SmtpPeer, attempts: readonly Attempt[]) {
  await rig.empty()
  const good = attempts.flatMap(({ expected }, n) => (expected === undefined ? [] : [[`n${n}@client.test`, expected]]))
  const got = hop.messages.map(({ from, bytes }) => [from, parted(bytes as Buffer).received.toString('latin1')])
  expect(Object.fromEntries(got)).toEqual(Object.fromEntries(good))
  expect(hop.count).toBe(good.length)
}

/** A server in front of `hop`; the client may err as often as it likes. */
export const between = (hop: SmtpPeer, bareNewlines: 'refuse' | 'normalise') =>
  Rig.start({
    limits: { errors: 1_000_000, idleCommands: 1_000_000 },
    listeners: { mx: { listen: '127.0.0.1:0', tls: 'none', bareNewlines } },
    plugins: ['storage-level', { relay: { to: hop.address, domains: ['next.test'], connections: 4 } }],
  })

// Without CHUNKING everything goes out by DATA, where a lenient end of data does its harm.
export const lenient = () => SmtpPeer.start({ endOfData: 'lenient', offer: ['PIPELINING', '8BITMIME', 'SMTPUTF8'] })
