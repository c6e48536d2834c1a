// Runs the hooks of one stage, wave after wave, effects last. Returns in the same tick, without a promise, where every
// hook does: a promise for each stage of each message would cost more than the hooks (docs/decisions/0004).
import type { Clock } from '../clock.ts'
import type { Id } from '../envelope.ts'
import type { Awaitable } from '../transaction.ts'
import { isVerdict } from './answers.ts'
import type {
  FirstResult,
  GateResult,
  HookEntry,
  HookRuntime,
  RunOptions,
  Scene,
  Settled,
  StagePlan,
} from './contract.ts'
import { type Merged, mergeEnds, mergeGate, objectionOf, strength } from './merge.ts'
import { Timers } from './timers.ts'
import { type Waiting, Wave } from './wave.ts'

export type { FirstResult, GateResult, RunOptions } from './contract.ts'

/** The clock and the list of timeouts that all stages of a process share. */
export function hookRuntime(clock: Clock): HookRuntime {
  return { clock, timers: new Timers(clock), now: () => clock.now() }
}

const nothing: { readonly settled: readonly Settled[] } = Object.freeze({ settled: Object.freeze([]) })

/**
 * `connect`, `helo`, `mail`, `rcpt`, `data` and taps' ends: all vote. An objection for everybody ends the stage after
 * its wave; effects run only if nobody objected. Never rejects for what a hook does.
 */
export function runGate(plan: StagePlan, scene: Scene, options: RunOptions): Awaitable<GateResult> {
  if (isEmpty(plan)) return nothing
  let merged: Merged = {}
  const run = new Run(plan, scene, options, false, all => {
    merged = mergeGate(all)
    return merged.verdict !== undefined || (options.targets !== undefined && allRefused(all, options.targets))
  })
  return run.go(settled => ({ ...merged, settled }))
}

/** An overridden answer is none; of answers for each, those that did not object still stand: somebody has that custody. */
function withoutOverridden({ value, overridden }: Settled): unknown {
  if (overridden === undefined) return value
  if (!(value instanceof Map)) return undefined
  const standing = new Map([...value].filter(([, each]) => strength(each) === 0))
  return standing.size > 0 ? standing : undefined
}

/**
 * `auth`, `resolve`, `queue`: asked one after another, in wave order, until one answers. A fault ends it too, as the
 * stage's temporary failure: the next one's answer might be what the failed one would have forbidden.
 */
export function runFirst(plan: StagePlan, scene: Scene, options: RunOptions): Awaitable<FirstResult> {
  if (isEmpty(plan)) return nothing
  let answer: Omit<FirstResult, 'settled'> = {}
  const run = new Run(plan, scene, options, true, all => {
    const last = all.at(-1) as Settled
    const by = last.entry.plugin
    const objection = objectionOf(last)
    if (objection !== undefined && isVerdict(objection)) answer = { verdict: objection, by }
    else {
      const value = last.fault === undefined ? withoutOverridden(last) : undefined
      if (value === undefined) return false
      answer = { value, by }
    }
    return true
  })
  return run.go(settled => ({ ...answer, settled }))
}

/** `seal` and `ready`: one after another, all of them, until one fails. The scene is told of each before the next begins. */
export function runSequence(plan: StagePlan, scene: Scene, options: RunOptions): Awaitable<GateResult> {
  if (isEmpty(plan)) return nothing
  let merged: Merged = {}
  const run = new Run(plan, scene, options, true, all => {
    const last = all.at(-1) as Settled
    if (last.fault === undefined || last.entry.onError === 'ignore') return false
    const { verdict } = mergeGate([last])
    merged = verdict === undefined ? {} : { verdict, by: last.entry.plugin }
    return true
  })
  return run.go(settled => ({ ...merged, settled }))
}

/** `answered`, `outcome`, `closed`, `drain`: told. A fault is logged and changes nothing. */
export function runObservers(plan: StagePlan, scene: Scene, options: RunOptions): Awaitable<void> {
  if (isEmpty(plan)) return undefined
  return new Run(plan, scene, options, false, () => false).go(() => undefined)
}

const isEmpty = (plan: StagePlan): boolean => plan.waves.length === 0 && plan.effects.length === 0

function allRefused(all: readonly Settled[], targets: readonly string[]): boolean {
  if (targets.length === 0) return false
  if (!all.some(({ value }) => value instanceof Map)) return false
  const verdicts = mergeEnds(all, targets)
  return targets.every(id => verdicts.has(id as Id))
}

class Run implements Waiting {
  readonly #plan: StagePlan
  readonly #scene: Scene
  readonly #options: RunOptions
  readonly #single: boolean
  readonly #ends: (all: readonly Settled[]) => boolean
  #settled: readonly Settled[] = nothing.settled
  /** Place in `waves`, then in `effects`; `#inner` is the place in the wave where hooks run one by one. */
  #outer = 0
  #inner = 0
  #wave: Wave | undefined
  #result: ((settled: readonly Settled[]) => unknown) | undefined
  #resolve: ((value: unknown) => void) | undefined
  #reject: ((error: unknown) => void) | undefined

  /** `single`: each hook is a wave of its own. `ends`: told all results after each wave, says whether the stage is over. */
  constructor(
    plan: StagePlan,
    scene: Scene,
    options: RunOptions,
    single: boolean,
    ends: (all: readonly Settled[]) => boolean,
  ) {
    this.#plan = plan
    this.#scene = scene
    this.#options = options
    this.#single = single
    this.#ends = ends
  }

  go<T>(result: (settled: readonly Settled[]) => T): Awaitable<T> {
    this.#wave = this.#step()
    if (this.#wave === undefined) return result(this.#settled)
    // Fields, not a closure over them: V8 keeps objects that hold a closure of their own until the next full collection.
    return new Promise((resolve, reject) => {
      this.#result = result
      this.#resolve = resolve as (value: unknown) => void
      this.#reject = reject
    })
  }

  /** The wave that was waited for has ended. */
  resume(): void {
    try {
      this.#wave = this.#ended(this.#wave as Wave) ? undefined : this.#step()
      if (this.#wave === undefined) this.#resolve?.(this.#result?.(this.#settled))
    } catch (error) {
      // Not a hook's doing: a unit or the scene failed. The pipeline answers for it.
      this.#reject?.(error)
    }
  }

  /** Runs waves until one has to wait, which comes back, or until the end. */
  #step(): Wave | undefined {
    for (;;) {
      const entries = this.#next()
      if (entries === undefined) return undefined
      const wave = new Wave(this.#scene, this.#options, this)
      if (!wave.start(entries)) return wave
      if (this.#ended(wave)) return undefined
    }
  }

  #ended(wave: Wave): boolean {
    const settled = wave.finish()
    if (settled.length === 0) return false
    this.#settled = this.#settled.length === 0 ? settled : [...this.#settled, ...settled]
    return this.#ends(this.#settled)
  }

  #next(): readonly HookEntry[] | undefined {
    const { waves, effects } = this.#plan
    const wave = this.#outer < waves.length ? waves[this.#outer] : effects[this.#outer - waves.length]
    if (wave === undefined) return undefined
    if (!this.#single) {
      this.#outer++
      return wave
    }
    const entry = wave[this.#inner++]
    if (entry !== undefined) return [entry]
    this.#outer++
    this.#inner = 0
    return this.#next()
  }
}
