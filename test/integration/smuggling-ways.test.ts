// The ways in that are known by name, one by one: the ends of data of SEC Consult's and Postfix's papers, cut at every
// octet; octets that look like line ends to somebody; names, parameters and log-ins; replies that a plugin makes up.
import { expect, test } from 'vitest'
import { accounts, anna } from '../interop/posthorn.ts'
import { greeted, parted, Rig } from './rig.ts'
import {
  type Attempt,
  attack,
  bare,
  between,
  expectAtHop,
  lenient,
  normalised,
  smuggled,
  unstuffed,
} from './smuggler.ts'

const modes = ['refuse', 'normalise'] as const

/** What some server, somewhere, has taken for the end of data. */
const ends = [
  '\n.\n',
  '\n.\r\n',
  '\r\n.\n',
  '\r\n.\r',
  '\r.\r',
  '\r.\r\n',
  '\r\n.\r\r\n',
  '\r\r\n.\r\r\n',
  '\n\n.\r\n',
  '\r\n\0.\r\n',
  '\r\n.\0\r\n',
  '\r\n.\r\0\n',
  '\0\r\n.\r\n\0',
  '\r\n .\r\n',
  '\r\n. \r\n',
  '\r\n.\t\r\n',
  '\r\n..\r\n',
  '\r\n.\r\n'.replaceAll('\r', '\v'),
  '\r\n.\r\n'.replaceAll('\n', '\f'),
  // NEL alone and in UTF-8, LINE SEPARATOR, and Ċ, whose last octet is a line feed where somebody cuts it in half.
  '\x85.\x85',
  '\xc2\x85.\xc2\x85',
  '\xe2\x80\xa8.\xe2\x80\xa8',
  '\xc4\x8a.\xc4\x8a',
  '\r\xc4\x8a.\r\xc4\x8a',
  '\x8d\x8a.\x8d\x8a',
]

const refused = (text: string, mode: (typeof modes)[number]) =>
  text.includes('\0') || (mode === 'refuse' && bare.test(text))

test.each(modes)('DATA: each known end of data, cut at every octet, commands behind it: %s', async mode => {
  await using hop = await lenient()
  await using rig = await between(hop, mode)
  await using client = await greeted(rig)
  const attempts: Attempt[] = []
  for (const end of ends) {
    // A real end in the middle of it is no attack.
    if (end.includes('\r\n.\r\n')) continue
    for (let cut = 0; cut <= end.length; cut++) {
      const first = `Subject: s\r\n\r\nfirst${end.slice(0, cut)}`
      const rest = `${end.slice(cut)}${smuggled}`
      const text = unstuffed(`${first}${rest}\r\n`)
      const expected = refused(first + rest, mode) ? undefined : mode === 'refuse' ? text : normalised(text)
      attempts.push({ first, rest, expected })
    }
  }
  await attack(client, attempts, async n => {
    const { first, rest } = attempts[n] as Attempt
    client.send('DATA\r\n')
    await client.expect('354 *')
    await client.sent(Buffer.from(first, 'latin1'))
    await client.sent(Buffer.from(rest, 'latin1'))
    // The real end, octet by octet, and what is behind it with its last.
    for (const octet of ['\r', '\n', '.', '\r']) await client.sent(Buffer.from(octet))
    client.send('\n')
  })
  await expectAtHop(rig, hop, attempts)
})

test.each(modes)('BDAT: the same as text, with the edge of a chunk at every octet: %s', async mode => {
  await using hop = await lenient()
  await using rig = await between(hop, mode)
  await using client = await greeted(rig)
  const attempts: Attempt[] = []
  for (const end of ends) {
    for (let cut = 0; cut <= end.length; cut++) {
      const first = `Subject: s\r\n\r\nfirst${end.slice(0, cut)}`
      const rest = `${end.slice(cut)}${smuggled}\r\n`
      const text = first + rest
      attempts.push({
        first,
        rest,
        expected: refused(text, mode) ? undefined : mode === 'refuse' ? text : normalised(text),
      })
    }
  }
  await attack(client, attempts, async n => {
    const { first, rest } = attempts[n] as Attempt
    // Everything at once: empty chunks between, and DATA, which is out of place there.
    client.send(
      Buffer.from(
        `BDAT ${first.length}\r\n${first}BDAT 0\r\nDATA\r\nBDAT ${rest.length}\r\n${rest}BDAT 0 LAST\r\n`,
        'latin1',
      ),
    )
    const [taken = ''] = await client.reply()
    if (taken.startsWith('250')) {
      await client.expect('250 2.0.0 0 octets received')
      await client.expect('503 5.5.1 DATA and BDAT cannot be mixed')
      if (attempts[n]?.expected === undefined) {
        // The fault is in the second chunk, or is known with the last: a CR at the end of all.
        const [second = ''] = await client.reply()
        expect(second).toMatch(/^550 5\.6\.0 /)
        await client.expect('503 *')
      } else {
        await client.expect(`250 2.0.0 ${rest.length} octets received`)
        return
      }
    } else {
      expect(taken).toMatch(/^550 5\.6\.0 /)
      for (const _ of ['BDAT 0', 'DATA', 'BDAT', 'BDAT 0 LAST']) await client.expect('503 *')
    }
    // `attack` reads one more reply, that of the message.
    client.send(`MAIL FROM:<n${n}@client.test>\r\nRCPT TO:<to@next.test>\r\nBDAT 3 LAST\r\nx\0y`)
    await client.expect('250 2.1.0 *')
    await client.expect('250 2.1.5 *')
  })
  await expectAtHop(rig, hop, attempts)
})

/** What stands for a line end to somebody, or breaks a string in two. */
const glue = [
  '\r',
  '\n',
  '\n\r',
  '\0',
  '\v',
  '\f',
  '\x1c',
  '\x85',
  '\xc2\x85',
  '\xe2\x80\xa8',
  '\xc4\x8a',
  '\x0d\x8a',
  '\t',
]

test.each(modes)('names and parameters carry no command, here or at the next hop: %s', async mode => {
  await using hop = await lenient()
  await using rig = await between(hop, mode)
  await using client = await greeted(rig)
  let taken = 0
  // Where LF ends a line, what is behind it is a line.
  for (const one of glue.filter(one => mode === 'refuse' || !one.startsWith('\n'))) {
    const evil = `${one}RCPT TO:<victim@next.test>${one}`
    for (const line of [
      `EHLO client.test${evil}`,
      `HELO [127.0.0.1${evil}]`,
      `MAIL FROM:<a${evil}@client.test> SMTPUTF8`,
      `MAIL FROM:<"a${evil}"@client.test> SMTPUTF8`,
      `MAIL FROM:<a@client${one}RCPT.test> SMTPUTF8`,
      `MAIL FROM:<a@client.test> SMTPUTF8 ENVID=x${evil}`,
      `MAIL FROM:<a@client.test> SMTPUTF8 AUTH=x${evil}`,
      `MAIL FROM:<a@client.test> SMTPUTF8${evil}`,
      `MAIL FROM:<a@client.test> SMTPUTF8 X-${evil}=y`,
    ]) {
      client.send(Buffer.from(`EHLO client.test\r\n${line}\r\n`, 'latin1'))
      expect((await client.reply()).at(-1)).toMatch(/^250 /)
      const first = (await client.reply()).at(-1) ?? ''
      client.send('RCPT TO:<to@next.test>\r\n')
      const [next = ''] = await client.reply()
      if (next.startsWith('250')) {
        // A name beyond ASCII may well be one: what it is at the next hop shows below.
        expect(first, JSON.stringify(line)).toMatch(/^250 2\.1\.0 /)
        client.send('DATA\r\nSubject: s\r\n\r\nx\r\n.\r\n')
        await client.expect('354 *')
        await client.expect('250 2.0.0 OK: queued *')
        taken++
      } else expect(next, JSON.stringify(line)).toMatch(/^503 /)
      client.send(`RSET\r\nVRFY x\r\n`)
      await client.expect('250 2.0.0 OK')
      await client.expect('252 *')
    }
  }
  await rig.empty()
  expect(taken).toBeGreaterThan(0)
  expect(hop.count).toBe(taken)
  for (const { rcptLines, bytes } of hop.messages) {
    expect(rcptLines.map(line => line.split(' ')[1])).toEqual(['TO:<to@next.test>'])
    expect(parted(bytes as Buffer).received.toString()).toBe('Subject: s\r\n\r\nx\r\n')
  }
  expect(hop.commands.filter(line => /^RCPT TO:<victim/.test(line))).toEqual([])
})

test.each(modes)('an answer to AUTH carries no command: %s', async mode => {
  await using hop = await lenient()
  await using rig = await Rig.start({
    limits: { errors: 1_000_000, idleCommands: 1_000_000 },
    listeners: {
      submission: { listen: '127.0.0.1:0', tls: 'none', auth: 'required', insecureAuth: true, bareNewlines: mode },
    },
    plugins: ['storage-level', accounts, { relay: { to: hop.address, domains: ['next.test'] } }],
  })
  const plain = Buffer.from(`\0${anna.user}\0${anna.password}`).toString('base64')
  for (const one of glue) {
    // A client each: a few wrong answers are the end of a session.
    await using client = await greeted(rig, 'submission')
    client.send(Buffer.from(`AUTH PLAIN\r\n${plain}${one}MAIL FROM:<${anna.user}>${one}\r\n`, 'latin1'))
    await client.expect('334 *')
    const [answer = ''] = await client.reply()
    if (mode === 'normalise' && one.startsWith('\n')) {
      // LF ends the line: what is behind it is what the client said next, as its own line.
      expect(answer).toMatch(/^235 /)
      expect((await client.reply())[0], JSON.stringify(one)).toMatch(/^(?:250 2\.1\.0|500) /)
      continue
    }
    expect(answer, JSON.stringify(one)).toMatch(/^50\d 5\.5\.\d /)
    client.send('MAIL FROM:<a@client.test>\r\nVRFY x\r\n')
    await client.expect('530 5.7.0 *')
    await client.expect('252 *')
  }
  expect(hop.connections).toBe(0)
})

test('what a plugin says is one reply, of its code or of a fault', async () => {
  const files = {
    'evil.ts': `
      import { definePlugin, reject } from '@posthorn/core'
      import * as z from 'zod'
      const octet = (_, hex) => String.fromCodePoint(parseInt(hex, 16))
      export default definePlugin({
        name: 'evil',
        schema: z.strictObject({}),
        setup: () => ({
          mail: tx => reject(550, '5.7.1', 'no' + tx.params.envid.replace(/%(....)/g, octet) + '250 2.1.0 yes'),
        }),
      })
    `,
  }
  await using rig = await Rig.start({ plugins: ['storage-level', './evil.ts'] }, { files })
  await using client = await greeted(rig)
  const ends = ['%000d%000a', '%000a', '%000d', '%0000', '%000b', '%000c', '%0085', '%2028', '%010a', '%010d%010a']
  const said: string[] = []
  for (const end of ends) {
    client.send(`MAIL FROM:<a@client.test> SMTPUTF8 ENVID=${end}\r\nVRFY x\r\n`)
    said.push((await client.reply()).join('|'))
    await client.expect('252 *')
  }
  const fault = '451 4.3.0 Local error in processing, try again later'
  expect(said).toEqual([
    ...ends.slice(0, 7).map(() => fault),
    '550 5.7.1 no 250 2.1.0 yes',
    '550 5.7.1 no?250 2.1.0 yes',
    '550 5.7.1 no??250 2.1.0 yes',
  ])
})
