// Runs contenders against each other: each started once, warmed up for the same time, then A B A B, each round after the
// last one's work is done. Medians of the rounds are what counts.

import { setTimeout as wait } from 'node:timers/promises'
import type { BenchOptions } from './bench.ts'
import type { Contender, Running, Work } from './contender.ts'
import { sample } from './latency.ts'
import { type Load, send } from './load.ts'
import { cpuOf, settle, watchPeak } from './processes.ts'
import { monotonic, type Sink } from './sink.ts'

/** One contender in one round. */
export interface Round {
  /** Messages per second: from the first connect to the last 250, or for a relay to the last message at the sink. */
  readonly rate: number
  /** Megabytes (10^6) of message per second. */
  readonly megabytes: number
  /** Milliseconds from the dot to 250. */
  readonly p50: number
  readonly p99: number
  /** CPU seconds of the process tree per 1,000 messages. */
  readonly cpu: number
  /** Peak resident megabytes of the process tree. */
  readonly rss: number
}

export interface Score {
  readonly contender: string
  readonly version: string
  readonly median: Round
  readonly rounds: readonly Round[]
}

export interface Contest {
  readonly scores: readonly Score[]
  /** Who did not take part, and why. */
  readonly notes: readonly string[]
}

export const quantile = (values: readonly number[], q: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

const keys = ['rate', 'megabytes', 'p50', 'p99', 'cpu', 'rss'] as const
/** The middle value, or the mean of the two in the middle. */
export const middle = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length / 2
  return ((sorted[Math.ceil(half) - 1] ?? Number.NaN) + (sorted[Math.floor(half)] ?? Number.NaN)) / 2
}
/**
 * How many times the rival's rate, the middle of the rounds: a round and the rival's next to it see the same machine, whose
 * speed may be another one a minute later.
 */
export const ratio = (of: Score, to: Score): number =>
  middle(of.rounds.map((round, n) => round.rate / (to.rounds[n]?.rate ?? Number.NaN)))

const median = (rounds: readonly Round[]) =>
  Object.fromEntries(keys.map(key => [key, middle(rounds.map(round => round[key]))])) as unknown as Round

/** Waits for the sink to have counted `expected`; a relay that stands still for 30 s has lost some. */
async function arrived(sink: Sink, expected: number) {
  let before = -1
  let moved = monotonic()
  for (;;) {
    const count = await sink.count()
    if (count.messages >= expected) return count
    if (count.messages !== before) moved = monotonic()
    if (monotonic() - moved > 30_000) throw new Error(`only ${count.messages} of ${expected} messages reached the sink`)
    before = count.messages
    await wait(20)
  }
}

async function round({ port, pid }: Running, work: Work, load: Load, sink: Sink): Promise<Round> {
  await sink.reset()
  const cpu = cpuOf(pid)
  const peak = watchPeak(pid)
  const began = monotonic()
  const sampler = sample(port, load.size)
  await send(port, load)
  let ended = monotonic()
  const times = await sampler.stop()
  const messages = load.messages + times.length
  if (work.kind === 'relay') {
    const count = await arrived(sink, messages)
    if (count.messages > messages) throw new Error(`${count.messages - messages} duplicates reached the sink`)
    ended = count.last
  }
  // A queue to nowhere is emptied after the last 250; that work belongs to these messages.
  await settle(pid)
  const rate = (messages / (ended - began)) * 1000
  return {
    rate,
    megabytes: (rate * load.size) / 1e6,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    cpu: ((cpuOf(pid) - cpu) / messages) * 1000,
    rss: peak.stop() / 1e6,
  }
}

/**
 * Each takes the load for so many milliseconds before the first round. Compilers that watch what is run go on for tens of
 * thousands of messages, and a mail server runs for weeks.
 */
const warmUp = 20_000

async function warm({ port, pid }: Running, load: Load, ms: number) {
  const until = monotonic() + ms
  do await send(port, load)
  while (monotonic() < until)
  await settle(pid)
}

export interface ContestOptions extends Pick<BenchOptions, 'rounds' | 'scale' | 'say'> {
  readonly contenders: readonly Contender[]
  readonly kind: Work['kind']
  /** Scaled already. */
  readonly load: Load
  readonly sink: Sink
}

/** One contest: the same work and load for all. */
export async function contest({ contenders, kind, load, sink, rounds, scale, say }: ContestOptions): Promise<Contest> {
  const work: Work = { kind, sink: sink.port }
  const notes: string[] = []
  const started: { contender: Contender; version: string; running: Running; rounds: Round[] }[] = []
  try {
    for (const contender of contenders) {
      const found = await contender.look()
      if ('absent' in found) {
        notes.push(`${contender.name} skipped: ${found.absent}`)
        continue
      }
      const running = await contender.start(work)
      started.push({ contender, version: found.version, running, rounds: [] })
      await warm(running, load, warmUp * scale)
      say(`${contender.name} ${found.version} is warm`)
    }
    for (let n = 1; n <= rounds; n++) {
      for (const one of started) {
        const result = await round(one.running, work, load, sink)
        one.rounds.push(result)
        say(`round ${n} of ${rounds}: ${one.contender.name} ${Math.round(result.rate)} msg/s`)
      }
    }
  } finally {
    for (const { running } of started) await running.stop()
  }
  const scores = started.map(({ contender, version, rounds }) => ({
    contender: contender.name,
    version,
    median: median(rounds),
    rounds,
  }))
  return { scores, notes }
}
