import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Id } from '../../src/envelope.ts'
import type { Settled } from '../../src/hooks/contract.ts'
import { asVerdict, forRecipient, mergeEnds, mergeGate, type Objection, strength } from '../../src/hooks/merge.ts'
import { defer, discard, reject, type Verdict } from '../../src/verdict.ts'
import { hook } from './stage.ts'

const targets = ['t1', 't2', 't3'] as const
const verdict = fc.constantFrom<Verdict>(
  reject(550, '5.7.1', 'No'),
  reject(552, '5.2.2', 'Full'),
  defer(451, '4.7.1', 'Later'),
  defer(452, '4.2.2', 'Full for now'),
  discard('spam trap'),
)
const passedOn = fc.constantFrom(250, 450, 571).map(code => ({
  kind: 'passed-on' as const,
  reply: { host: 'b', phase: 'rcpt' as const, code, lines: [`said ${code}`] },
}))
const each = fc.dictionary(fc.constantFrom(...targets), verdict).map(object => new Map(Object.entries(object)))
const ended = fc.record({
  value: fc.oneof(fc.constant(undefined), fc.constant('accept'), verdict, passedOn, each),
  onError: fc.constantFrom('fail' as const, 'ignore' as const),
  how: fc.constantFrom('well', 'fault', 'skipped', 'junk', 'ignore'),
})
/** Answers of a stage in config order, and the same in the order they happened to come in. */
const answers = fc
  .array(ended, { maxLength: 8 })
  .map(all =>
    all.map(({ value, onError, how }, i): Settled => {
      const entry = hook(`p${i}`, () => undefined, { rank: i, onError, stage: 'rcpt' })
      const call = { entry, ms: 1, at: 0 }
      if (how === 'fault') return { ...call, value: undefined, fault: { kind: 'error', error: new Error('x') } }
      if (how === 'skipped') return { ...call, value: undefined, skipped: true }
      return how === 'well' ? { ...call, value } : { ...call, value, overridden: how as 'junk' }
    }),
  )
  .chain(all => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length })))

test('the order in which answers come never changes the reply', () => {
  void fc.assert(
    fc.property(answers, ([inOrder, asCome]) => {
      expect(mergeGate(asCome)).toEqual(mergeGate(inOrder))
      const [a, b] = [mergeEnds(asCome, targets), mergeEnds(inOrder, targets)]
      for (const id of targets) expect(a.get(id as Id)?.verdict).toEqual(b.get(id as Id)?.verdict)
      for (const id of targets) expect(a.get(id as Id)?.by).toEqual(b.get(id as Id)?.by)
    }),
  )
})

test('nothing is stronger than the verdict, and nothing as strong ranks before it', () => {
  void fc.assert(
    fc.property(answers, ([all]) => {
      const { verdict: won, by, accepted } = mergeGate(all)
      const standing = all.filter(s => s.overridden === undefined && s.fault === undefined && !(s.value instanceof Map))
      for (const { value, entry } of standing) {
        const own = strength(value)
        expect(own).toBeLessThanOrEqual(strength(won))
        if (won !== undefined && own === strength(won)) expect(`p${entry.rank}` >= (by as string)).toBe(true)
      }
      if (accepted) expect(won).toBeUndefined()
      if (all.some(s => s.fault !== undefined && s.entry.onError === 'fail')) expect(strength(won)).toBeGreaterThan(1)
    }),
  )
})

test('a recipient is refused when all its targets are, by the strongest', () => {
  const no = { verdict: reject(550, '5.7.1', 'No'), by: 'sieve' }
  const later = { verdict: defer(451, '4.7.1', 'Later'), by: 'quota' }
  const recipient = (...ids: string[]) => ({ targets: ids.map(id => ({ id }) as never) })
  const verdicts = new Map<Id, Objection>([
    ['a' as Id, later],
    ['b' as Id, no],
  ])
  expect(forRecipient(recipient('a', 'b'), verdicts)).toBe(no)
  expect(forRecipient(recipient('a'), verdicts)).toBe(later)
  expect(forRecipient(recipient('a', 'c'), verdicts)).toBeUndefined()
  // Nobody is left to refuse it for.
  expect(forRecipient(recipient(), verdicts)).toBeUndefined()
})

test("a back end's words never break our own dialogue", () => {
  void fc.assert(
    fc.property(
      fc.integer({ min: 400, max: 599 }),
      fc.option(fc.string()),
      fc.array(fc.string()),
      (code, enhanced, lines) => {
        const reply = { host: 'b', phase: 'rcpt' as const, code, lines, ...(enhanced === null ? {} : { enhanced }) }
        const stand = asVerdict({ kind: 'passed-on', reply })
        expect(stand.text).toMatch(/^[^\p{Cc}]{1,400}$/u)
        expect(stand.enhanced).toMatch(code < 500 ? /^4\.\d{1,3}\.\d{1,3}$/ : /^5\.\d{1,3}\.\d{1,3}$/)
        expect(Math.floor(stand.code / 100)).toBe(Math.floor(code / 100))
      },
    ),
  )
})
