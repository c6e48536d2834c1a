// One message sent is one message received, or none: whatever mix of CR, LF and dots stands in it. The sender's idea of
// where a message ends is CRLF.CRLF or the octets it counted, and nothing else may end it here.
import { expect, test } from 'vitest'
import { type ListenerOptions, Rig } from './rig.ts'

const letters = ['\r', '\n', '.', 'x']

/** Every text of up to `length` of them. */
function mixes(length: number): string[] {
  let all = ['']
  let last = ['']
  for (let i = 0; i < length; i++) {
    last = last.flatMap(text => letters.map(letter => text + letter))
    all = all.concat(last)
  }
  return all
}

const mail = (from: string) => `MAIL FROM:<${from}@example.test>\r\nRCPT TO:<b@example.test>\r\n`
const smuggled = `${mail('smuggled')}DATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n`

/** Sends it all in one session, and gives the replies, and who the pipeline thinks has sent what. */
async function run(rig: Rig, input: string): Promise<{ codes: string[]; senders: string[] }> {
  const before = rig.pipeline.messages.length
  await using client = await rig.connect({ patience: 15_000 })
  const codes: string[] = []
  let text = ''
  const closed = new Promise<void>(resolve => client.socket.once('close', () => resolve()))
  client.socket.on('data', chunk => {
    text += chunk.toString('latin1')
  })
  client.socket.end(Buffer.from(input, 'latin1'))
  await closed
  for (const line of text.split('\r\n')) if (/^\d{3} /.test(line)) codes.push(line.slice(0, 3))
  return { codes, senders: rig.pipeline.messages.slice(before).map(({ from }) => from?.local ?? '') }
}

const settings: [string, ListenerOptions][] = [
  ['refuse', {}],
  ['normalise', { bareNewlines: 'normalise' }],
]

const limits = { messagesPerConnection: 1e9, errors: 1e9, idleCommands: 1e9 }

for (const [name, options] of settings) {
  test(`${name}: DATA with every mix before what looks like another session`, async () => {
    await using rig = await Rig.start({ ...options, limits })
    // These really are the end of data, so that what follows is commands and two messages are right.
    const ends = (mix: string) => `\r\n${mix}`.includes('\r\n.\r\n')
    const chosen = mixes(6).filter(mix => !ends(mix))
    expect(chosen.length).toBeGreaterThan(5000)
    // All in one session: each must be over, and none more, before the next one.
    const bodies = chosen.map(mix => `x\r\n${mix}${smuggled.replace(/\r\n\.\r\n$/, '\r\nx')}`)
    const input = `EHLO c\r\n${bodies.map((body, i) => `${mail(`m${i}`)}DATA\r\n${body}\r\n.\r\n`).join('')}QUIT\r\n`
    const { codes, senders } = await run(rig, input)
    expect(senders).toEqual(chosen.map((_, i) => `m${i}`))
    expect(codes.length).toBe(2 + chosen.length * 4 + 1)
    const verdicts = chosen.map((_, i) => codes[2 + i * 4 + 3])
    for (const [i, mix] of chosen.entries()) {
      const message = rig.pipeline.messages[i]
      const bare = /\r(?!\n)|(?<!\r)\n/.test(`x\r\n${mix}M`)
      if (name === 'normalise' || !bare) {
        expect(verdicts[i], JSON.stringify(mix)).toBe('250')
        expect(message?.body).toContain('MAIL FROM:<smuggled@example.test>')
        expect(message?.body, JSON.stringify(mix)).not.toMatch(/\r(?!\n)|(?<!\r)\n/)
      } else {
        expect(verdicts[i], JSON.stringify(mix)).toBe('550')
        expect(message?.outcome).toMatchObject({ code: 550, enhanced: '5.6.0' })
      }
    }
  })

  test(`${name}: BDAT with every mix, cut in two chunks at every place`, async () => {
    await using rig = await Rig.start({ ...options, limits })
    const all = mixes(4).flatMap(mix => {
      const body = `${mix}${smuggled}${mix}`
      return [0, 1, mix.length, body.length - mix.length, body.length - 1].map(cut => [
        body.slice(0, cut),
        body.slice(cut),
      ])
    })
    const input = `EHLO c\r\n${all
      .map(([a = '', b = ''], i) => `${mail(`m${i}`)}BDAT ${a.length}\r\n${a}BDAT ${b.length} LAST\r\n${b}`)
      .join('')}QUIT\r\n`
    const { codes, senders } = await run(rig, input)
    expect(senders).toEqual(all.map((_, i) => `m${i}`))
    expect(codes.length).toBe(2 + all.length * 4 + 1)
    for (const [i, [a = '', b = '']] of all.entries()) {
      const bare = /\r(?!\n)|(?<!\r)\n/.test(a + b)
      const kept = rig.pipeline.messages[i]?.outcome === 'ended'
      expect(kept, JSON.stringify([a, b])).toBe(name === 'normalise' || !bare)
      if (kept && !bare) expect(rig.pipeline.messages[i]?.body).toBe(a + b)
    }
  })

  test(`${name}: commands with every mix in them`, async () => {
    await using rig = await Rig.start({ ...options, limits })
    const commands = mixes(4).map(mix => `NOOP ${mix}\r\n`)
    const { codes } = await run(rig, `EHLO c\r\n${commands.join('')}QUIT\r\n`)
    // A reply for each line, as the rules of this listener count lines, and none that says 354.
    const lines = commands.join('').split(name === 'normalise' ? '\n' : '\r\n').length - 1
    expect(codes.length).toBe(2 + lines + 1)
    expect(codes.at(-1)).toBe('221')
    expect(codes).not.toContain('354')
  })
}

test('a command smuggled behind a bare LF never runs', async () => {
  await using rig = await Rig.start()
  for (const glue of ['\n', '\r', '\n\r', '\r\r', '\n.\n', '\0', '\n\n']) {
    const input = `EHLO c\r\nNOOP x${glue}MAIL FROM:<smuggled@example.test>\r\nRCPT TO:<b@example.test>\r\nQUIT\r\n`
    expect((await run(rig, input)).codes, JSON.stringify(glue)).toEqual(['220', '250', '500', '503', '221'])
  }
})
