import type { Mailbox, MailParams, Notify } from '@posthorn/mail'
import type { Each, Recipient, Target } from './envelope.ts'
import type { Session } from './session.ts'
import type { State } from './state.ts'
import type { Verdict } from './verdict.ts'

export type Awaitable<T> = T | Promise<T>

/**
 * Edits are recorded, never made in flight: the core checks, folds and applies them once, in plugin order, at commit;
 * the trace shows each. Any edit but `prepend` breaks the sender's DKIM signature. A hook call is one unit: its edits
 * and state writes are kept when it settles; a call that throws or times out leaves none, and its handle is dead.
 */
export interface Edits {
  /** Adds a field above the received header. Throws for a bad field name, CR, LF or NUL, or non-ASCII without SMTPUTF8. */
  prepend(header: string, value: string): void
  /** `nth` counts from the top of the header as received, from 0; `null` removes. A field that is not there is left so. */
  replace(header: string, nth: number, value: string | null): void
  /** Removes trace headers that claim to be ours. */
  strip(header: string, match: { readonly authservId: string } | { readonly contains: string }): void
  /** SRS, masquerading, milters. */
  rewriteFrom(from: Mailbox | null): void
  /** Delivery puts it in Junk. An annotation, not a verdict. */
  junk(reason: string): void
  /** Committed, but not delivered until an operator releases it. */
  hold(reason: string): void
}

/** One mail transaction, from MAIL FROM to the reply at the dot. */
export interface Transaction extends Edits {
  /** The queue id too: one id from log to queue to trace. */
  readonly id: string
  readonly session: Session
  /** `null` is the null reverse-path `<>`. */
  readonly from: Mailbox | null
  readonly params: MailParams
  readonly recipients: readonly Recipient[]
  readonly state: State<'message'>
  /** Aborts at RSET, hang-up and after the final reply. Made at first read. */
  readonly signal: AbortSignal
  /** The same edits for some targets only. Targets with equal edits share one stored head (a variant). */
  for(targets: readonly Target[]): Edits
  addRecipient(to: Mailbox, dsn?: { readonly notify?: readonly Notify[]; readonly orcpt?: string }): void
}

/** As received: until `seal`, nobody sees another plugin's edits. */
export interface Message extends Transaction {
  /** Octets as received, dots unstuffed. */
  readonly size: number
  /** Every field of that name from the top, unfolded, not decoded. */
  header(name: string): readonly string[]
  /** May be called again and again; `end` is exclusive. */
  open(range?: { readonly start: number; readonly end: number }): AsyncIterable<Uint8Array>
}

/**
 * Reads bytes as they arrive, once, from the socket. The first `write` holds the whole header. `write` is awaited: a
 * slow tap slows the client, not the heap. A chunk stays as it is and may be kept, but not changed: other
 * taps see the same.
 */
export interface Tap {
  write?(chunk: Uint8Array): Awaitable<void>
  /** At the dot. For all, or for each target: LMTP and pass-through answer each; SMTP merges (config `mixed`). */
  end(message: Message): Awaitable<Verdict | Each<Verdict> | undefined | void>
}
