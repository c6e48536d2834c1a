import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Roster } from '../src/roster.ts'

test('it answers as a Map does', async () => {
  const step = fc.tuple(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.option(fc.nat()))
  await fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const roster = new Roster<number>()
      const map = new Map<string, number>()
      for (const [name, member] of steps) {
        if (member === null) {
          roster.delete(name)
          map.delete(name)
        } else {
          roster.set(name, member)
          map.set(name, member)
        }
        expect(roster.size).toBe(map.size)
        expect([...roster.values()]).toEqual([...map.values()])
        for (const each of 'abcdef')
          expect([roster.has(each), roster.get(each)]).toEqual([map.has(each), map.get(each)])
      }
    }),
  )
})

// With a Map in the roster's place nine tenths of what went through stay until the next full collection.
test('what has left is free for the next small collection, however many come and go', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as (options: { type: 'minor' | 'major' }) => void
  const old = () => getHeapSpaceStatistics().find(space => space.space_name === 'old_space')?.space_used_size ?? 0
  const inFlight = 30
  const passing = 5000
  const octets = 8 * 200
  const roster = new Roster<number[]>()
  const pass = (from: number, to: number) => {
    for (let n = from; n < to; n++) {
      roster.set(
        `m/${n}`,
        Array.from({ length: 200 }, () => n),
      )
      roster.delete(`m/${n - inFlight}`)
      if (n % 100 === 0) collect({ type: 'minor' })
    }
  }
  pass(0, passing)
  collect({ type: 'major' })
  const before = old()
  pass(passing, 2 * passing)
  expect((old() - before) / (passing * octets)).toBeLessThan(0.1)
})
