import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatReply, type PeerReply, ReplyParser } from '../src/index.ts'

/** The peer's lines, each with CRLF, as one chunk. */
function parse(...lines: string[]): { replies: readonly PeerReply[]; fault: string | undefined } {
  const parser = new ReplyParser()
  const replies = parser.push(Buffer.from(lines.map(line => `${line}\r\n`).join('')))
  return { replies, fault: parser.fault }
}

describe('our replies', () => {
  test('S: one line', () => {
    expect(formatReply({ code: 250, enhanced: '2.1.0', lines: ['OK'] })).toBe('250 2.1.0 OK\r\n')
    expect(formatReply({ code: 220, lines: ['mx.example ESMTP'] })).toBe('220 mx.example ESMTP\r\n')
    expect(formatReply({ code: 354, enhanced: '2.0.0', lines: ['Go'] })).toBe('354 Go\r\n')
    expect(formatReply({ code: 250, lines: [] })).toBe('250 \r\n')
  })

  test('S: several, the enhanced code on each', () => {
    expect(formatReply({ code: 550, enhanced: '5.7.1', lines: ['No', 'really', ''] })).toBe(
      '550-5.7.1 No\r\n550-5.7.1 really\r\n550 5.7.1 \r\n',
    )
  })

  test('an enhanced code of another class is left out', () => {
    expect(formatReply({ code: 550, enhanced: '4.7.1', lines: ['x'] })).toBe('550 x\r\n')
  })

  test('text cannot become a line of its own', () => {
    expect(formatReply({ code: 550, lines: ['a\r\n250 OK\n\0\u0085\u2028b'] })).toBe('550 a  250 OK    b\r\n')
  })

  test('non-ASCII only for those who asked', () => {
    expect(formatReply({ code: 250, lines: ['grüße 👋'] })).toBe('250 gr??e ?\r\n')
    expect(formatReply({ code: 250, lines: ['grüße 👋'] }, { utf8: true })).toBe('250 grüße 👋\r\n')
  })

  test('a long line is cut between characters', () => {
    for (const pad of ['', 'x', 'xx', 'xxx']) {
      const out = formatReply({ code: 250, lines: [pad + '👋'.repeat(200)] }, { utf8: true })
      expect(out).toMatch(/^250 x{0,3}(?:👋)+\r\n$/u)
      expect(Buffer.byteLength(out)).toBeGreaterThan(505)
    }
  })

  test('property: any text gives well-formed lines of at most 512 octets', () => {
    const line = fc.string({ unit: 'binary', maxLength: 700 })
    fc.assert(
      fc.property(fc.array(line, { maxLength: 4 }), fc.boolean(), (lines, utf8) => {
        const out = formatReply({ code: 451, enhanced: '4.3.0', lines }, { utf8 })
        const written = out.split('\r\n')
        expect(written.pop()).toBe('')
        expect(written).toHaveLength(Math.max(1, lines.length))
        for (const [nth, one] of written.entries()) {
          expect(Buffer.byteLength(one) + 2).toBeLessThanOrEqual(512)
          expect(one).toMatch(nth === written.length - 1 ? /^451 4\.3\.0/ : /^451-4\.3\.0 /)
          expect(one).not.toMatch(/\p{Cc}|\ufffd/u)
        }
      }),
    )
  })
})

describe("a peer's replies", () => {
  test('S: pipelined, with and without enhanced codes', () => {
    expect(parse('250 2.1.0 Sender ok', '550-5.1.1 No such', '550 5.1.1 user', '354 Go ahead', '250').replies).toEqual([
      { code: 250, enhanced: '2.1.0', lines: ['Sender ok'] },
      { code: 550, enhanced: '5.1.1', lines: ['No such', 'user'] },
      { code: 354, lines: ['Go ahead'] },
      { code: 250, lines: [''] },
    ])
  })

  test('S: EHLO', () => {
    expect(parse('250-mx.example', '250-SIZE 1000', '250 DSN').replies).toEqual([
      { code: 250, lines: ['mx.example', 'SIZE 1000', 'DSN'] },
    ])
  })

  test('numbers that only look like enhanced codes stay text', () => {
    expect(parse('250 5.1.1 odd class').replies).toEqual([{ code: 250, lines: ['5.1.1 odd class'] }])
    expect(parse('220 2.0.0.1 is up').replies).toEqual([{ code: 220, lines: ['2.0.0.1 is up'] }])
    expect(parse('550 5.7.1').replies).toEqual([{ code: 550, enhanced: '5.7.1', lines: [''] }])
    expect(parse('550-5.7.1 a', '550 5.7.2 b').replies).toEqual([
      { code: 550, enhanced: '5.7.1', lines: ['a', '5.7.2 b'] },
    ])
  })

  test('bare LF ends a line', () => {
    expect(new ReplyParser().push(Buffer.from('250-a\n250 b\n'))).toEqual([{ code: 250, lines: ['a', 'b'] }])
  })

  test.each([
    [['250-a', '251 b'], 'codes differ within one reply'],
    [['HTTP/1.1 400 Bad Request'], 'not an SMTP reply'],
    [['25'], 'not an SMTP reply'],
    [[''], 'not an SMTP reply'],
    [['250_x'], 'not an SMTP reply'],
    [['2500 x'], 'not an SMTP reply'],
    [['150 x'], 'not an SMTP reply'],
    [['650 x'], 'not an SMTP reply'],
    [['250-a', 'b'], 'not an SMTP reply'],
    [Array.from({ length: 101 }, () => '250-x'), 'reply too long'],
    [Array.from({ length: 20 }, () => `250-${'x'.repeat(4000)}`), 'reply too long'],
    [[`250 ${'x'.repeat(4091)}`], 'reply line too long'],
  ])('%j', (lines, fault) => expect(parse(...lines)).toEqual({ replies: [], fault }))

  test('limits are those of one reply, not of the connection', () => {
    const parser = new ReplyParser()
    const reply = Buffer.from(`${`250-${'x'.repeat(1000)}\r\n`.repeat(60)}250 end\r\n`)
    for (let i = 0; i < 5; i++) expect(parser.push(reply)).toHaveLength(1)
    expect(parser.fault).toBeUndefined()
  })

  test('what was complete before the fault is given out; afterwards nothing', () => {
    const parser = new ReplyParser()
    expect(parser.push(Buffer.from('250 ok\r\ngarbage\r\n250 late\r\n'))).toEqual([{ code: 250, lines: ['ok'] }])
    expect(parser.fault).toBe('not an SMTP reply')
    expect(parser.push(Buffer.from('250 later\r\n'))).toEqual([])
  })

  test('a line without end is cut off, however it comes', () => {
    for (const size of [1, 1000, 10_000_000]) {
      const parser = new ReplyParser()
      const chunk = Buffer.alloc(size, 0x78)
      for (let sent = 0; sent < 10_000 && parser.fault === undefined; sent += size) parser.push(chunk)
      expect(parser.fault).toBe('reply line too long')
    }
  })

  test('pending tells of what came behind a reply', () => {
    const parser = new ReplyParser()
    expect(parser.push(Buffer.from('220 go\r\n'))).toHaveLength(1)
    expect(parser.pending).toBe(false)
    parser.push(Buffer.from('250 in'))
    expect(parser.pending).toBe(true)
  })

  test('the chunk may be reused', () => {
    const parser = new ReplyParser()
    const chunk = Buffer.from('250 par')
    parser.push(chunk)
    chunk.fill(0)
    expect(parser.push(Buffer.from('t\r\n'))).toEqual([{ code: 250, lines: ['part'] }])
  })

  test('property: every split gives the same replies and the same fault; nothing throws', () => {
    const line = fc.oneof(
      fc
        .tuple(
          fc.constantFrom('250', '250', '550', '421'),
          fc.constantFrom(' ', '-', ''),
          fc.string({ unit: 'binary' }),
        )
        .map(l => l.join('')),
      fc.constantFrom('250 2.0.0 ok', '550-5.1.1 x', '550 5.1.1 y', '250 \u00fc👋'),
      fc.string({ unit: 'binary' }),
    )
    const stream = fc.array(fc.tuple(line, fc.constantFrom('\r\n', '\r\n', '\n')).map(l => l.join('')))
    fc.assert(
      fc.property(stream, fc.array(fc.nat({ max: 300 })), (lines, cuts) => {
        const bytes = Buffer.from(lines.join(''))
        const whole = new ReplyParser({ line: 40, lines: 3, octets: 60 })
        const expected = whole.push(bytes)
        for (const at of [Array.from(bytes.keys()), cuts.filter(cut => cut < bytes.length).sort((a, b) => a - b)]) {
          const parser = new ReplyParser({ line: 40, lines: 3, octets: 60 })
          const found: PeerReply[] = []
          let start = 0
          for (const cut of [...at, bytes.length]) {
            found.push(...parser.push(bytes.subarray(start, cut)))
            start = cut
          }
          expect(found).toEqual(expected)
          expect(parser.fault === undefined).toBe(whole.fault === undefined)
        }
      }),
    )
  })
})
