import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { dueAfter, dueKey, dueOf, encodeLane, parseDueKey, parseTimed, reportKey } from '../../src/queue/keys.ts'
import { indexKey, losable, partition, replaceBlock } from '../../src/queue/partition.ts'
import {
  type Block,
  decodeBlock,
  decodeDue,
  decodeMessage,
  encodeBlock,
  encodeDue,
  encodeMessage,
  type MessageRecord,
} from '../../src/queue/records.ts'
import { compareKeys } from '../../src/storage/keys.ts'
import { box } from './post-office.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 30 })
const bytes = fc.uint8Array({ maxLength: 300 })
const id = fc.stringMatching(/^[A-Za-z0-9._-]{1,40}$/)

const message: fc.Arbitrary<MessageRecord> = fc.record({
  id,
  received: fc.nat(),
  params: fc.record({
    smtputf8: fc.boolean(),
    requireTls: fc.boolean(),
    envid: text,
    other: fc.dictionary(text, text),
  }),
  origin: fc.constant({
    id: 's',
    protocol: 'smtp' as const,
    listener: { name: 'mx', role: 'mx' as const },
    local: { ip: '::1', port: 25, hostname: 'ü.test' },
  }),
  state: fc.dictionary(text, fc.jsonValue() as fc.Arbitrary<never>),
  body: fc.record({ ref: text, size: fc.nat(), headerSize: fc.nat(), inline: fc.boolean() }),
  variants: fc.array(
    fc.record({
      from: fc.constantFrom(null, box('a@b.test')),
      head: bytes,
      skip: fc.constant([[1, 5] as const]),
      junk: text,
    }),
    { minLength: 1, maxLength: 4 },
  ),
  recipients: fc.nat(),
})

function blockOf(ordinals: readonly number[], change: Partial<Block> = {}): Block {
  return {
    id: 'M',
    n: ordinals[0] ?? 0,
    variant: 0,
    lane: 'relay/dest.test',
    status: 'queued',
    at: 1_700_000_000_000,
    priority: 0,
    sender: 'a@b.test',
    from: 'a@b.test',
    received: 1_700_000_000_000,
    waited: 0,
    solo: true,
    recipients: ordinals.map(o => ({ o, id: `t${o}`, to: box(`u${o}@dest.test`), tries: 0, attempts: [] })),
    ...change,
  }
}

describe('records', () => {
  it('come back as they were written', () => {
    fc.assert(
      fc.property(message, record => {
        const back = decodeMessage(record.id, encodeMessage(record))
        expect({ ...back, variants: back.variants.map(v => ({ ...v, head: [...v.head] })) }).toEqual({
          ...JSON.parse(JSON.stringify({ ...record, variants: [] })),
          variants: record.variants.map(v => ({ ...v, head: [...v.head] })),
        })
      }),
    )
  })

  it('are never misread: any octets are a record or an error that names it', () => {
    fc.assert(
      fc.property(bytes, id, (octets, name) => {
        for (const read of [() => decodeMessage(name, octets), () => decodeBlock(name, 7, octets)]) {
          try {
            read()
          } catch (error) {
            expect((error as Error).message).toContain(name)
            expect((error as { code: string }).code).toMatch(/^POSTHORN_QUEUE_(RECORD|FORMAT)$/)
          }
        }
      }),
    )
    const cut = encodeMessage({ ...fc.sample(message, 1)[0]!, id: 'X' })
    expect(() => decodeMessage('X', cut.subarray(0, cut.length - 1))).toThrow(/m\/X/)
    expect(() => decodeMessage('Y', cut)).toThrow(/m\/Y/)
  })

  it('of a newer format are refused with what to do', () => {
    const octets = encodeBlock(blockOf([0]))
    octets[0] = 2
    expect(() => decodeBlock('M', 0, octets)).toThrow(/r\/M\/000000 has format 2/)
  })

  it('of a block come back', () => {
    const block = blockOf([3, 4, 9])
    expect(decodeBlock('M', 3, encodeBlock(block))).toEqual(block)
    expect(decodeDue(encodeDue({ ...block, waited: 5, sender: 'a b@c' }))).toEqual({
      since: block.received + 5,
      sender: 'a b@c',
    })
  })
})

describe('keys', () => {
  it('of due times sort by urgency, then by time, whatever the lane is called', () => {
    const point = fc.record({ rank: fc.integer({ min: 0, max: 18 }), due: fc.nat({ max: 4_000_000_000_000 }), id })
    fc.assert(
      fc.property(
        text.filter(t => t !== ''),
        point,
        point,
        (name, a, b) => {
          const lane = encodeLane(name)
          const [x, y] = [a, b].map(p => dueKey(lane, p.rank, p.due, p.id, 0)) as [string, string]
          expect(parseDueKey(x)).toEqual({ lane, rank: a.rank, due: a.due, id: a.id, n: 0 })
          expect(dueOf(x, lane)).toBe(a.due)
          const order = a.rank - b.rank || a.due - b.due
          if (order !== 0) expect(Math.sign(compareKeys(x, y))).toBe(Math.sign(order))
          expect(compareKeys(x, dueAfter(lane, a.rank, a.due))).toBeLessThan(0)
          expect(compareKeys(dueKey(lane, a.rank, a.due + 1, a.id, 0), dueAfter(lane, a.rank, a.due))).toBeGreaterThan(
            0,
          )
        },
      ),
    )
  })

  it('of lanes never lie inside each other', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        fc.pre(a !== b)
        const inside = dueKey(encodeLane(a), 9, 1, 'x', 0)
        expect(inside >= `d/${encodeLane(b)}/` && inside < `d/${encodeLane(b)}0`).toBe(false)
      }),
    )
  })

  it('of reports say when and what', () => {
    expect(parseTimed(reportKey(17, 'M', 4))).toEqual({ at: 17, id: 'M', n: 4 })
  })
})

describe('taking blocks apart', () => {
  it('keeps every recipient once, and names unique, however often it is done', () => {
    const cuts = fc.array(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 12, maxLength: 12 }), { maxLength: 6 })
    fc.assert(
      fc.property(cuts, rounds => {
        let live: Block[] = [blockOf([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])]
        const left = new Set(live[0]?.recipients.map(r => r.o))
        for (const round of rounds) {
          live = live.flatMap(block => {
            const groups = [0, 1, 2].map(g => ({ recipients: block.recipients.filter(r => round[r.o] === g), at: g }))
            for (const r of block.recipients) if (round[r.o] === 3) left.delete(r.o)
            return partition(block, groups)
          })
          expect(new Set(live.map(b => b.n)).size).toBe(live.length)
          expect(live.flatMap(b => b.recipients.map(r => r.o)).sort((a, b) => a - b)).toEqual(
            [...left].sort((a, b) => a - b),
          )
          expect(live.filter(b => b.solo).length).toBeLessThanOrEqual(live.length === 1 ? 1 : 0)
        }
      }),
    )
  })

  it('replaces the keys of the old by those of the new', () => {
    const before = blockOf([0, 1])
    const [a, b] = before.recipients
    const after = partition(before, [
      { recipients: [a!], at: 5 },
      { recipients: [b!], lane: 'relay/other' },
    ])
    const ops = replaceBlock(before, after)
    const keys = new Map(ops.map(op => [op.key, op.type]))
    expect(keys.get(indexKey(before))).toBe('del')
    for (const block of after) expect(keys.get(indexKey(block))).toBe('put')
    expect(losable(before, after)).toBe(false)
    expect(losable(before, [{ ...before, at: 9 }])).toBe(true)
    expect(losable(before, [])).toBe(true)
    expect(losable({ ...before, solo: false }, [])).toBe(false)
  })
})
