import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { RelaxedBodyHash } from '../src/dkim-body.ts'

/** RFC 6376 §3.4.4, as it reads. */
function reference(body: string): string {
  const lines = body
    .replace(/[ \t]+\r\n/g, '\r\n')
    .replace(/[ \t]+/g, ' ')
    .replace(/(\r\n)+$/, '')
  // White space that ends the body without a line end: the line end that is added ends its line.
  const canonical = lines.replace(/ $/, '').replace(/(\r\n)+$/, '')
  return createHash('sha256')
    .update(canonical === '' ? '' : `${canonical}\r\n`, 'latin1')
    .digest('base64')
}

const hash = (...chunks: string[]) => {
  const own = new RelaxedBodyHash()
  for (const chunk of chunks) own.update(Buffer.from(chunk, 'latin1'))
  return own.digest()
}

it.each([
  ['', '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='],
  ['\r\n\r\n', '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='],
  // RFC 6376 §3.4.5.
  [' C \r\nD \t E\r\n\r\n\r\n', createHash('sha256').update(' C\r\nD E\r\n').digest('base64')],
  // RFC 8463 appendix A.
  ['Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n', '2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8='],
])('hashes %j as the standards say', (body, expected) => {
  expect(hash(body)).toBe(expected)
})

it('gives the same hash however the body is cut', () => {
  const piece = fc.constantFrom('a', '.', ' ', '\t', '\r\n', '\r', '\n', '\xe9', 'word')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.array(fc.nat(80)), (pieces, cuts) => {
      const body = pieces.join('')
      const at = [0, ...cuts.map(c => Math.min(c, body.length)).sort((a, b) => a - b), body.length]
      const chunks = at.slice(1).map((end, i) => body.slice(at[i], end))
      expect(hash(...chunks)).toBe(reference(body))
    }),
    { numRuns: 2_000 },
  )
})

it('holds back any number of empty lines in the memory of a few', () => {
  const own = new RelaxedBodyHash()
  const lines = Buffer.from('\r\n'.repeat(50_000))
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 100; i++) own.update(lines)
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50e6)
  own.update(Buffer.from('end'))
  const canonical = `${'\r\n'.repeat(5_000_000)}end\r\n`
  expect(own.digest()).toBe(createHash('sha256').update(canonical).digest('base64'))
})
