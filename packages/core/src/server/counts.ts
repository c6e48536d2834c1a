// What core counts of its own work, on the meter that a metrics plugin reads and `status` shows.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Settled } from '../hooks/contract.ts'
import type { Meter } from '../meter.ts'
import type { TraceEntry } from '../queue/contract.ts'

const seconds = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30]

const kinds = {
  delivered: 'delivered',
  deferred: 'retried',
  failed: 'bounced',
  held: 'held',
  dropped: 'dropped',
} as const

export interface Counts {
  hook(settled: Settled): void
  /** A trace on its way to the store: transactions' ends and delivery outcomes are counted from it. */
  traced(entries: readonly TraceEntry[]): void
  /** Counters by name, for `status`. */
  readonly totals: Readonly<Record<string, number>>
  close(): void
}

/** Milliseconds between two looks at the loop. */
const looks = 10

/** `lag`: Node's histogram of the time between two looks, so what is more than `looks` is the delay. */
export function countsOn(
  meter: Meter,
  lag: Pick<
    ReturnType<typeof monitorEventLoopDelay>,
    'enable' | 'percentile' | 'reset' | 'disable'
  > = monitorEventLoopDelay({ resolution: looks }),
): Counts {
  const hooks = meter.histogram('posthorn_hook_seconds', 'Time of hook calls', ['stage', 'plugin'], seconds)
  const verdicts = meter.counter('posthorn_hook_verdicts_total', 'What hooks answered', ['stage', 'plugin', 'verdict'])
  const answered = meter.counter('posthorn_transactions_total', 'Mail transactions by the class of their reply', [
    'class',
  ])
  const outcomes = meter.counter(
    'posthorn_outcomes_total',
    'Delivery outcomes of recipients; unknown: those of retried that the next hop may have all the same',
    ['outcome'],
  )
  lag.enable()
  meter.gauge('posthorn_event_loop_delay_p99_seconds', 'Event-loop delay since the last scrape', [], () => {
    const value = Math.max(0, lag.percentile(99) / 1e9 - looks / 1e3)
    lag.reset()
    return [{ labels: [], value }]
  })
  const totals = { accepted: 0, deferred: 0, refused: 0, delivered: 0, retried: 0, bounced: 0, held: 0, dropped: 0 }
  return {
    hook({ entry, value, fault, skipped, ms }) {
      hooks([entry.stage, entry.plugin], ms / 1000)
      const kind = (value as { kind?: unknown } | null | undefined)?.kind
      const verdict =
        fault?.kind ?? (skipped ? 'skipped' : typeof value === 'string' ? value : typeof kind === 'string' ? kind : '-')
      verdicts([entry.stage, entry.plugin, verdict])
    },
    traced(entries) {
      for (const { stage, verdict, fate, unknown, count = 1 } of entries) {
        if (stage === 'answered') {
          const kind = verdict.startsWith('2') ? 'accepted' : verdict.startsWith('4') ? 'deferred' : 'refused'
          totals[kind] += count
          answered([kind])
        } else if (stage === 'deliver' && fate !== undefined) {
          const kind = kinds[fate]
          totals[kind] += count
          outcomes([kind], count)
          if (unknown) outcomes(['unknown'], count)
        }
      }
    },
    totals,
    close: () => lag.disable(),
  }
}
