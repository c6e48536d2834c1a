import type { Mailbox, Notify } from '@posthorn/mail'
import type { State } from './state.ts'

/** Names a recipient or target inside one message; survives restarts. */
export type Id = string & { readonly _id: never }

/** An answer for each recipient or target. Plain data: it crosses worker threads and restarts. */
export type Each<V> = ReadonlyMap<Id, V>

/** A recipient as the client named it, and what `resolve` made of it (itself, where nobody resolved it). */
export interface Recipient {
  readonly id: Id
  readonly address: Mailbox
  readonly targets: readonly Target[]
  /** Absent stays absent (RFC 3461 §5.2.1). */
  readonly notify?: readonly Notify[]
  readonly orcpt?: string
}

/** Where a copy will go. Gates, filters and mailboxes look at targets. */
export interface Target {
  readonly id: Id
  readonly address: Mailbox
  readonly state: State<'recipient'>
}
