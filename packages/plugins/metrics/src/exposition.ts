// Core's plain counts as prom-client metrics, read when somebody scrapes; plus the process's own.
import type { Family, HistogramSample, Meter, Sample } from '@posthorn/core'
import { collectDefaultMetrics, Registry } from 'prom-client'

/** A registry over `meter`: families that appear later are found at the next scrape. */
export function registryOf(meter: Meter): { readonly contentType: string; metrics(): Promise<string> } {
  const registry = new Registry()
  // prom-client's own: CPU, memory, event-loop lag, garbage collection.
  collectDefaultMetrics({ register: registry })
  const known = new Set<string>()
  return {
    contentType: registry.contentType,
    metrics() {
      for (const { name } of meter.families) {
        if (known.has(name)) continue
        known.add(name)
        const read = () => meter.families.find(f => f.name === name)
        // prom-client asks a metric for nothing but `name` and `get`.
        registry.registerMetric({ name, get: async () => snapshot(read() as Family), reset() {} } as never)
      }
      return registry.metrics()
    },
  }
}

type Value = { value: number; labels: Record<string, string>; metricName?: string }

function snapshot(family: Family): object {
  const values =
    family.kind === 'histogram'
      ? [...family.samples()].flatMap(sample => histogram(family.name, family.labels, family.bounds, sample))
      : [...family.samples()].map(sample => plain(family.labels, sample))
  return { name: family.name, help: family.help, type: family.kind, values, aggregator: 'sum' }
}

function labelled(names: readonly string[], values: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name, i) => [name, values[i] ?? '']))
}

function plain(names: readonly string[], { labels, value }: Sample): Value {
  return { value, labels: labelled(names, labels) }
}

/** Prometheus wants each bucket to hold all that is below it too. */
function histogram(
  name: string,
  names: readonly string[],
  bounds: readonly number[],
  { labels, counts, sum }: HistogramSample,
): Value[] {
  const own = labelled(names, labels)
  const values: Value[] = []
  let total = 0
  counts.forEach((count, i) => {
    total += count
    const le = bounds[i] === undefined ? '+Inf' : String(bounds[i])
    values.push({ metricName: `${name}_bucket`, value: total, labels: { le, ...own } })
  })
  values.push({ metricName: `${name}_sum`, value: sum, labels: own })
  values.push({ metricName: `${name}_count`, value: total, labels: own })
  return values
}
