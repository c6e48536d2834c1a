// Peers that cut, stall, flood and lie while a message is on its way. What must hold: a recipient is reported once;
// what is reported as failed without "unknown" is not at the peer; nothing splits; nobody waits for ever.
import { createHash } from 'node:crypto'
import { connect, type NextHop, type SmtpConnection } from '@posthorn/core/client'
import { fakeClock, type PeerOptions, SmtpPeer } from '@posthorn/testing'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { carriable, corpus } from '../../../../test/corpus.ts'
import { fates, hello, hopTo, mail, type Sample, to } from './sample.ts'

const ways: [how: string, options: PeerOptions, hop?: Partial<NextHop>][] = [
  ['BDAT', {}],
  ['pipelined DATA', { offer: ['PIPELINING', '8BITMIME'] }],
  ['DATA', { offer: ['8BITMIME'] }],
  ['LMTP', { lmtp: true, offer: ['PIPELINING', '8BITMIME'] }],
  ['LMTP BDAT', { lmtp: true, offer: ['PIPELINING', '8BITMIME', 'CHUNKING'] }],
]

const session = async (peer: SmtpPeer, message: Sample, hop?: Partial<NextHop>) => {
  let connection: SmtpConnection
  try {
    connection = await connect(hopTo(peer, hop))
  } catch {
    return ['no connection']
  }
  const said = await fates(connection, message, to('bob@example.test', 'cid@example.test'))
  connection.destroy()
  return said
}

test.each(ways)(
  '%s: cut at every octet of the replies, what is not accepted is not there, or unknown',
  async (_how, options) => {
    await using whole = await SmtpPeer.start(options)
    expect(await session(whole, mail())).toEqual(['accepted', 'accepted'])
    const replies = (whole.dialogues[0] ?? []).filter(line => line.startsWith('S: ')).join('').length
    let unknown = 0
    for (let cutAfterOutput = 0; cutAfterOutput <= replies + 20; cutAfterOutput++) {
      await using peer = await SmtpPeer.start({ ...options, cutAfterOutput })
      const said = await session(peer, mail())
      if (said.some(what => what === 'untold')) {
        const last = said.at(-1) ?? ''
        expect(last, `after ${cutAfterOutput}`).toMatch(/^cut at (mail|rcpt|data|dot)/)
        if (last.endsWith('unknown')) unknown++
        else expect(peer.count, `after ${cutAfterOutput}: ${said}`).toBe(0)
      } else if (said[0] === 'no connection') expect(peer.count).toBe(0)
      else expect(said).toEqual(['accepted', 'accepted'])
    }
    expect(unknown).toBeGreaterThan(10)
  },
)

test.each(ways)('%s: cut at every octet of ours', async (_how, options) => {
  for (let cutAfterInput = 1; cutAfterInput < 180; cutAfterInput++) {
    await using peer = await SmtpPeer.start({ ...options, cutAfterInput })
    const said = await session(peer, mail())
    if (said.includes('untold')) expect(peer.count === 0 || said.at(-1)?.endsWith('unknown'), `${said}`).toBe(true)
    else expect(said[0] === 'no connection' || peer.count === 1).toBe(true)
  }
})

test.each(ways)('%s: replies octet by octet', async (_how, options) => {
  await using peer = await SmtpPeer.start({ ...options, bytewise: true })
  expect(await session(peer, mail())).toEqual(['accepted', 'accepted'])
})

test('a cut behind the final dot is unknown: the peer may have taken it', async () => {
  for (const [, options] of ways) {
    await using peer = await SmtpPeer.start({ ...options, on: { dot: { end: 'cut', taken: true } } })
    expect(await session(peer, mail())).toEqual(['untold', 'untold', 'cut at dot, unknown'])
    expect(peer.count).toBe(1)
  }
})

test('LMTP: cut between the replies at the dot, those that came count', async () => {
  await using peer = await SmtpPeer.start({
    lmtp: true,
    on: { dot: ({ nth }) => (nth === 2 ? { end: 'cut', taken: true } : undefined) },
  })
  expect(await session(peer, mail())).toEqual(['accepted', 'untold', 'cut at dot, unknown'])
})

const steps = ['mail', 'rcpt', 'data', 'dot'] as const
const patience = { mail: 300, rcpt: 300, data: 120, dot: 600 }

test.each(steps)('a peer that stalls at %s is given the time of RFC 5321 §4.5.3.2', async step => {
  const clock = fakeClock()
  await using peer = await SmtpPeer.start({ offer: [], on: { [step]: 'stall' } })
  const connection = await connect(hopTo(peer), { clock })
  let ended = false
  const result = fates(connection, mail()).then(said => {
    ended = true
    return said
  })
  const word = { mail: 'MAIL', rcpt: 'RCPT', data: 'DATA', dot: '(' }[step]
  await peer.until(({ commands }) => commands.some(line => line.startsWith(word)))
  await clock.settle()
  await clock.advance(patience[step] * 1000 - 1000)
  expect(ended).toBe(false)
  await clock.advance(2000)
  expect(await result).toEqual(['untold', `timeout at ${step}${step === 'dot' ? ', unknown' : ''}`])
  expect(clock.timers).toBe(0)
})

const noise: [what: string, on: PeerOptions['on'], said: RegExp][] = [
  ['354 for MAIL', { mail: '354 go' }, /^garbage at mail/],
  ['354 for RCPT', { rcpt: '354 go' }, /^garbage at rcpt/],
  ['250 for DATA', { data: '250 ok' }, /^garbage at data/],
  ['354 for the message', { dot: '354 more' }, /^garbage at dot/],
  ['no SMTP for MAIL', { mail: { raw: '\0\x01\x02 ok\r\n' } }, /^garbage at mail/],
  ['2 MB for MAIL', { mail: { raw: Buffer.alloc(2_000_000, 'x') } }, /^garbage at mail/],
  ['replies without end', { mail: { raw: '250-x\r\n'.repeat(100_000) } }, /^garbage at mail/],
  ['two replies for the message', { dot: '250 ok\n250 ok' }, /^$/],
]

test.each(noise)('%s ends the connection', async (_what, on, said) => {
  await using peer = await SmtpPeer.start({ offer: ['PIPELINING'], on: on ?? {} })
  const connection = await connect(hopTo(peer))
  const heard = await fates(connection, mail())
  expect(heard.at(1) ?? '').toMatch(said)
  expect(heard[0]).toBe(heard.length === 1 ? 'accepted' : 'untold')
  expect(connection.usable).toBe(false)
})

const large = (unit = `${'x'.repeat(70)}\r\n`, octets = 3_000_000) => unit.repeat(Math.ceil(octets / unit.length))

test.each(ways)('%s: a large body streams, byte by byte the same', async (_how, options) => {
  for (const unit of [`${'x'.repeat(70)}\r\n`, '..\r\n', `.${'ä'.repeat(600)}\r\n`]) {
    await using peer = await SmtpPeer.start({ ...options, keep: 'sha256' })
    const message = mail(large(unit), { chunk: 65_521 })
    expect(await session(peer, message)).toEqual(['accepted', 'accepted'])
    expect(peer.messages[0]?.sha256).toBe(createHash('sha256').update(message.octets).digest('hex'))
  }
})

test('BDAT carries what DATA cannot: no line end at the end, NUL and bare CR and LF in a binary one', async () => {
  await using peer = await SmtpPeer.start({ offer: ['CHUNKING', 'BINARYMIME', 'PIPELINING'] })
  for (const [content, params] of [
    ['no line end', {}],
    [large('x\0\r\n\n\r.', 400_000), { body: 'binarymime' as const }],
    ['', {}],
  ] as const) {
    const message = mail(content, { params })
    expect(await session(peer, message)).toEqual(['accepted', 'accepted'])
    expect(peer.messages.at(-1)?.bytes?.equals(message.octets)).toBe(true)
  }
})

test('without CHUNKING in the hop, DATA is used', async () => {
  await using peer = await SmtpPeer.start()
  expect(await session(peer, mail(), { chunking: false })).toEqual(['accepted', 'accepted'])
  expect(peer.messages[0]?.via).toBe('data')
})

test.each(ways)('%s: every message of the corpus arrives as it is', async (_how, options) => {
  await using peer = await SmtpPeer.start(options)
  const connection = await connect(hopTo(peer))
  for (const { name, bytes } of corpus()) {
    const content = carriable(bytes)
    if (content === undefined) continue
    expect(await fates(connection, mail(content)), name).toEqual(['accepted'])
    expect(peer.messages.at(-1)?.bytes?.equals(content), name).toBe(true)
  }
  connection.destroy()
})

test('nothing splits: whatever mix of CR, LF and dot, the peer gets one message or none', async () => {
  const end = fc.constantFrom(
    '\r\n.\r\n',
    '\n.\n',
    '\r.\r',
    '\n.\r\n',
    '\r\n.\n',
    '\r\n.\r',
    '\r\n\0.\r\n',
    '\r\r\n.\r\n',
    '.',
  )
  const evil = 'MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@x.test>\r\nDATA\r\nowned\r\n.\r\n'
  for (const [, options] of ways.slice(0, 3)) {
    for (const endOfData of ['strict', 'lenient'] as const) {
      await using peer = await SmtpPeer.start({ ...options, endOfData })
      await fc.assert(
        fc.asyncProperty(
          fc.array(end, { minLength: 1, maxLength: 3 }),
          fc.nat(80),
          fc.boolean(),
          async (ends, at, big) => {
            const text = `Subject: x\r\n\r\nhello${ends.join(evil)}${evil}`
            const message = mail(big ? `${large('y\r\n', 70_000)}${text}` : text, { chunk: at + 1 })
            const before = peer.count
            const said = await session(peer, message)
            expect(peer.count - before).toBe(said[0] === 'accepted' ? 1 : 0)
            expect(peer.messages.some(({ from }) => from.includes('evil'))).toBe(false)
          },
        ),
        { numRuns: 60 },
      )
    }
  }
}, 60_000)

test('half a message never gets its dot', async () => {
  const broken: [Sample, string[]][] = [
    [{ ...mail(large()), size: 2_000_000 }, ['unsent 4.3.0', 'unsent 4.3.0']],
    [{ ...mail(large()), size: 5_000_000 }, ['unsent 4.3.0', 'unsent 4.3.0']],
    [{ ...mail(hello), size: 20 }, ['unsent 4.3.0', 'unsent 4.3.0']],
    [failing(mail(large()), 1_000_000), ['unsent 4.3.0', 'unsent 4.3.0']],
    [failing(mail(hello), 0), ['unsent 4.3.0', 'unsent 4.3.0']],
    [mail(`${large()}bare\rreturn\r\n`), ['unsent 5.6.3', 'unsent 5.6.3']],
    [mail(`${large()}\r`), ['unsent 5.6.3', 'unsent 5.6.3']],
    [mail('a\nb\r\n'), ['unsent 5.6.3', 'unsent 5.6.3']],
  ]
  for (const [, options] of ways) {
    await using peer = await SmtpPeer.start(options)
    for (const [message, said] of broken) expect(await session(peer, message)).toEqual(said)
    expect(peer.count).toBe(0)
  }
})

/** A message whose store fails after some octets. */
function failing(message: Sample, after: number): Sample {
  return {
    ...message,
    async *open() {
      for (let at = 0; at < after; at += 50_000) yield message.octets.subarray(at, at + 50_000)
      throw new Error('EIO')
    },
  }
}

test('with BDAT a bad message costs no connection', async () => {
  await using peer = await SmtpPeer.start()
  const connection = await connect(hopTo(peer))
  expect(await fates(connection, mail(`${large()}bare\rreturn\r\n`))).toEqual(['unsent 5.6.3'])
  expect(await fates(connection, mail())).toEqual(['accepted'])
  expect(peer.count).toBe(1)
  connection.destroy()
})

test('a refused chunk ends the body early', async () => {
  await using peer = await SmtpPeer.start({ on: { bdat: ({ nth }) => (nth === 3 ? '552 5.3.4 enough' : undefined) } })
  const connection = await connect(hopTo(peer))
  expect(await fates(connection, mail(large(undefined, 20_000_000), { chunk: 65_536 }))).toEqual(['552 5.3.4 data'])
  const chunks = peer.commands.filter(line => line.startsWith('BDAT')).length
  expect(chunks).toBeLessThan(40)
  expect(await fates(connection, mail())).toEqual(['accepted'])
  connection.destroy()
})

test('a peer that refuses in the middle of DATA is believed', async () => {
  // 354, and the refusal right behind it, before the body.
  await using peer = await SmtpPeer.start({
    offer: ['PIPELINING'],
    on: { data: { raw: '354 go\r\n552 5.3.4 too much\r\n', end: 'stall' } },
  })
  const connection = await connect(hopTo(peer))
  expect(await fates(connection, mail(large()))).toEqual(['552 5.3.4 data'])
  expect(connection.usable).toBe(false)
})

test('a peer that reads nothing slows us, not our heap', async () => {
  const clock = fakeClock()
  await using peer = await SmtpPeer.start({ offer: ['PIPELINING', '8BITMIME'], readAtMost: 100_000 })
  const connection = await connect(hopTo(peer), { clock })
  let given = 0
  const message = mail('')
  const endless: Sample = {
    ...message,
    size: 2_000_000_000,
    async *open() {
      const chunk = Buffer.alloc(65_536, 'x\r\n')
      chunk.write('\r\n', 65_534)
      chunk.write('xx', 65_532)
      for (;;) {
        given += chunk.length
        yield chunk
      }
    },
  }
  const result = fates(connection, endless)
  await peer.until(({ commands }) => commands.includes('DATA'))
  // What the kernel's buffers take is taken; then it stands.
  let before = -1
  while (given !== before) {
    before = given
    for (let i = 0; i < 50; i++) await new Promise(resolve => setImmediate(resolve))
  }
  expect(given).toBeLessThan(20_000_000)
  await clock.advance(181_000)
  expect(await result).toEqual(['untold', 'timeout at data'])
  expect(peer.count).toBe(0)
})

test('stops in the middle when it is told to', async () => {
  for (const [step, unknown] of [
    ['mail', false],
    ['rcpt', false],
    ['data', false],
    ['dot', true],
  ] as const) {
    await using peer = await SmtpPeer.start({ offer: [], on: { [step]: 'stall' } })
    const connection = await connect(hopTo(peer))
    const stop = new AbortController()
    const told: number[] = []
    const result = connection.send(mail(), to('bob@example.test'), index => told.push(index), stop.signal)
    const word = { mail: 'MAIL', rcpt: 'RCPT', data: 'DATA', dot: '(' }[step]
    await peer.until(({ commands }) => commands.some(line => line.startsWith(word)))
    stop.abort(new Error('enough'))
    expect(await result).toMatchObject({ kind: 'aborted', phase: step, unknown })
    expect(told).toEqual([])
    expect(connection.usable).toBe(false)
  }
})

test('a report that throws ends the connection, and is heard of', async () => {
  await using peer = await SmtpPeer.start()
  const connection = await connect(hopTo(peer))
  const oops = new Error('oops')
  const result = connection.send(mail(), to('bob@example.test'), () => {
    throw oops
  })
  await expect(result).rejects.toBe(oops)
  expect(connection.usable).toBe(false)
})
