import fc from 'fast-check'
import { expect, test } from 'vitest'
import { coalesced, Inspector, Stuffer, stuffed } from '../../src/smtp/client/body.ts'

/** Bytes that matter, in every mix. */
const octets = fc
  .array(fc.constantFrom('\r\n', '\r', '\n', '.', '\r\n.', '..', 'a', '\0', 'ä', '\r\n\r\n'), { maxLength: 30 })
  .map(parts => Buffer.from(parts.join('')))
const lines = fc
  .array(fc.constantFrom('', '.', '..', 'a', '.a', 'a.', 'ä'), { maxLength: 12 })
  .map(parts => Buffer.from(parts.join('\r\n')))
const cut = (bytes: Buffer, at: readonly number[]) => {
  const places = [0, ...at.map(n => n % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return places.slice(1).map((end, i) => bytes.subarray(places[i], end))
}

/** By the book, octet by octet. */
function naive(bytes: Buffer) {
  const text = bytes.toString('latin1')
  let clean = !text.includes('\0')
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '\r' && text[i + 1] !== '\n') clean = false
    if (text[i] === '\n' && text[i - 1] !== '\r') clean = false
  }
  // No field before the empty line: no header.
  const end = text.startsWith('\r\n') ? 0 : text.indexOf('\r\n\r\n')
  const header = end < 0 ? text : text.slice(0, end)
  return {
    clean,
    eightBit: [...text].some(c => c > '\x7f'),
    eightBitHeader: [...header].some(c => c > '\x7f'),
  }
}

test('what is seen of a message does not depend on how it is cut', () => {
  fc.assert(
    fc.property(octets, fc.array(fc.nat(), { maxLength: 5 }), (bytes, at) => {
      const inspector = new Inspector()
      for (const chunk of cut(bytes, at)) inspector.see(chunk)
      expect(inspector.end()).toEqual(naive(bytes))
      expect(inspector.octets).toBe(bytes.length)
    }),
    { numRuns: 1000 },
  )
})

/** A server's side of RFC 5321 §4.5.2. */
function received(data: string): string {
  const text = `\r\n${data}`
  const end = text.indexOf('\r\n.\r\n')
  expect(end + 5, 'one end, at the end').toBe(text.length)
  return text.slice(2, end + 2).replace(/^\.|(?<=\r\n)\./g, '')
}

test('stuffed, any body arrives as it was, with a line end behind it', () => {
  fc.assert(
    fc.property(lines, fc.array(fc.nat(), { maxLength: 5 }), (bytes, at) => {
      const stuffer = new Stuffer()
      let out = ''
      for (const chunk of cut(bytes, at)) out += stuffer.push(chunk).toString('latin1')
      out += stuffer.end()
      const text = bytes.toString('latin1')
      const wanted = text === '' || text.endsWith('\r\n') ? text : `${text}\r\n`
      expect(received(out)).toBe(wanted)
      expect(stuffed([bytes]).toString('latin1')).toBe(out)
      expect(stuffed(cut(bytes, [bytes.length >> 1])).toString('latin1')).toBe(out)
    }),
    { numRuns: 1000 },
  )
})

test('a body without dots at line starts is not copied', () => {
  const chunk = Buffer.from('a.b\r\nc.\r\n')
  expect(new Stuffer().push(chunk)).toBe(chunk)
})

test('coalesced chunks are the same octets, none but the last too small', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 20 }), async chunks => {
      const out: Buffer[] = []
      for await (const chunk of coalesced(
        (async function* () {
          yield* chunks
        })(),
        10,
      ))
        out.push(chunk)
      expect(Buffer.concat(out).equals(Buffer.concat(chunks))).toBe(true)
      expect(out.slice(0, -1).every(({ length }) => length >= 10)).toBe(true)
      expect(out.every(({ length }) => length > 0)).toBe(true)
    }),
  )
})

test('the cost of a look is flat: no content makes it crawl', () => {
  const mega = 1 << 20
  for (const [what, unit] of Object.entries({
    dots: '..\r\n',
    blank: '\r\n',
    text: `${'a'.repeat(70)}\r\n`,
    crs: '\r',
    nuls: '\0',
  })) {
    const chunk = Buffer.from(unit.repeat(mega / unit.length))
    const started = process.cpuUsage()
    for (let at = 0; at < chunk.length; at += 65_536) {
      const inspector = new Inspector()
      inspector.see(chunk.subarray(at, at + 65_536))
      new Stuffer().push(chunk.subarray(at, at + 65_536))
    }
    // A tenth of the speed measured; a scan that is quadratic, or calls out per line, is far beyond.
    expect(process.cpuUsage(started).user / 1000, what).toBeLessThan(200)
  }
})
