import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type BodyDecoder, type BodyMode, ChunkDecoder, DotDecoder } from '../../src/smtp/body.ts'

// The same by split and join: slow, and plain enough to be believed.
function naiveData(input: string): { body: string; rest: string } | undefined {
  const lines = input.split('\r\n')
  const end = lines.indexOf('.')
  if (end < 0 || end === lines.length - 1) return undefined
  const body = lines.slice(0, end).map(line => `${line.replace(/^\./, '')}\r\n`)
  return { body: body.join(''), rest: lines.slice(end + 1).join('\r\n') }
}

const isBad = (body: string) => /\r(?!\n)|(?<!\r)\n|\0/.test(body)
const normalised = (body: string) => body.replace(/\r\n|\r|\n/g, '\r\n')

function decode(decoder: BodyDecoder, chunks: readonly string[]): { body: string; rest: string } {
  let body = ''
  for (const [index, chunk] of chunks.entries()) {
    const octets = Buffer.from(chunk, 'latin1')
    body += decoder.decode(octets, 0).toString('latin1')
    if (!decoder.done) continue
    return { body, rest: chunk.slice(decoder.next) + chunks.slice(index + 1).join('') }
  }
  return { body, rest: '' }
}

const split = (text: string, ...cuts: readonly number[]): string[] => {
  const at = [0, ...cuts.map(cut => cut % (text.length + 1)).sort((a, b) => a - b), text.length]
  return at.slice(1).map((end, index) => text.slice(at[index], end))
}

const long = 'A line of ordinary text that is long enough for the native search to be worth its while, over and over. '
const piece = fc.constantFrom('\r\n', '\r\n.', '\r\n..', '\r', '\n', '.', '\0', 'a', 'é', long.repeat(4))
const clean = fc.constantFrom('\r\n', '\r\n.a', '\r\n..', '\r\n...\r\n', 'a.', 'é', long.repeat(4))
const cuts = fc.array(fc.nat(), { maxLength: 4 })
const text = (pieces: fc.Arbitrary<string>, maxLength = 30) =>
  fc.array(pieces, { maxLength }).map(parts => parts.join('').replaceAll('é', '\xe9'))

describe('DATA', () => {
  test('whatever comes, the end is where it is and the body what it is, at every split', () => {
    fc.assert(
      fc.property(text(fc.oneof(piece, clean)), cuts, (input, at) => {
        const stream = `${input}\r\n.\r\nQUIT\r\n`
        const expected = naiveData(stream)
        const decoder = new DotDecoder()
        const found = decode(decoder, split(stream, ...at))
        expect(found.rest).toBe(expected?.rest)
        expect(decoder.fault !== undefined).toBe(isBad(expected?.body ?? ''))
        if (decoder.fault === undefined) expect(found.body).toBe(expected?.body)
      }),
      { numRuns: 2000 },
    )
  })

  test('a clean body with dots comes out as it was sent', () => {
    fc.assert(
      fc.property(text(clean, 200), cuts, (input, at) => {
        const stuffed = `${input}\r\n`.replace(/(^|\r\n)\./g, '$1..')
        const decoder = new DotDecoder()
        expect(decode(decoder, split(`${stuffed}.\r\n`, ...at))).toEqual({ body: `${input}\r\n`, rest: '' })
        expect(decoder.fault).toBeUndefined()
      }),
      { numRuns: 500 },
    )
  })

  test('split after every octet', () => {
    const stream = `.\r${long.repeat(3)}\r\n..\r\n.x\r\n\r\n.\r\nNOOP\r\n`
    for (let i = 0; i <= stream.length; i++) {
      for (const j of [i, i + 1, i + 2]) {
        expect(decode(new DotDecoder(), split(stream, i, j)).rest, `${i}, ${j}`).toBe('NOOP\r\n')
      }
    }
  })

  test('normalising makes every line end CRLF, and moves the end of data by none of it', () => {
    fc.assert(
      fc.property(text(fc.oneof(piece, clean)), cuts, (input, at) => {
        const stream = `${input.replaceAll('\0', '0')}\r\n.\r\nQUIT\r\n`
        const expected = naiveData(stream)
        const decoder = new DotDecoder('normalise')
        const found = decode(decoder, split(stream, ...at))
        expect(found).toEqual({ body: normalised(expected?.body ?? ''), rest: expected?.rest })
        expect(decoder.fault).toBeUndefined()
      }),
      { numRuns: 1000 },
    )
  })

  test('an empty message', () => {
    for (const mode of ['refuse', 'normalise'] satisfies BodyMode[]) {
      expect(decode(new DotDecoder(mode), ['.', '\r', '\n', 'R'])).toEqual({ body: '', rest: 'R' })
    }
  })

  test.each([
    ['a\nb\r\n.\r\n', 'bare LF'],
    ['a\rb\r\n.\r\n', 'bare CR'],
    ['a\r\r\n.\r\n', 'bare CR'],
    ['a\0b\r\n.\r\n', 'NUL'],
    ['\n.\r\n\r\n.\r\n', 'bare LF'],
    ['.\n\r\n.\r\n', 'bare LF'],
    ['.\r\r\n.\r\n', 'bare CR'],
  ])('%j has a %s', (stream, fault) => {
    const decoder = new DotDecoder()
    expect(decode(decoder, [stream]).rest).toBe('')
    expect(decoder).toMatchObject({ done: true, fault })
  })
})

describe('BDAT', () => {
  const run = (mode: BodyMode, chunks: readonly string[], cut: number) => {
    const decoder = new ChunkDecoder(mode)
    let body = ''
    for (const chunk of chunks) {
      decoder.begin(chunk.length)
      for (const part of split(chunk, cut)) if (part !== '') body += decode(decoder, [part]).body
      expect(decoder.done).toBe(true)
    }
    body += decoder.finish().toString('latin1')
    return { body, fault: decoder.fault }
  }

  test('the joined chunks are judged, wherever they were cut', () => {
    fc.assert(
      fc.property(fc.array(text(piece, 8), { maxLength: 5 }), fc.nat(), (chunks, cut) => {
        const whole = chunks.join('')
        const { body, fault } = run('refuse', chunks, cut)
        expect(body).toBe(whole)
        expect(fault !== undefined).toBe(isBad(whole))
        expect(run('binary', chunks, cut)).toEqual({ body: whole, fault: undefined })
        expect(run('normalise', chunks, cut).body).toBe(normalised(whole))
      }),
      { numRuns: 1000 },
    )
  })

  test('octets behind the chunk are left alone', () => {
    const decoder = new ChunkDecoder()
    decoder.begin(3)
    const chunk = Buffer.from('abcNOOP\r\n')
    expect(decoder.decode(chunk, 0).toString()).toBe('abc')
    expect(chunk.toString('latin1', decoder.next)).toBe('NOOP\r\n')
  })

  test('a final CR is a bare one', () => {
    expect(run('refuse', ['a\r'], 0).fault).toBe('bare CR')
    expect(run('refuse', ['a\r', '\n'], 0).fault).toBeUndefined()
    expect(run('normalise', ['a\r'], 0).body).toBe('a\r\n')
  })
})
