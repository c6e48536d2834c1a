import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FieldError, fieldValues, foldField, formatDate, scanHeader } from '../src/index.ts'

/** The field as a reader sees it, behind another and before a body. */
function reread(name: string, field: string): readonly string[] {
  return fieldValues(scanHeader(Buffer.from(`Before: x\r\n${field}\r\nbody: y\r\n`)), name)
}

function refusal(name: string, value: string, utf8 = false): string | undefined {
  try {
    foldField(name, value, { utf8 })
    return undefined
  } catch (error) {
    if (error instanceof FieldError) return error.code
    throw error
  }
}

describe('foldField', () => {
  test('short fields stay on one line', () => {
    expect(foldField('Subject', 'hello  world')).toBe('Subject: hello  world\r\n')
    expect(foldField('Subject', '  padded\t')).toBe('Subject: padded\r\n')
    expect(foldField('Subject', '')).toBe('Subject:\r\n')
  })

  test('long ones fold at white space, at 78 columns', () => {
    expect(foldField('Subject', 'word '.repeat(20))).toBe(
      `Subject: ${'word '.repeat(13)}word\r\n ${'word '.repeat(5)}word\r\n`,
    )
  })

  test('a word over 78 has a line of its own; the first stays beside the name', () => {
    const long = 'x'.repeat(200)
    expect(foldField('X', `${long} ${long} y`)).toBe(`X: ${long}\r\n ${long}\r\n y\r\n`)
  })

  test('an existing fold is kept', () => {
    expect(foldField('Received', 'from a\r\n\tby b')).toBe('Received: from a\r\n\tby b\r\n')
  })

  test.each([
    ['Bcc:', 'x'],
    ['', 'x'],
    ['A B', 'x'],
    ['A\r\nB', 'x'],
    ['Ä', 'x'],
    ['A'.repeat(77), 'x'],
  ])('the name %j is refused', (name, value) => expect(refusal(name, value)).toBe('POSTHORN_FIELD_NAME'))

  test.each([
    'a\r\nBcc: x',
    'a\nBcc: x',
    'a\rb',
    'a\n b',
    'a\0b',
    'a\u001bb',
    'a\u007f',
    'a\r\n',
    'a\r\n ',
    'a\r\n \r\n b',
    'a\r\n\r\n b',
    '\r\n',
    `${'word '.repeat(40)}\r\nBcc: x`,
    `${'x'.repeat(300)}\n`,
  ])('the value %j is refused', value => {
    expect(refusal('A', value)).toBe('POSTHORN_FIELD_VALUE')
    expect(refusal('A', `ü${value}`, true)).toBe('POSTHORN_FIELD_VALUE')
  })

  test('non-ASCII only in SMTPUTF8 messages', () => {
    expect(refusal('A', 'grüße')).toBe('POSTHORN_FIELD_UTF8')
    expect(foldField('A', 'grüße', { utf8: true })).toBe('A: grüße\r\n')
    expect(refusal('A', '\ud800', true)).toBe('POSTHORN_FIELD_VALUE')
  })

  test('998 octets are the end', () => {
    expect(foldField('A', 'x'.repeat(995))).toHaveLength(1000)
    expect(refusal('A', 'x'.repeat(999))).toBe('POSTHORN_FIELD_LENGTH')
    expect(refusal('A', `y ${'x'.repeat(998)}`)).toBe('POSTHORN_FIELD_LENGTH')
    expect(refusal('A', 'ü'.repeat(500), true)).toBe('POSTHORN_FIELD_LENGTH')
    // The space after the name is one to fold at, when nothing else helps.
    expect(foldField('A', 'x'.repeat(997))).toBe(`A:\r\n ${'x'.repeat(997)}\r\n`)
  })

  test('property: one field comes out, unfolding gives the value back, lines keep their limits', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'ü', '"', '(', ':', '='), minLength: 1, maxLength: 120 })
    const gap = fc.constantFrom(' ', '\t', '   ', ' \t', '\r\n ', '\r\n\t')
    fc.assert(
      fc.property(fc.array(fc.tuple(word, gap)), word, (words, last) => {
        const value = words.map(([word, gap]) => word + gap).join('') + last
        const field = foldField('X-Test', value, { utf8: true })
        expect(reread('X-Test', field)).toEqual([value.replace(/\r\n/g, '')])
        for (const line of field.split('\r\n').slice(0, -1)) {
          expect(Buffer.byteLength(line)).toBeLessThanOrEqual(998)
          expect(line.trim()).not.toBe('')
          expect(line).not.toMatch(/[ \t]$/)
          if (line.length > 78) expect(line.trim().replace(/^X-Test: /, '')).not.toMatch(/[ \t]/)
        }
      }),
    )
  })

  test('property: no value makes a second field', () => {
    const unit = fc.constantFrom(
      'a',
      ' ',
      '\t',
      '\r',
      '\n',
      '\r\n',
      '\r\n ',
      ':',
      '\0',
      'Bcc: x',
      'ü',
      'long'.repeat(30),
    )
    fc.assert(
      fc.property(fc.array(unit), fc.boolean(), (units, utf8) => {
        const value = units.join('')
        if (refusal('X-Test', value, utf8) !== undefined) return
        const header = scanHeader(Buffer.from(`${foldField('X-Test', value, { utf8 })}\r\nbody`))
        expect(header.fields.map(field => field.name)).toEqual(['x-test'])
      }),
      { numRuns: 1000 },
    )
  })
})

test('dates are RFC 5322, in UTC', () => {
  expect(formatDate(0)).toBe('Thu, 1 Jan 1970 00:00:00 +0000')
  expect(formatDate(951_782_399_999)).toBe('Mon, 28 Feb 2000 23:59:59 +0000')
  expect(formatDate(951_782_400_000)).toBe('Tue, 29 Feb 2000 00:00:00 +0000')
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 253_402_300_799 }), second => {
      expect(Date.parse(formatDate(second * 1000 + 999))).toBe(second * 1000)
    }),
  )
})
