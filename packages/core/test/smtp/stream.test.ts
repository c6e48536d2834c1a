import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChunkDecoder, DotDecoder } from '../../src/smtp/body.ts'
import { type LineFault, SmtpStream, type Wire } from '../../src/smtp/stream.ts'

interface Heard extends Wire {
  readonly said: string[]
}

const ended = (stream: SmtpStream) =>
  new Promise<void>(resolve => {
    stream.once('finish', resolve)
    stream.end()
  })

interface Hearing {
  readonly lineLimit?: number
  readonly lenient?: boolean
  readonly slow?: boolean
}

/** What comes out of a stream, whether the chunks are its own or only lent. */
async function hear(chunks: readonly string[], options: Hearing = {}): Promise<string[]> {
  const said = await feed(chunks, options, false)
  expect(await feed(chunks, options, true)).toEqual(said)
  return said
}

/** `DATA` and `BDAT n` lines start bodies. */
async function feed(chunks: readonly string[], options: Hearing, lent: boolean): Promise<string[]> {
  const said: string[] = []
  let body = ''
  const later = () => (options.slow ? new Promise<void>(resolve => setImmediate(resolve)) : undefined)
  const wire: Heard = {
    said,
    command(line) {
      const text = line.toString('latin1')
      said.push(text)
      if (text === 'DATA') stream.receive(new DotDecoder())
      const size = /^BDAT (\d+)$/.exec(text)?.[1]
      if (size !== undefined) {
        const decoder = new ChunkDecoder('binary')
        decoder.begin(Number(size))
        stream.receive(decoder)
      }
      return later()
    },
    malformed(fault: LineFault) {
      said.push(`(${fault})`)
      return later()
    },
    body(octets, over) {
      body += octets.toString('latin1')
      if (over) {
        said.push(`{${body}}`)
        body = ''
      }
      return later()
    },
    paused() {},
    ended: () => said.push('(end)'),
    failed: error => said.push(`(failed: ${error})`),
  }
  const { lineLimit = 100, lenient = false } = options
  const stream = new SmtpStream(wire, { lineLimit, lenient, hold: false })
  for (const chunk of chunks) {
    const bytes = Buffer.from(chunk, 'latin1')
    if (!lent) stream.write(bytes)
    else {
      stream.lend(bytes)
      // The next read, of whatever socket, goes to the same place.
      bytes.fill('~')
    }
  }
  await ended(stream)
  return said
}

const everySplit = (text: string) => [...text].map((_, i) => [text.slice(0, i), text.slice(i)])

describe('command lines', () => {
  test('end with CRLF', async () => {
    expect(await hear(['NOOP\r\nRSET\r\nQU'])).toEqual(['NOOP', 'RSET', '(end)'])
  })

  test('a bare LF, a bare CR or a NUL spoils the line up to its CRLF', async () => {
    for (const slow of [false, true]) {
      const lines = [
        'NOOP\nMAIL FROM:<a@b.c>\r\nRSET\r\n',
        'NO\rOP\r\nRSET\r\n',
        'NO\0OP\r\nRSET\r\n',
        '\nRSET\r\n\r\n',
      ]
      const said = await Promise.all(lines.map(line => hear([line], { slow })))
      expect(said.map(words => words.slice(0, -1))).toEqual([
        ['(bare LF)', 'RSET'],
        ['(bare CR)', 'RSET'],
        ['(NUL)', 'RSET'],
        ['(bare LF)', ''],
      ])
    }
  })

  test('a bare LF ends a line where the operator says so', async () => {
    expect(await hear(['NOOP\nRSET\r\nA\rB\n'], { lenient: true })).toEqual(['NOOP', 'RSET', '(bare CR)', '(end)'])
  })

  test('a line over the limit is answered once and swallowed', async () => {
    const line = 'x'.repeat(101)
    for (const chunks of [
      [`${line}\r\nNOOP\r\n`],
      [...line, '\r', '\n', 'NOOP\r\n'],
      [`${line}${line}`, '\r', '\nNOOP\r\n'],
    ]) {
      expect(await hear(chunks)).toEqual(['(too long)', 'NOOP', '(end)'])
    }
    expect(await hear([`${'x'.repeat(100)}\r\n`])).toEqual(['x'.repeat(100), '(end)'])
    expect(await hear(['x'.repeat(100), '\r', '\n'])).toEqual(['x'.repeat(100), '(end)'])
  })

  test('2 MB without a line end are not kept', async () => {
    expect(await hear(new Array(200).fill('y'.repeat(10_000)).concat('\r\nNOOP\r\n'))).toEqual([
      '(too long)',
      'NOOP',
      '(end)',
    ])
  })
})

describe('commands and bodies', () => {
  const session = 'MAIL\r\nDATA\r\nHello\r\n..\r\n.\r\nBDAT 7\r\n\r\n.\r\nabQUIT\r\n'
  const words = ['MAIL', 'DATA', '{Hello\r\n.\r\n}', 'BDAT 7', '{\r\n.\r\nab}', 'QUIT', '(end)']

  test('cut at every octet, they are the same', async () => {
    for (const chunks of everySplit(session)) {
      for (const slow of [false, true]) {
        expect(await hear(chunks, { slow })).toEqual(words)
      }
    }
  })

  test('cut anywhere, they are the same', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(session.length), { maxLength: 8 }), fc.boolean(), async (cuts, slow) => {
        const at = [0, ...cuts.sort((a, b) => a - b), session.length]
        const chunks = at.slice(1).map((end, i) => session.slice(at[i], end))
        expect(await hear(chunks, { slow })).toEqual(words)
      }),
      { numRuns: 200 },
    )
  })

  test('a thousand pipelined commands run in order and let others in between', async () => {
    let turns = 0
    let over = false
    const others = () => {
      turns++
      if (!over) setImmediate(others)
    }
    setImmediate(others)
    const said = await hear(['NOOP\r\n'.repeat(1000)])
    over = true
    expect(said).toHaveLength(1001)
    expect(turns).toBeGreaterThan(5)
  })

  test('a throw in a handler is reported, and nothing runs after it', async () => {
    const said: string[] = []
    const wire: Wire = {
      command: line => {
        said.push(line.toString())
        if (said.length === 2) throw new Error('ours')
      },
      malformed() {},
      body() {},
      paused() {},
      ended: () => said.push('(end)'),
      failed: error => said.push(`(failed: ${(error as Error).message})`),
    }
    const stream = new SmtpStream(wire, { lineLimit: 100, lenient: false, hold: false })
    stream.write(Buffer.from('A\r\nB\r\nC\r\n'))
    stream.write(Buffer.from('D\r\n'))
    await ended(stream)
    expect(said).toEqual(['A', 'B', '(failed: ours)'])
  })

  test('before release nothing runs, and what came is known', async () => {
    const said: string[] = []
    const wire: Wire = {
      command: line => void said.push(line.toString()),
      malformed() {},
      body() {},
      paused() {},
      ended() {},
      failed() {},
    }
    const stream = new SmtpStream(wire, { lineLimit: 100, lenient: false, hold: true })
    expect(stream.pending).toBe(false)
    stream.write(Buffer.from('EHLO early\r\n'))
    expect(stream.pending).toBe(true)
    expect(said).toEqual([])
    stream.release()
    expect(said).toEqual(['EHLO early'])
  })

  test('who leaves before the greeting is let go at once, who has said something after that was heard', () => {
    const said: string[] = []
    const wire: Wire = {
      command: line => void said.push(line.toString()),
      malformed() {},
      body() {},
      paused() {},
      ended: () => void said.push('(end)'),
      failed() {},
    }
    const options = { lineLimit: 100, lenient: false, hold: true }
    new SmtpStream(wire, options).end()
    expect(said.splice(0)).toEqual(['(end)'])
    const early = new SmtpStream(wire, options)
    early.write(Buffer.from('EHLO early\r\n'))
    early.end()
    expect(said).toEqual([])
    early.release()
    expect(said).toEqual(['EHLO early', '(end)'])
  })
})
