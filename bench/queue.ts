// The queue at the limits that issue 3 sets: a million messages that wait, a destination that is dead, fifty thousand
// recipients, a hundred thousand lanes, syncs. Posthorn alone, by its real command; each case says what it must keep.

import { type Bench, chosen } from './bench.ts'
import { cases } from './queue-cases.ts'
import { table } from './table.ts'

/** One figure and what it must be; `ok` is absent where it is published only. */
export interface Figure {
  readonly what: string
  readonly is: string
  readonly limit: string
  readonly ok?: boolean
}

export interface CaseOptions {
  readonly rounds: number
  readonly scale: number
  say(line: string): void
}

export type Case = (options: CaseOptions) => Promise<readonly Figure[]>

export const bench: Bench = {
  summary: `the queue at its limits, case by case: ${Object.keys(cases).join(', ')}`,
  async run({ rounds, scale, cases: asked, say }) {
    const figures: Record<string, readonly Figure[]> = {}
    for (const [name, run] of chosen(cases, asked)) {
      say(name)
      figures[name] = await run({ rounds, scale, say: line => say(`  ${line}`) })
    }
    const all = Object.values(figures).flat()
    return {
      text: table([
        ['queue', '', 'limit', ''],
        ...all.map(({ what, is, limit, ok }) => [what, is, limit, verdict(ok)]),
      ]),
      data: { figures },
      failed: all.filter(({ ok }) => ok === false).map(({ what, is, limit }) => `${what}: ${is}, and not ${limit}`),
    }
  },
}

const verdict = (ok: boolean | undefined) => (ok === undefined ? '' : ok ? 'kept' : 'BROKEN')
