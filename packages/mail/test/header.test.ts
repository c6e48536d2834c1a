import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fieldValues, HeaderCounter, type HeaderLimits, scanHeader, unfold } from '../src/index.ts'

const none: HeaderLimits = { size: 1e9, fields: 1e9, lines: 1e9 }

/** Names and values from the top, and what is left as body. */
function read(text: string): [fields: [string, string][], body: string] {
  const bytes = Buffer.from(text)
  const header = scanHeader(bytes)
  const fields = header.fields.map((field): [string, string] => [field.name, unfold(bytes, field)])
  return [fields, bytes.subarray(header.body).toString()]
}

/** What the counter says when the octets come in pieces cut at `cuts`. */
function count(bytes: Uint8Array, cuts: readonly number[], limits: HeaderLimits = none) {
  const counter = new HeaderCounter(limits)
  let start = 0
  for (const cut of [...cuts, bytes.length]) {
    counter.push(bytes.subarray(start, cut))
    start = cut
  }
  counter.finish()
  const { size, fields, lines, exceeded } = counter
  return exceeded ? { exceeded } : { size, fields, lines }
}

describe('scanHeader', () => {
  test('fields, folds, body', () => {
    expect(read('From: a@b\r\nSubject: one\r\n two\r\n\tthree\r\n\r\nFrom: body\r\n')).toEqual([
      [
        ['from', 'a@b'],
        ['subject', 'one two\tthree'],
      ],
      'From: body\r\n',
    ])
  })

  test('offsets take in the folds and the line end', () => {
    const bytes = Buffer.from('A: x\r\nSubject : a\r\n b\r\n\r\nbody')
    const header = scanHeader(bytes)
    expect(header.fields).toEqual([
      { name: 'a', start: 0, valueStart: 2, end: 6 },
      { name: 'subject', start: 6, valueStart: 15, end: 23 },
    ])
    expect([header.end, header.body]).toEqual([23, 25])
  })

  test.each([
    ['', [], ''],
    ['\r\n', [], ''],
    ['\r\nbody', [], 'body'],
    ['\nbody', [], 'body'],
    ['A: 1\n\nbody', [['a', '1']], 'body'],
    ['A: 1\r\n\nbody', [['a', '1']], 'body'],
    ['A: 1', [['a', '1']], ''],
    ['A: 1\r\n', [['a', '1']], ''],
    ['A:\r\n\r\n', [['a', '']], ''],
    ['A:\r\n \r\n 1\r\n\r\n', [['a', '  1'.trim()]], ''],
    ['A : 1\r\n\r\n', [['a', '1']], ''],
    ['A: \0 1\r\n\r\n', [['a', '\0 1']], ''],
    ['A: 1\r2\r\n\r\n', [['a', '1\r2']], ''],
    ['X-\u00fc: 1\r\n\r\nb', [], 'b'],
    [': 1\r\n\r\nb', [], 'b'],
    ['A:1:2\r\n\r\n', [['a', '1:2']], ''],
  ] as const)('%j', (text, fields, body) => expect(read(text)).toEqual([fields, body]))

  // RFC 7103 §7.2: where readers differ, a filter must see what the most generous one sees.
  test('a line that is no field hides nothing that comes after it', () => {
    expect(read('Subject: a\r\nstray line\r\nAuthentication-Results: mx\r\n\r\nbody')).toEqual([
      [
        ['subject', 'a stray line'],
        ['authentication-results', 'mx'],
      ],
      'body',
    ])
    expect(read('stray\r\nA: 1\r\n\r\nbody')).toEqual([[['a', '1']], 'body'])
    expect(read(' indented\r\nA: 1\r\n\r\nbody')).toEqual([[['a', '1']], 'body'])
    expect(read('A: 1\r\nstray\r\nB: 2')).toEqual([
      [
        ['a', '1 stray'],
        ['b', '2'],
      ],
      '',
    ])
  })

  test('without an empty line the rest after the last field is body', () => {
    expect(read('A: 1\r\nhello\r\nworld')).toEqual([[['a', '1']], 'hello\r\nworld'])
    expect(read('hello\r\nworld')).toEqual([[], 'hello\r\nworld'])
    expect(read('A: 1\r\nSubj')).toEqual([[['a', '1']], 'Subj'])
  })

  test('an mbox line is stepped over', () => {
    expect(read('From bob@x Mon Jan  1\r\nFrom: a\r\n\r\n')).toEqual([[['from', 'a']], ''])
  })

  test('Latin-1 is read as such, UTF-8 as such', () => {
    const latin = Buffer.from('A: gr\xfc\xdfe\r\n\r\n', 'latin1')
    expect(fieldValues(scanHeader(latin), 'a')).toEqual(['grüße'])
    expect(fieldValues(scanHeader(Buffer.from('A: grüße\r\n\r\n')), 'A')).toEqual(['grüße'])
  })

  test('fieldValues gives all of a name from the top', () => {
    const header = scanHeader(Buffer.from('A: 1\r\nB: 2\r\na: 3\r\n\r\nA: body'))
    expect(fieldValues(header, 'A')).toEqual(['1', '3'])
    expect(fieldValues(header, 'C')).toEqual([])
  })

  test('a plain Uint8Array inside a larger buffer will do', () => {
    const bytes = new Uint8Array(Buffer.from('xxxA: 1\r\n\r\nyyy')).subarray(3, 11)
    expect(fieldValues(scanHeader(bytes), 'a')).toEqual(['1'])
  })
})

const piece = fc.constantFrom(
  'A',
  'From',
  'From ',
  ':',
  ' ',
  '\t',
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  '\0',
  'ü',
  'x: y\r\n',
  'stray\r\n',
)
const message = fc.oneof(
  fc.array(piece).map(list => Buffer.from(list.join(''))),
  fc.uint8Array().map(list => Buffer.from(list)),
)

test('property: fields lie in order inside the header, whatever the octets', () => {
  fc.assert(
    fc.property(message, bytes => {
      const header = scanHeader(bytes)
      let at = 0
      for (const field of header.fields) {
        expect(field.start).toBeGreaterThanOrEqual(at)
        expect(field.valueStart).toBeGreaterThan(field.start)
        expect(field.end).toBeGreaterThanOrEqual(field.valueStart)
        expect(unfold(bytes, field)).not.toContain('\n')
        at = field.end
      }
      expect(header.end).toBeGreaterThanOrEqual(at)
      expect(header.body).toBeGreaterThanOrEqual(header.end)
      expect(header.body).toBeLessThanOrEqual(bytes.length)
    }),
    { numRuns: 1000 },
  )
})

test('property: the counter agrees with the scanner at every split', () => {
  fc.assert(
    fc.property(message, fc.array(fc.nat({ max: 100 })), (bytes, cuts) => {
      const header = scanHeader(bytes)
      const whole = count(bytes, [])
      expect(whole).toMatchObject({ size: header.body, fields: header.fields.length })
      expect(count(bytes, Array.from(bytes.keys()))).toEqual(whole)
      expect(
        count(
          bytes,
          cuts.filter(cut => cut < bytes.length).sort((a, b) => a - b),
        ),
      ).toEqual(whole)
    }),
    { numRuns: 1000 },
  )
})

test('property: no split changes which limit is passed', () => {
  const limits = fc.record({ size: fc.nat({ max: 40 }), fields: fc.nat({ max: 3 }), lines: fc.nat({ max: 4 }) })
  fc.assert(
    fc.property(message, limits, fc.array(fc.nat({ max: 60 })), (bytes, limits, cuts) => {
      const whole = count(bytes, [], limits)
      expect(count(bytes, Array.from(bytes.keys()), limits)).toEqual(whole)
      expect(
        count(
          bytes,
          cuts.filter(cut => cut < bytes.length).sort((a, b) => a - b),
          limits,
        ),
      ).toEqual(whole)
    }),
    { numRuns: 2000 },
  )
})

describe('limits', () => {
  const text = (lines: number) => Buffer.from(`${'A: 1\r\n'.repeat(lines)}\r\nbody`)

  test('are met exactly', () => {
    expect(count(text(9), [], { size: 56, fields: 9, lines: 10 })).toEqual({ size: 56, fields: 9, lines: 10 })
    expect(count(text(9), [], { size: 55, fields: 9, lines: 10 })).toEqual({ exceeded: 'size' })
    expect(count(text(9), [], { size: 56, fields: 8, lines: 10 })).toEqual({ exceeded: 'fields' })
    expect(count(text(9), [], { size: 56, fields: 9, lines: 9 })).toEqual({ exceeded: 'lines' })
  })

  test('one folded field of 400 KB is stopped at the limit of lines, a single line at that of size', () => {
    const folded = Buffer.from(`A: 1\r\n${' x\r\n'.repeat(100_000)}\r\n`)
    expect(count(folded, [], { size: 262_144, fields: 1000, lines: 5000 })).toEqual({ exceeded: 'lines' })
    const flat = Buffer.from(`A: ${'x'.repeat(400_000)}\r\n\r\n`)
    expect(count(flat, [], { size: 262_144, fields: 1000, lines: 5000 })).toEqual({ exceeded: 'size' })
  })

  test('a body does not count', () => {
    const bytes = Buffer.concat([text(1), Buffer.alloc(1_000_000, '\r\n')])
    expect(count(bytes, [3, 500], { size: 20, fields: 1, lines: 2 })).toEqual({ size: 8, fields: 1, lines: 2 })
  })
})
