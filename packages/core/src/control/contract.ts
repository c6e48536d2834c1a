import type { TraceEntry } from '../queue/contract.ts'

/** What the commands and the running server say to each other: results are JSON, times are milliseconds since the epoch. */

/** `status` */
export interface Status {
  readonly version: string
  readonly pid: number
  readonly node: string
  readonly hostname: string
  readonly started: number
  /** The configuration file; absent where it was made by the program. */
  readonly file?: string
  readonly data: string
  /** Counts from 1; each successful reload makes the next. */
  readonly generation: number
  readonly reloaded?: number
  readonly listeners: readonly {
    readonly name: string
    readonly role: string
    /** As bound: `127.0.0.1:2525`. */
    readonly addresses: readonly string[]
    readonly tls: 'none' | 'starttls' | 'implicit'
    readonly connections: number
  }[]
  readonly plugins: readonly { readonly name: string; readonly use: string; readonly from: string }[]
  readonly queue: QueueTotals
  /** Since the start. */
  readonly counts: Readonly<Record<string, number>>
  /** Octets. */
  readonly memory: { readonly rss: number; readonly heap: number }
  /** What an operator should look at: `3 recipients wait without a route`. */
  readonly alarms: readonly string[]
}

export interface QueueTotals {
  readonly messages: number
  /** Recipients by what they wait for. */
  readonly recipients: {
    readonly due: number
    readonly deferred: number
    readonly held: number
    readonly unrouted: number
  }
  /** When the oldest was received. */
  readonly oldest?: number
}

/** Parameters of `queue.list`. */
export interface QueueFilter {
  readonly lane?: string
  readonly state?: 'due' | 'sending' | 'deferred' | 'held'
  readonly sender?: string
  readonly recipient?: string
  /** Received at least this many milliseconds ago. */
  readonly olderThan?: number
  readonly limit?: number
}

/** `queue.list` */
export interface QueueListing {
  readonly messages: readonly QueueLine[]
  readonly totals: QueueTotals
  /** There is more than was asked for. */
  readonly more: boolean
}

export interface QueueLine {
  readonly id: string
  readonly received: number
  readonly size: number
  /** `''`: the null reverse-path. */
  readonly from: string
  readonly recipients: number
  readonly lane: string
  readonly state: 'due' | 'sending' | 'deferred' | 'held'
  readonly next?: number
  /** The last reply or reason. */
  readonly reason?: string
}

/** An event of `queue.apply` to all that match, once a second. */
export interface QueueProgress {
  /** Recipients that it was done to. */
  readonly recipients: number
  /** Recipients that were looked at. */
  readonly seen: number
  /** How many there were to look at when it began; absent while the queue is still being counted after a boot. */
  readonly of?: number
}

/** `queue.show { id }` */
export interface QueueMessage {
  readonly id: string
  readonly received: number
  readonly size: number
  readonly from: string
  readonly client?: string
  readonly user?: string
  readonly envid?: string
  readonly junk?: string
  readonly hold?: string
  /** The id of the message that caused this one. */
  readonly cause?: string
  /** The header as it will be sent. */
  readonly header?: string
  readonly recipients: readonly QueueRecipient[]
}

export interface QueueRecipient {
  readonly address: string
  readonly original?: string
  readonly lane: string
  readonly state: 'due' | 'sending' | 'deferred' | 'held' | 'done'
  readonly next?: number
  readonly expires?: number
  readonly attempts: readonly {
    readonly at: number
    readonly result: string
    readonly remote?: string
    readonly ms?: number
  }[]
}

/** `explain { id }`: the decision trace of one message, session or refused transaction. */
export interface Trace {
  readonly id: string
  readonly entries: readonly TraceLine[]
  /** Some were dropped: the trace reached its limit. */
  readonly truncated?: boolean
}

export type TraceLine = TraceEntry

/** An event of `follow { id }`: it ends, with a result of this kind, when nothing of the message is under way any more. */
export type FollowEvent = TraceLine
export interface FollowEnd {
  readonly id: string
  /** `gone`: delivered, bounced or dropped, as the events say; `held`, `deferred`: still here. `unknown`: no such message. */
  readonly state: 'gone' | 'held' | 'deferred' | 'unknown'
}

/** `dns.resolve { name, type }`: what the server's own resolver says; records as in a zone file. */
export interface DnsFound {
  readonly status: 'ok' | 'nodata' | 'nxdomain'
  readonly records: readonly string[]
  readonly name: string
  readonly secure: boolean
  readonly ttl: number
}

/** `reload` */
export interface Reloaded {
  readonly generation: number
  readonly warnings: readonly string[]
}

/** One line from a client. */
export interface ControlRequest {
  readonly id: number
  readonly method: string
  readonly params: unknown
}

export interface ControlFault {
  readonly code: string
  readonly message: string
  readonly fix?: string
  readonly at?: string
  /** All that is wrong, where there are several things. */
  readonly errors?: readonly ControlFault[]
}

/** One line from the server: events of a call come before its one result or error. */
export type ControlReply =
  | { readonly id: number; readonly event: unknown }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number | null; readonly error: ControlFault }
