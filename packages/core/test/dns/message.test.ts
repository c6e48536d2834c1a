import * as packet from 'dns-packet'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeQuestion, type Question, readAnswer } from '../../src/dns/message.ts'

const question: Question = { name: 'a.test', type: 'A' }
const id = 0x1234

function reply(change: Partial<packet.Packet> = {}): Buffer {
  return packet.encode({
    type: 'response',
    id,
    flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE,
    questions: [{ name: 'a.test', type: 'A' }],
    answers: [{ type: 'A', name: 'a.test', ttl: 60, data: '192.0.2.1' }],
    ...change,
  })
}
const read = (octets: Buffer) => readAnswer(octets, question, id)
const kind = (octets: Buffer) => read(octets).kind

describe('which packets are answers', () => {
  test('the one with our id and our question, in any case', () => {
    expect(read(reply())).toMatchObject({ kind: 'answer', answer: { records: ['192.0.2.1'], name: 'a.test' } })
    expect(kind(reply({ questions: [{ name: 'A.tEsT', type: 'A' }] }))).toBe('answer')
  })

  test.each([
    ['another id', reply({ id: id + 1 })],
    ['a question', reply({ type: 'query' })],
    ['another kind of message', reply({ flags: 1 << 11 })],
    ['no question', reply({ questions: [] })],
    ['two questions', reply({ questions: new Array(2).fill({ name: 'a.test', type: 'A' }) })],
    ['another name', reply({ questions: [{ name: 'b.test', type: 'A' }] })],
    ['another type', reply({ questions: [{ name: 'a.test', type: 'AAAA' }] })],
    ['another class', reply({ questions: [{ name: 'a.test', type: 'A', class: 'CH' }] })],
    ['nothing', Buffer.alloc(0)],
    ['a header alone that counts records', reply().subarray(0, 12)],
    ['an octet too few', reply().subarray(0, -1)],
    ['an octet too many', Buffer.concat([reply(), Buffer.alloc(1)])],
  ])('not %s', (_, octets) => expect(kind(octets)).toBe('foreign'))

  test('not one whose record lies about its length', () => {
    const octets = reply({ answers: [{ type: 'TXT', name: 'a.test', ttl: 60, data: 'abc' }] })
    for (const length of [0, 3, 5, 0xffff]) {
      // RDLENGTH: 4, for a string of three octets and its length.
      octets.writeUInt16BE(length, octets.length - 6)
      expect(kind(octets)).toBe('foreign')
    }
  })

  test('not one whose names point at themselves, or forward', () => {
    const octets = reply()
    for (const pointer of [0xc000 | (octets.length - 16 - 8), 0xc0ff, 0xffff]) {
      const broken = Buffer.from(octets)
      broken.writeUInt16BE(pointer, 12)
      expect(kind(broken)).toBe('foreign')
    }
  })

  test('a failure may come without the question', () => {
    const empty = { questions: [], answers: [] }
    expect(read(reply({ ...empty, flags: 1 }))).toMatchObject({ kind: 'failed', why: 'no-edns' })
    expect(kind(reply({ ...empty, flags: 2 }))).toBe('foreign')
  })

  test('codes beyond 15 come in two parts', () => {
    const opt = {
      type: 'OPT',
      name: '.',
      udpPayloadSize: 1_232,
      extendedRcode: 1,
      ednsVersion: 0,
      flags: 0,
      options: [],
    }
    const octets = reply({ answers: [], additionals: [{ ...opt, flag_do: false } as packet.OptAnswer] })
    expect(read(octets)).toMatchObject({ kind: 'failed', why: 'no-edns' })
  })
})

describe('whatever arrives', () => {
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    // A right answer with some octets changed: it gets deeper.
    fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 }).map(changes => {
      const octets = reply({
        answers: [
          { type: 'CNAME', name: 'a.test', ttl: 60, data: 'b.test' },
          { type: 'A', name: 'b.test', ttl: 60, data: '192.0.2.1' },
          { type: 'TXT', name: 'b.test', ttl: 60, data: ['one', 'two'] },
          { type: 'MX', name: 'b.test', ttl: 60, data: { preference: 10, exchange: 'mx.test' } },
        ],
        authorities: [
          {
            type: 'SOA',
            name: 'test',
            ttl: 60,
            data: { mname: 'ns.test', rname: 'h.test', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 1 },
          },
        ],
      })
      for (const [at, value] of changes) octets[2 + (at % (octets.length - 2))] = value
      return octets
    }),
  )

  test.each(['A', 'AAAA', 'MX', 'TXT', 'PTR', 'CNAME', 'NS', 'SOA', 'SRV', 'TLSA', 'CAA'] as const)(
    'is read as %s without a throw, and names stay clean',
    type => {
      fc.assert(
        fc.property(hostile, octets => {
          const copy = Buffer.from(octets)
          if (copy.length >= 2) copy.writeUInt16BE(id, 0)
          const reading = readAnswer(copy, { name: 'a.test', type }, id)
          if (reading.kind !== 'answer') return
          const { records, name, ttl } = reading.answer
          expect(name).toMatch(/^[!-~]*$/)
          expect(ttl ?? 0).toBeGreaterThanOrEqual(0)
          expect(ttl ?? 0).toBeLessThan(2 ** 31)
          for (const record of records) {
            const host = (record as { exchange?: string; target?: string }).exchange
            expect(host ?? '').toMatch(/^[!-~]*$/)
          }
        }),
        { numRuns: 300 },
      )
    },
  )

  test('64 KiB of many records is read', () => {
    const answers = Array.from({ length: 2_500 }, (_, i) => ({
      type: 'A' as const,
      name: 'a.test',
      ttl: 60,
      data: `10.0.${i >> 8}.${i & 255}`,
    }))
    const octets = reply({ answers })
    expect(octets.length).toBeGreaterThan(54_000)
    expect(read(octets)).toMatchObject({ kind: 'answer', answer: { status: 'ok' } })
  })

  test('64 KiB of pointers to pointers takes no time', () => {
    // A TXT record of 32 KiB that is a chain of pointers, then records whose names begin at its end.
    const chain = 16_000
    const head = reply({ answers: [] })
    const txt = Buffer.alloc(12 + chain * 2)
    txt.writeUInt16BE(0xc00c, 0)
    txt.writeUInt16BE(16, 2)
    txt.writeUInt16BE(1, 4)
    txt.writeUInt16BE(chain * 2, 10)
    const start = head.length + 12
    // Octets that read as pointers can only point below 16 KiB, so the chain is as long as that allows.
    const links = Math.min(chain, (0x3fff - start) >> 1)
    for (let i = 0; i < links; i++) txt.writeUInt16BE(0xc000 | (i === 0 ? 12 : start + (i - 1) * 2), 12 + i * 2)
    const count = 2_000
    const records = Buffer.alloc(16 * count)
    for (let i = 0; i < count; i++) {
      records.writeUInt16BE(0xc000 | (start + (links - 1) * 2), i * 16)
      records.writeUInt16BE(1, i * 16 + 2)
      records.writeUInt16BE(1, i * 16 + 4)
      records.writeUInt16BE(4, i * 16 + 10)
    }
    const octets = Buffer.concat([head, txt, records])
    octets.writeUInt16BE(count + 1, 6)
    const began = performance.now()
    expect(kind(octets)).toBe('foreign')
    expect(performance.now() - began).toBeLessThan(100)
  })
})

test('a question is small, and asks to recurse and to say whether it was validated', () => {
  const octets = encodeQuestion(question, id, true)
  expect(octets.toString('hex')).toBe('1234012000010000000000010161047465737400000100010000290' + '4d0000000000000')
  expect(packet.decode(encodeQuestion(question, id, false)).additionals).toEqual([])
})
