// Prints what a bench found: aligned columns for people.

import { type Contest, ratio } from './rounds.ts'

/** Columns aligned, first to the left, others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map(row => (row[i] ?? '').length)))
  const pad = (cell: string, i: number) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))
  return rows.map(row => row.map(pad).join('  ').trimEnd()).join('\n')
}

const number = (value: number, digits: number) => (Number.isNaN(value) ? '-' : value.toFixed(digits))

/** One row a contender; one `× rival` column for each of them. */
export function contestTable({ scores, notes }: Contest): string {
  const head = ['', 'msg/s', 'MB/s', 'p50 ms', 'p99 ms', 'CPU s/1000', 'peak RSS MB']
  const rows = scores.map(score => {
    const { contender, version, median } = score
    return [
      `${contender} ${version}`,
      number(median.rate, 0),
      number(median.megabytes, 1),
      number(median.p50, 2),
      number(median.p99, 2),
      number(median.cpu, 3),
      number(median.rss, 0),
      ...scores.map(rival => (rival.contender === contender ? '' : number(ratio(score, rival), 2))),
    ]
  })
  return [table([[...head, ...scores.map(({ contender }) => `× ${contender}`)], ...rows]), ...notes].join('\n')
}
