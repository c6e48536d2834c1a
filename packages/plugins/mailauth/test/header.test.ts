import { foldField, parseAuthResults } from '@posthorn/mail'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { contributed, type Found, fieldOf, resultsOf } from '../src/header.ts'

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 600 }),
  fc.constantFrom('a@b.test', '"; dkim=pass', 'x\r\ny: z'),
)
const maybe = fc.option(text, { nil: undefined })
const drop = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T

const found: fc.Arbitrary<Found> = fc
  .record({
    iprev: fc.record({ result: fc.constant('pass' as const), ip: fc.constant('192.0.2.1'), name: maybe }),
    spf: fc.record({
      result: fc.constant('fail' as const),
      identity: fc.constantFrom('mailfrom' as const, 'helo' as const),
      domain: text,
      sender: text,
      reason: maybe,
    }),
    dkim: fc.record({
      more: fc.nat(5),
      signatures: fc.array(
        fc.record({
          result: fc.constant('pass' as const),
          domain: maybe,
          selector: maybe,
          identity: maybe,
          algorithm: maybe,
          b: maybe,
          reason: maybe,
        }),
        { maxLength: 3 },
      ),
    }),
    dmarc: fc.record({ result: fc.constant('none' as const), domain: maybe, reason: maybe, aligned: fc.constant([]) }),
    arc: fc.record({ result: fc.constant('fail' as const), instance: fc.nat(50), sealer: maybe, reason: maybe }),
    bimi: fc.record({ result: fc.constant('pass' as const), domain: maybe, selector: maybe, authority: maybe }),
  })
  .map(all => ({
    ...all,
    ...Object.fromEntries(Object.entries(all).map(([key, value]) => [key, drop(value)])),
  })) as never

describe('the field', () => {
  it('says no more and no less, whatever a stranger puts into it', () => {
    fc.assert(
      fc.property(found, text, fc.boolean(), (all, user, utf8) => {
        const origin = {
          auth: { user, mechanism: 'PLAIN', scopes: [] },
          helo: { verb: 'EHLO' as const, name: user },
        }
        const results = resultsOf(all, origin, { user: true })
        const field = foldField('Authentication-Results', fieldOf('mx.test', results, utf8), { utf8 })
        expect(field.match(/^\S/gm)).toHaveLength(1)
        const read = parseAuthResults(
          field
            .replace(/^[^:]*:/, '')
            .replace(/\r\n(?=[ \t])/g, '')
            .trim(),
        )
        expect(read?.authservId).toBe('mx.test')
        expect(read?.results.map(({ method, result }) => `${method}=${result}`)).toEqual(
          results.map(({ method, result }) => `${method}=${result}`),
        )
      }),
      { numRuns: 300 },
    )
  })

  it('takes what other plugins contribute, if it is that', () => {
    const spam = { method: 'x-spam', result: 'pass', comment: 'score -1' }
    expect(contributed([spam])).toEqual([spam])
    expect(contributed([spam, { method: 'x' }, null, 'text'])).toEqual([spam])
    expect(contributed('text')).toEqual([])
    expect(contributed(undefined)).toEqual([])
    expect(contributed(Array(50).fill(spam))).toHaveLength(20)
  })
})
