import type { Mailbox } from '@posthorn/mail'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Credentials } from './credentials.ts'
import type { DeliveryAgent, DeliveryTarget, Outcome, Queued } from './delivery.ts'
import type { Each, Recipient } from './envelope.ts'
import type { Json } from './json.ts'
import type { Log } from './log.ts'
import type { Role, Session } from './session.ts'
import type { StateKey } from './state.ts'
import type { Token } from './token.ts'
import type { Awaitable, Tap, Transaction } from './transaction.ts'
import type { Defer, PassedOn, Reject, Verdict } from './verdict.ts'

/** `undefined` means no objection; no value of a gate can silence another plugin. */
export type Gate<V extends Verdict = Verdict> = Awaitable<V | undefined | void>

/** What each hook call gets last. */
export interface Call {
  /** Aborts on timeout and when the client has gone. Made at first read, so hooks without I/O cost nothing. */
  readonly signal: AbortSignal
  readonly log: Log
  /** A plugin's only clock: milliseconds since the epoch. */
  now(): number
}

/** The hook table: one line per stage; its kind is its return type. */
export interface Hooks {
  connect: (session: Session, call: Call) => Gate<Defer | Reject>
  helo: (session: Session, name: string, call: Call) => Gate<Defer | Reject>
  /** First answer wins; no answer is 535 5.7.8. */
  auth: (
    session: Session,
    credentials: Credentials,
    call: Call,
  ) => Awaitable<{ readonly user: string; readonly scopes?: readonly string[] } | Defer | Reject | undefined | void>
  mail: (tx: Transaction, from: Mailbox | null, call: Call) => Gate
  /** Before the gates see a recipient: aliases, plus-addresses, SRS, BATV. Applied again to its own results, bounded, loop-free. */
  resolve: (
    tx: Transaction,
    to: Mailbox,
    call: Call,
  ) => Awaitable<
    { readonly to: readonly Mailbox[]; readonly list?: { readonly from: Mailbox } } | Defer | Reject | undefined | void
  >
  /** `'accept'` claims responsibility for the recipient; it can still be outvoted. */
  rcpt: (tx: Transaction, to: Recipient, call: Call) => Awaitable<Verdict | PassedOn | 'accept' | undefined | void>
  /** Before 354, hence before the data; a tap's `end` is after it. */
  data: (tx: Transaction, call: Call) => Awaitable<Verdict | Tap | undefined | void>
  /** After all edits, once per variant, one plugin after another in config order; may only prepend: Authentication-Results, ARC, DKIM. */
  seal: (
    final: Queued,
    to: readonly DeliveryTarget[],
    call: Call,
  ) => Awaitable<readonly (readonly [header: string, value: string])[] | undefined | void>
  /** Custody other than the durable queue: pass-through, journals, refusal. */
  queue: (
    message: Queued,
    to: readonly DeliveryTarget[],
    call: Call,
  ) => Awaitable<Verdict | PassedOn | Each<Verdict | PassedOn> | undefined | void>
  // Observers: a fault in one is logged and changes nothing.
  answered: (tx: Transaction, reply: { readonly code: number; readonly by?: string }) => Awaitable<void>
  outcome: (message: Queued, to: DeliveryTarget, outcome: Outcome) => Awaitable<void>
  closed: (session: Session) => Awaitable<void>
  /** After setup of every plugin, before anything listens. */
  ready: (call: Call) => Awaitable<void>
  /** Listeners are shut, sessions are still finishing. */
  drain: (call: Call) => Awaitable<void>
}

export type StageName = keyof Hooks

/** A hook with its place in the order and its conditions. */
export interface HookSpec<H> {
  readonly handler: H
  /** Order comes from data first: a hook runs after every hook that writes a state key it reads. Undeclared access throws. */
  readonly reads?: readonly StateKey<any, any>[]
  readonly writes?: readonly StateKey<any, any>[]
  /** Else by name. Absent names are ignored and shown by `check`; a cycle stops the boot. */
  readonly before?: readonly string[]
  readonly after?: readonly string[]
  /** Has a side effect worth avoiding (counts, greylists, dials): runs last, and only if nobody objected. */
  readonly effect?: true
  /** Listener roles; default all but `internal`. */
  readonly on?: readonly Role[]
  /** Milliseconds; else the stage's default. */
  readonly timeout?: number
}

export type HookTable = { readonly [K in keyof Hooks]?: Hooks[K] | HookSpec<Hooks[K]> } & {
  readonly deliver?: DeliveryAgent
}

/** What `setup` gets. */
export interface Setup<I> {
  readonly services: { readonly [K in keyof I]: I[K] extends Token<infer T> ? T : never }
  /** The name in logs, order and state: `as`, or the plugin's own. */
  readonly name: string
  readonly log: Log
  /** Aborts when this configuration generation is retired, its last session and its last `send` have ended. */
  readonly signal: AbortSignal
  provide<T>(token: Token<T>, value: T): void
  /** Counted, survives reload (stores, listeners, pools). Another `config` under a held key is a failed reload that says "restart". */
  shared<T>(key: string, config: Json, open: () => Awaitable<T>, close: (value: T) => Awaitable<void>): Promise<T>
  /** Last in, first out; also run when setup throws half-way. */
  onDispose(fn: () => Awaitable<void>): void
}

export interface Plugin<I = {}, S extends StandardSchemaV1 = StandardSchemaV1> {
  readonly name: string
  readonly schema: S
  readonly inject?: I
  readonly provides?: readonly Token<any>[]
  setup(ctx: Setup<I>, options: StandardSchemaV1.InferOutput<S>): HookTable | Promise<HookTable>
}

/** Any plugin, its types forgotten: what the loader and the runner handle. */
export type AnyPlugin = Plugin<any, any>

/**
 * Defines a plugin: a value, with its options' schema and a `setup` that returns its hooks. A mistyped hook does not
 * compile: "not assignable to 'no such hook: rctp'". Boot refuses it too.
 */
export function definePlugin<
  S extends StandardSchemaV1,
  const I extends Record<string, Token<any>> = {},
  const K extends string = never,
>(
  plugin: Omit<Plugin<I, S>, 'setup'> & {
    setup(
      ctx: Setup<I>,
      options: StandardSchemaV1.InferOutput<S>,
    ): Awaitable<HookTable & { readonly [P in K]: P extends keyof HookTable ? unknown : `no such hook: ${P}` }>
  },
): Plugin<I, S> {
  return plugin as Plugin<I, S>
}
