import { Meter } from '@posthorn/core'
import { expect, test } from 'vitest'
import type { TraceEntry } from '../../src/queue/contract.ts'
import { countsOn } from '../../src/server/counts.ts'

test('outcomes are counted by what they came to, not by what the last attempt said', () => {
  const meter = new Meter()
  const counts = countsOn(meter)
  const entry = (verdict: string, fate: TraceEntry['fate'], more: Partial<TraceEntry> = {}) => ({
    at: 0,
    stage: 'deliver',
    verdict,
    ...(fate && { fate }),
    ...more,
  })
  counts.traced([
    entry('relayed', 'delivered', { count: 3 }),
    entry('defer 451 4.4.1', 'deferred'),
    entry('defer 451 4.4.2', 'deferred', { unknown: true }),
    // Given up.
    entry('defer 451 4.4.1', 'failed'),
    entry('reject 550 5.1.1', 'failed'),
    entry('held hold', 'held'),
    entry('dropped discard', 'dropped'),
  ])
  counts.close()
  expect(counts.totals).toMatchObject({ delivered: 3, retried: 2, bounced: 2, held: 1, dropped: 1 })
  const family = meter.families.find(({ name }) => name === 'posthorn_outcomes_total')
  expect([...(family?.samples() ?? [])]).toContainEqual({ labels: ['unknown'], value: 1 })
})

test('the delay of the loop is what comes on top of the time between two looks at it', () => {
  const meter = new Meter()
  let between = 10.2
  const lag = { enable: () => true, disable: () => true, reset() {}, percentile: () => between * 1e6 }
  countsOn(meter, lag)
  const family = meter.families.find(({ name }) => name === 'posthorn_event_loop_delay_p99_seconds')
  const read = () => ([...(family?.samples() ?? [])] as { value: number }[])[0]?.value
  expect(read()).toBeCloseTo(0.0002)
  between = 31.2
  expect(read()).toBeCloseTo(0.0212)
  between = 9.9
  expect(read()).toBe(0)
})
