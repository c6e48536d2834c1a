import { fakeClock } from '@posthorn/testing'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Timers } from '../../src/hooks/timers.ts'

test('each timer fires once, at its time or at most 50 ms later; a stopped one never', async () => {
  const spec = fc.array(
    fc.record({ at: fc.nat(300), ms: fc.constantFrom(1, 50, 100, 1000), stop: fc.option(fc.nat(1500)) }),
    { maxLength: 20 },
  )
  await fc.assert(
    fc.asyncProperty(spec, async all => {
      const clock = fakeClock()
      const timers = new Timers(clock)
      const fired = all.map(() => [] as number[])
      for (const [i, { at, ms, stop }] of all.entries()) {
        clock.after(at, () => {
          const timer = timers.start(ms, times => void times?.push(clock.monotonic()), fired[i])
          if (stop !== null) clock.after(stop, () => timers.stop(timer))
        })
      }
      await clock.advance(2000)
      for (const [i, { at, ms, stop }] of all.entries()) {
        const times = fired[i] as number[]
        if (times.length === 0) expect(stop).toBeLessThanOrEqual(ms + 50)
        else {
          expect(times).toHaveLength(1)
          expect(times[0]).toBeGreaterThanOrEqual(at + ms)
          expect(times[0]).toBeLessThanOrEqual(at + ms + 50)
          if (stop !== null) expect(times[0]).toBeLessThanOrEqual(at + stop)
        }
      }
      expect(clock.timers).toBe(0)
    }),
    { numRuns: 20 },
  )
})

test('a timer may start and stop others when it fires', async () => {
  const clock = fakeClock()
  const timers = new Timers(clock)
  const fired: string[] = []
  const other = { timer: undefined as ReturnType<Timers['start']> | undefined }
  const say = (word: string) => void fired.push(word)
  timers.start(
    100,
    word => {
      say(word)
      if (other.timer !== undefined) timers.stop(other.timer)
      timers.start(100, say, 'third')
    },
    'first',
  )
  other.timer = timers.start(100, say, 'second')
  await clock.advance(400)
  expect(fired).toEqual(['first', 'third'])
})
