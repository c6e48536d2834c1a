// What a bench is: a name, one sentence, and a run that prints as it goes and gives its figures as data.

export interface BenchOptions {
  readonly rounds: number
  /** Scales every count of messages: 0.1 for a look, 1 for a figure worth quoting. */
  readonly scale: number
  /** Names of contenders; all where empty. */
  readonly only: readonly string[]
  /** Parts of the names of the cases to run; all where empty. */
  readonly cases: readonly string[]
  say(line: string): void
}

export interface Bench {
  readonly summary: string
  /** What to print in the end, and the same as data. `failed`: limits of ours that it broke; then the exit code is 1. */
  run(
    options: BenchOptions,
  ): Promise<{ readonly text: string; readonly data: object; readonly failed?: readonly string[] }>
}

/** Of named cases those that were asked for. Throws where that is none. */
export function chosen<T>(
  all: Readonly<Record<string, T>>,
  cases: readonly string[],
): readonly (readonly [string, T])[] {
  const found = Object.entries(all).filter(([name]) => cases.length === 0 || cases.some(part => name.includes(part)))
  if (found.length > 0) return found
  throw new Error(`no case is called ${cases.join(' or ')}; there are: ${Object.keys(all).join('; ')}`)
}
