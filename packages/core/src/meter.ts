// What core counts: plain numbers that cost an addition. A metrics plugin reads them all in `families` when asked.
import { token } from './token.ts'

/** One line of a metric: label values in the order of the family's names. */
export interface Sample {
  readonly labels: readonly string[]
  readonly value: number
}

export interface HistogramSample {
  readonly labels: readonly string[]
  /** How many observations were at most each bound, not cumulative; the last is "more than all bounds". */
  readonly counts: readonly number[]
  readonly sum: number
}

/** `name` as Prometheus writes it, with unit: `posthorn_hook_seconds`. */
export type Family = { readonly name: string; readonly help: string; readonly labels: readonly string[] } & (
  | { readonly kind: 'counter' | 'gauge'; samples(): Iterable<Sample> }
  | { readonly kind: 'histogram'; readonly bounds: readonly number[]; samples(): Iterable<HistogramSample> }
)

/** Label values at most per family: what hostile input could multiply is counted as `other`. */
const mostSeries = 1_000

/** The instruments of one process. */
export class Meter {
  readonly #families = new Map<string, Family>()

  get families(): readonly Family[] {
    return [...this.#families.values()]
  }

  /** The returned function adds one, or `n`, to the series of these label values. */
  counter<const L extends readonly string[]>(
    name: string,
    help: string,
    labels: L,
  ): (values: Values<L>, n?: number) => void {
    const series = new Map<string, { labels: readonly string[]; value: number }>()
    this.#add({ name, help, labels, kind: 'counter', samples: () => series.values() })
    return (values, n = 1) => {
      const one = find(series, values, labels => ({ labels, value: 0 }))
      one.value += n
    }
  }

  /** `bounds` ascending, in the unit of `name`. */
  histogram<const L extends readonly string[]>(
    name: string,
    help: string,
    labels: L,
    bounds: readonly number[],
  ): (values: Values<L>, observed: number) => void {
    const series = new Map<string, { labels: readonly string[]; counts: number[]; sum: number }>()
    this.#add({ name, help, labels, kind: 'histogram', bounds, samples: () => series.values() })
    return (values, observed) => {
      const make = (own: readonly string[]) => ({
        labels: own,
        counts: new Array<number>(bounds.length + 1).fill(0),
        sum: 0,
      })
      const one = find(series, values, make)
      let bucket = 0
      while (bucket < bounds.length && observed > (bounds[bucket] as number)) bucket++
      one.counts[bucket] = (one.counts[bucket] as number) + 1
      one.sum += observed
    }
  }

  /** Read when asked: costs nothing otherwise. A gauge of the same name replaces the one before. */
  gauge(name: string, help: string, labels: readonly string[], samples: () => Iterable<Sample>): void {
    this.#families.set(name, { name, help, labels, kind: 'gauge', samples })
  }

  #add(family: Family): void {
    this.#families.set(family.name, family)
  }
}

type Values<L extends readonly string[]> = { readonly [I in keyof L]: string }

function find<T>(series: Map<string, T>, values: readonly string[], make: (labels: readonly string[]) => T): T {
  const key = values.length === 1 ? (values[0] as string) : values.join('\0')
  let one = series.get(key)
  if (one === undefined) {
    const full = series.size >= mostSeries
    if (full) one = series.get(overflow)
    if (one !== undefined) return one
    one = make(full ? values.map(() => 'other') : values)
    series.set(full ? overflow : key, one)
  }
  return one
}

/** No label value has a NUL at its start. */
const overflow = '\0other'

export const MeterToken = token<Meter>('core/meter')
