import fc from 'fast-check'
import { expect, test } from 'vitest'
import { KeySet } from '../../src/queue/key-set.ts'

test('it has every key that it was given, and no other', () => {
  fc.assert(
    fc.property(fc.array(fc.string()), fc.array(fc.string()), (given, asked) => {
      const set = new KeySet()
      for (const key of given) set.add(key)
      expect(set.size).toBe(new Set(given).size)
      for (const key of given) expect(set.has(key)).toBe(true)
      for (const key of asked) expect(set.has(key)).toBe(given.includes(key))
    }),
  )
})

test('keys that differ in one digit, as those of the queue do, are told apart by the hundred thousand', () => {
  const key = (n: number) =>
    `d/relay%2Fmx.example.test%3A25/09/1763870000000/01KAQXYZ0${String(n).padStart(7, '0')}/000000`
  const set = new KeySet()
  for (let n = 0; n < 100_000; n++) set.add(key(2 * n))
  expect(set.size).toBe(100_000)
  let wrong = 0
  for (let n = 0; n < 100_000; n++) if (!set.has(key(2 * n)) || set.has(key(2 * n + 1))) wrong++
  expect(wrong).toBe(0)
})
