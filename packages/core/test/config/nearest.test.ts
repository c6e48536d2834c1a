import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { distance, nearest } from '../../src/config/nearest.ts'

describe('the nearest name', () => {
  const known = ['listeners', 'limits', 'queue', 'hostname', 'on', 'as']

  it.each([
    ['listners', 'listeners'],
    ['Listeners', 'listeners'],
    ['limit', 'limits'],
    ['qeue', 'queue'],
    ['hsotname', 'hostname'],
  ])('of %s is %s', (name, near) => expect(nearest(name, known)).toBe(near))

  it.each(['database', 'xy', '', 'x'.repeat(2_000_000)])('of something else is none', name =>
    expect(nearest(name, known)).toBeUndefined(),
  )
})

it('distance is a metric of one step for each slip', () => {
  const word = fc.string({ maxLength: 12 })
  fc.assert(
    fc.property(word, word, (a, b) => {
      expect(distance(a, b)).toBe(distance(b, a))
      expect(distance(a, a)).toBe(0)
      expect(distance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length))
      expect(distance(a, `${a}x`)).toBe(1)
    }),
  )
})
