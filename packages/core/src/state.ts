import type { Json } from './json.ts'
import type { Name } from './token.ts'

export type Scope = 'local' | 'session' | 'message' | 'recipient'

/** Names one annotation and carries its type and lifetime. Other plugins read it through the exported key. */
export interface StateKey<S extends Scope, T> {
  readonly scope: S
  readonly name: Name
  readonly _t?: (value: T) => T
}

export interface State<S extends Scope> {
  get<T>(key: StateKey<S, T>): T | undefined
  set<T>(key: StateKey<S, T>, value: T): void
}

/** Lives as long as the session; JSON. */
export function sessionState<T extends Json>(name: Name): StateKey<'session', T> {
  return { scope: 'session', name }
}
/** Any value, this instance only, never leaves its thread, dropped at `closed`: sockets of milters and call-outs. */
export function localState<T>(name: Name): StateKey<'local', T> {
  return { scope: 'local', name }
}
/** Stored with the queue record and read back by `seal` and delivery, so JSON, on the fast path too; at most 16 KiB per message in all. */
export function messageState<T extends Json>(name: Name): StateKey<'message', T> {
  return { scope: 'message', name }
}
/** As {@link messageState}, for one target. */
export function recipientState<T extends Json>(name: Name): StateKey<'recipient', T> {
  return { scope: 'recipient', name }
}
