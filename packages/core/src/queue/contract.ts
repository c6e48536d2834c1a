import type { Mailbox, MailParams } from '@posthorn/mail'
import type { DeliveryTarget, Outcome, Queued } from '../delivery.ts'
import type { Json } from '../json.ts'
import type { Origin } from '../session.ts'
import type { Op } from '../storage/contract.ts'
import type { Defer, Reject } from '../verdict.ts'

/** The received octets, on their way into the store: inline with the batch, or already durable as a blob. */
export interface StagedBody {
  readonly ref: string
  /** To be written in the batch that takes ownership. */
  readonly ops: readonly Op[]
  readonly size: number
  /** Octets of the header as received, its empty line included. */
  readonly headerSize: number
  /** {@link Queued.content}, as received. */
  readonly content?: '7bit' | '8bit'
  /** The header's octets, so that nobody reads them back. */
  readonly header: Uint8Array
  /** The whole body where it is small enough to sit in memory. */
  readonly bytes?: Uint8Array
}

export type Ended = Defer | Reject | Extract<Outcome, { readonly kind: 'delivered' | 'relayed' | 'expanded' }>

export interface AcceptedTarget {
  readonly id: string
  readonly address: Mailbox
  /** The recipient as the client named it, where `resolve` made something else of it; of a list the member. */
  readonly original?: Mailbox
  readonly notify?: DeliveryTarget['notify']
  readonly orcpt?: string
  readonly state: Readonly<Record<string, Json>>
  /**
   * How it ended before the commit: refused at the dot while its fellows were accepted (`mixed: bounce`), taken by a
   * system that makes no reports, expanded. Nothing is delivered; what the sender is to hear of it is committed.
   */
  readonly ended?: Ended
}

/** Targets with equal edits: one reverse-path, one head. */
export interface AcceptedVariant {
  readonly from: Mailbox | null
  /** What we write before the received header: trace fields, edits, seals. Ends in CRLF, or is empty. */
  readonly head: Uint8Array
  /** Ranges of the received header that were removed, [start, end), ascending. */
  readonly skip: readonly (readonly [number, number])[]
  readonly junk?: string
  readonly hold?: string
  readonly targets: readonly AcceptedTarget[]
}

/** A message that passed every gate: what one commit makes durable. */
export interface Accepted {
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly received: number
  readonly params: MailParams
  readonly origin: Origin
  readonly state: Readonly<Record<string, Json>>
  readonly variants: readonly AcceptedVariant[]
  readonly body: StagedBody
  /** The id of the message that caused this one: a report, a forward. */
  readonly cause?: string
}

/** What the pipeline needs of the queue. */
export interface QueueIntake {
  /** Resolves when the message is durable, and has then been handed to the scheduler. Rejects with StorageError. `with`: further ops of the same batch. */
  commit(message: Accepted, options?: { readonly with?: readonly Op[] }): Promise<void>
  /** Whether a message of this id was ever committed and is still known: makes submissions idempotent. */
  knows(id: string): Promise<boolean>
}

/** One line of a decision trace, JSON. */
export interface TraceEntry {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly stage: string
  readonly plugin?: string
  /** `accept`, `reject 550 5.7.1`, `-` for no objection, `skipped`, `timeout` … */
  readonly verdict: string
  readonly reason?: string
  readonly ms?: number
  readonly recipient?: string
  /** Of a delivery: the lane, as the route chose it, and the hop. */
  readonly lane?: string
  readonly via?: string
  /** What it came to for the recipient: a deferral may be the last one. */
  readonly fate?: 'delivered' | 'deferred' | 'failed' | 'held' | 'dropped'
  /** The next hop may have the message all the same: the connection ended behind the final dot. */
  readonly unknown?: true
  readonly edits?: readonly string[]
  /** Equal entries of many recipients, folded. */
  readonly count?: number
}

/** Where decision traces go: kept apart from the queue, relaxed, bounded by age and size, refusals included. */
export interface TraceSink {
  append(id: string, entries: readonly TraceEntry[]): void
}
