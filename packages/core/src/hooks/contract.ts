import type { Aborter } from '../aborter.ts'
import type { Clock } from '../clock.ts'
import type { DeliveryAgent } from '../delivery.ts'
import type { Log } from '../log.ts'
import type { Call, StageName } from '../plugin.ts'
import type { Origin, Role } from '../session.ts'
import type { PassedOn, Verdict } from '../verdict.ts'
import type { Timers } from './timers.ts'

/** What an `unless` condition can look at. */
export interface Facts {
  readonly origin: Origin
  /** `local@domain`; '' for the null reverse-path, absent before MAIL. */
  readonly sender?: string
  readonly recipient?: string
  /** A state key by its qualified name, whatever its scope. */
  state(name: string): unknown
}

/** One configured hook: a plugin instance's handler for a stage, with the operator's overrides applied. */
export interface HookEntry {
  /** `as`, or the plugin's name: what logs, order and state call it. */
  readonly plugin: string
  readonly stage: StageName
  readonly handler: (...args: any[]) => unknown
  readonly timeout: number
  readonly effect: boolean
  /** Place in the config's list: ties go by it. */
  readonly rank: number
  /** Qualified names; `undefined` access is thrown at. */
  readonly reads: ReadonlySet<string>
  readonly writes: ReadonlySet<string>
  readonly on: ReadonlySet<Role>
  readonly onError: 'fail' | 'ignore'
  readonly objection: 'keep' | 'junk' | 'ignore'
  readonly unless?: (facts: Facts) => boolean
  /** The plugin's own log, for lines of no particular session or message. */
  readonly log?: Log
}

/** Waves run one after another; the hooks of a wave at the same time. `effects` come last, and only if nobody objected. */
export interface StagePlan {
  readonly waves: readonly (readonly HookEntry[])[]
  readonly effects: readonly (readonly HookEntry[])[]
}

export interface AgentEntry {
  readonly plugin: string
  readonly rank: number
  readonly agent: DeliveryAgent
}

export interface Plan {
  readonly stages: { readonly [S in StageName]: StagePlan }
  readonly agents: readonly AgentEntry[]
  /** Names in before/after that no plugin has, for `check`. */
  readonly absent: readonly { readonly plugin: string; readonly stage: StageName; readonly name: string }[]
}

/** Why a hook call did not answer properly. `error`: it threw; `nonsense`: it returned what its stage does not know. */
export interface Fault {
  readonly kind: 'error' | 'timeout' | 'nonsense'
  readonly error: Error
}

/**
 * One hook call as a unit: its buffered edits and state writes are kept when it settles well, dropped when it throws,
 * times out or answers nonsense. After `keep` or `drop` its handles are dead.
 */
export interface Unit {
  run(call: Call): unknown
  /** The call has settled: its handles die now, its buffer waits for `keep` at the end of the wave. */
  settle?(): void
  keep(): void
  drop(): void
}

/** How one call ended. Skipped calls (`unless`) are told too, for the trace. */
export interface Settled {
  readonly entry: HookEntry
  /** What the scene opened for it; absent where it was skipped or came too late. */
  readonly unit?: Unit | undefined
  readonly value: unknown
  readonly fault?: Fault | undefined
  readonly skipped?: boolean
  /** The operator's `objection` turned this objection into Junk, or into nothing: `value` is what the plugin had said. */
  readonly overridden?: 'junk' | 'ignore' | undefined
  /** Milliseconds. */
  readonly ms: number
  /** When its wave had ended, in milliseconds since the epoch. */
  readonly at: number
}

/** Where a stage runs: whose role and facts filter the hooks, what ends them early, who is told. */
export interface Scene {
  readonly role: Role
  /** Made when asked: most hooks have no `unless`. */
  readonly facts: Facts
  /** Aborts the hooks' signals when the session or transaction ends. */
  readonly parent: Aborter
  /** Makes the handle(s) of one call. */
  open(entry: HookEntry): Unit
  /** Told of each call in config order, after its wave. */
  settled(result: Settled): void
  /** The plugin's log with the ids of this session or message; else `entry.log`. */
  log?(entry: HookEntry): Log
}

/** A stage's result: the strongest objection and whose it is, and what the hooks answered. */
export interface GateResult {
  /** The strongest objection; where a back end's own words won, their stand-in (same class, sanitised text). */
  readonly verdict?: Verdict
  /** Whose `verdict` it is, else whose `accepted`. */
  readonly by?: string
  /** `rcpt`: somebody claimed the recipient, and nobody objected. */
  readonly accepted?: true
  /** The back end's own words, where they are the objection or the acceptance. */
  readonly passedOn?: PassedOn
  readonly settled: readonly Settled[]
}

/** The first answer of `auth`, `resolve` or `queue`. */
export interface FirstResult {
  /** An answer that is no verdict. */
  readonly value?: unknown
  /** A refusal, or the stage's temporary failure where a hook failed and the operator does not ignore it. */
  readonly verdict?: Verdict
  readonly by?: string
  readonly settled: readonly Settled[]
}

/** What a run needs beside its scene. */
export interface RunOptions {
  readonly runtime: HookRuntime
  /** `end`: the taps' ends, over the `data` stage's entries. */
  readonly stage: StageName | 'end'
  /** `end`: all targets, so that `Each` answers are known to be for all or for some. */
  readonly targets?: readonly string[]
  /** By the monotonic clock: no call of this run waits longer (taps' ends, seal and queue share one). */
  readonly deadline?: number
}

/** One per process or harness: the clock that hooks see and the list of their timeouts. */
export interface HookRuntime {
  readonly clock: Clock
  readonly timers: Timers
  readonly now: () => number
}
