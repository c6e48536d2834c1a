// The order in which hops are tried: by preference, by chance, and by what is remembered of them.
import { byPriority, HopMemory } from '@posthorn/core/client'
import { seeded } from '@posthorn/testing'
import fc from 'fast-check'
import { expect, test } from 'vitest'

const same = (hop: string) => hop

test('a hop that failed comes last for 30 seconds, and twice as long each time, up to ten minutes', () => {
  const memory = new HopMemory()
  let now = 0
  const order = () => memory.order(['a', 'b', 'c'], same, now).join('')
  expect(order()).toBe('abc')
  const pauses: number[] = []
  for (let i = 0; i < 8; i++) {
    memory.failed('a', now)
    expect(order()).toBe('bca')
    let pause = 0
    while (order() !== 'abc') {
      pause += 1000
      now += 1000
    }
    pauses.push(pause / 1000)
  }
  expect(pauses).toEqual([30, 60, 120, 240, 480, 600, 600, 600])
  memory.failed('a', now)
  memory.worked('a')
  expect(order()).toBe('abc')
  // A failure long ago is forgotten: the next is the first again.
  memory.failed('a', now)
  now += 3_600_000
  memory.failed('a', now)
  now += 30_000
  expect(order()).toBe('abc')
})

test('deliveries that fail together are one failure', () => {
  const memory = new HopMemory()
  for (let i = 0; i < 20; i++) memory.failed('a', i)
  expect([memory.avoids('a', 29_000), memory.avoids('a', 31_000)]).toEqual([true, false])
})

test('where all have failed all are tried; nothing is remembered without bound', () => {
  const memory = new HopMemory(100)
  for (let i = 0; i < 1000; i++) memory.failed(`hop${i}`, 0)
  expect(memory.size).toBe(100)
  expect(memory.order(['hop998', 'hop999'], same, 1)).toEqual(['hop998', 'hop999'])
  expect(memory.avoids('hop1', 1)).toBe(false)
})

test('priority is kept, and within it nobody is lost or doubled, whatever chance says', () => {
  const item = fc.record({ priority: fc.nat(3), weight: fc.option(fc.integer({ min: 1, max: 9 }), { nil: 1 }) })
  fc.assert(
    fc.property(fc.array(item, { maxLength: 12 }), fc.double({ min: 0, max: 1, noNaN: true }), (items, chance) => {
      const groups = byPriority(items, () => Math.min(chance, 1 - Number.EPSILON))
      const flat = groups.flat()
      expect(flat).toHaveLength(items.length)
      expect(new Set(flat)).toEqual(new Set(items))
      const priorities = flat.map(({ priority }) => priority)
      expect(priorities).toEqual([...priorities].sort((a, b) => a - b))
    }),
  )
})

test('one of three times the weight comes first three times as often', () => {
  const random = seeded(1)
  const items = [
    { name: 'a', priority: 0, weight: 3 },
    { name: 'b', priority: 0, weight: 1 },
  ]
  let first = 0
  for (let i = 0; i < 4000; i++) if (byPriority(items, random)[0]?.[0]?.name === 'a') first++
  expect(first).toBeGreaterThan(2850)
  expect(first).toBeLessThan(3150)
})
