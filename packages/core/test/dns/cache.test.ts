import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DnsCache } from '../../src/dns/cache.ts'
import type { DnsAnswer } from '../../src/dns/contract.ts'

const answer = (name: string): DnsAnswer => ({ status: 'ok', records: [], name, secure: false, ttl: 60 })

test('never holds more than it may, nor answers with what is over or of another question', () => {
  const step = fc.record({
    key: fc.integer({ min: 0, max: 20 }).map(n => `k${n}`),
    set: fc.boolean(),
    ms: fc.integer({ min: 0, max: 100 }),
    octets: fc.integer({ min: 0, max: 8_000 }),
    later: fc.integer({ min: 0, max: 30 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 0, max: 20 }), (steps, entries) => {
      const cache = new DnsCache()
      const until = new Map<string, number>()
      let now = 0
      for (const { key, set, ms, octets, later } of steps) {
        now += later
        if (set) {
          cache.set(key, answer(key), ms, now, octets, entries)
          until.set(key, now + ms)
          expect(cache.cost).toBeLessThanOrEqual(entries)
          // What was just put there is there.
          if (ms > 0 && Math.max(1, Math.ceil(octets / 1_024)) <= entries) expect(cache.get(key, now)).toBeDefined()
        } else {
          const found = cache.get(key, now)
          if (found === undefined) continue
          expect(found).toMatchObject({ name: key })
          expect(now).toBeLessThan(until.get(key) ?? 0)
        }
        expect(cache.cost).toBeGreaterThanOrEqual(cache.size)
      }
      cache.clear()
      expect([cache.size, cache.cost]).toEqual([0, 0])
    }),
  )
})

test('what is asked for again and again outlives a flood of what is asked for once', () => {
  const cache = new DnsCache()
  for (const hot of ['a', 'b', 'c']) cache.set(hot, answer(hot), 1e9, 0, 1, 100)
  for (let i = 0; i < 10_000; i++) {
    for (const hot of ['a', 'b', 'c']) expect(cache.get(hot, i)).toBeDefined()
    cache.set(`cold${i}`, answer(`cold${i}`), 1e9, i, 1, 100)
  }
  expect(cache.size).toBe(100)
})
