import fc from 'fast-check'
import { expect, test } from 'vitest'
import { encodeQuotedPrintable } from '../src/index.ts'

function decode(text: string): Buffer {
  const octets = text
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, pair: string) => String.fromCharCode(Number.parseInt(pair, 16)))
  return Buffer.from(octets, 'latin1')
}

test.each([
  ['a=b', 'a=3Db'],
  ['a \r\nb\t', 'a=20\r\nb=09'],
  ['a b', 'a b'],
  ['a\nb\rc', 'a=0Ab=0Dc'],
  ['ü', '=C3=BC'],
  [`${'x'.repeat(76)}\r\n`, `${'x'.repeat(76)}\r\n`],
  ['x'.repeat(77), `${'x'.repeat(75)}=\r\nxx`],
])('%j', (text, encoded) => expect(encodeQuotedPrintable(Buffer.from(text))).toBe(encoded))

test('property: decoding gives the octets back; lines are of 76 at most and end in no blank', () => {
  const octets = fc.array(fc.oneof(fc.constantFrom(13, 10, 32, 9, 61, 46, 120), fc.nat({ max: 255 })), {
    maxLength: 300,
  })
  fc.assert(
    fc.property(octets, octets => {
      const bytes = Buffer.from(octets)
      const encoded = encodeQuotedPrintable(bytes)
      expect(decode(encoded)).toEqual(bytes)
      for (const line of encoded.split('\r\n')) expect(line).toMatch(/^[\t -~]{0,76}$(?<![ \t])/)
    }),
  )
})
