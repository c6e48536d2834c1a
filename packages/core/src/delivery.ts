import type { Mailbox, MailParams, RemoteReply } from '@posthorn/mail'
import type { Id, Target } from './envelope.ts'
import type { Json } from './json.ts'
import type { Call } from './plugin.ts'
import type { Origin } from './session.ts'
import type { StateKey } from './state.ts'
import type { Awaitable } from './transaction.ts'
import type { Defer, Discard, Reject } from './verdict.ts'

/** One variant of a committed message. No session, no edits: what is here survives a restart. */
export interface Queued {
  readonly id: string
  readonly from: Mailbox | null
  readonly params: MailParams
  readonly origin: Origin
  /** Octets of this variant, head included. */
  readonly size: number
  /**
   * Whether there are octets above 127, where it was looked at and the rest is as it should be: lines that end in CRLF,
   * no CR or LF besides, no NUL (RFC 2045 §2.7, §2.8; lines may be longer than those say).
   */
  readonly content?: '7bit' | '8bit' | undefined
  /** Milliseconds since the epoch, when the final dot was answered. */
  readonly received: number
  /** Reason to put it in Junk, if a plugin gave one. */
  readonly junk?: string | undefined
  get<T>(key: StateKey<'message', T>): T | undefined
  header(name: string): readonly string[]
  /** All of it, where it is small and sits in memory anyway: saves opening it. */
  readonly pieces?: readonly Uint8Array[] | undefined
  open(range?: { readonly start: number; readonly end: number }): AsyncIterable<Uint8Array>
}

/** `lane`: what shares a destination, named by the agent; the core prefixes `<plugin>/`. `data`: what `send` needs, stored. */
export interface Route {
  readonly lane: string
  readonly data: Json
}

/** `retry` and `expire` in milliseconds; the last `retry` step repeats until `expire` after arrival. */
export interface LaneLimits {
  readonly concurrency?: number
  readonly perMinute?: number
  readonly maxRecipients?: number
  readonly retry?: readonly number[]
  readonly expire?: number
}

/** A target of a queued message, with what delivery needs to know of how it was addressed. */
export interface DeliveryTarget extends Target {
  /** The recipient as the client named it, where `resolve` made something else of it: an alias, a forward; of a list the member. */
  readonly original?: Mailbox
  /** Absent stays absent (RFC 3461 §5.2.1). */
  readonly notify?: readonly ('never' | 'success' | 'failure' | 'delay')[]
  readonly orcpt?: string
}

export type Outcome =
  | {
      readonly kind: 'delivered' | 'relayed' | 'expanded'
      readonly by: string
      readonly remote?: RemoteReply
      /** The peer offered DSN and took NOTIFY over: it reports, we do not (RFC 3461 §5.2.1). */
      readonly noReport?: true
      readonly via?: string
    }
  /** Done with by a rule, which `reason` tells: dropped, nobody is told; or held until a person releases it. */
  | ((Discard | Hold) & { readonly remote?: never; readonly via?: never })
  /** `scope` tells the scheduler what failed: this recipient, this message, or the whole lane (then it backs off). */
  | ((Defer | Reject) & {
      readonly scope: 'recipient' | 'message' | 'lane'
      /** Milliseconds; 0: the rest at once (RFC 5321 §4.5.3.1.10). */
      readonly retryAfter?: number
      readonly remote?: RemoteReply
      /** Text of the report's human part, for rejections that explain themselves. */
      readonly dsnText?: string
      readonly noReport?: true
      /** The peer may have the message all the same: it may arrive twice. */
      readonly unknown?: true
      /** The hop that it is about, for log and trace: `mx1.example.org[192.0.2.1]:25`. */
      readonly via?: string
    })

/** Not to be delivered until an operator says so. Released while the rule stands, it is held again. */
export interface Hold {
  readonly kind: 'hold'
  readonly reason: string
}

export interface DeliveryAgent {
  /** Keeps what REQUIRETLS asks for (RFC 8689): listeners offer it where an agent does. */
  readonly requireTls?: true
  /** First answer wins, in plugin order; asked again whenever the target falls due. No I/O that can hang: resolve MX in `send`. */
  route(to: DeliveryTarget, message: Queued, call: Call): Awaitable<Route | Defer | Reject | Discard | Hold | undefined>
  limits?(lane: string): Awaitable<LaneLimits>
  /** One message variant to targets of one lane. Report each as soon as it is known; what is unreported at the end is deferred. */
  send(
    message: Queued,
    to: readonly DeliveryTarget[],
    route: Route,
    call: Call & {
      report(id: Id, outcome: Outcome): void
      /**
       * Calls `fn` when `signal` aborts, at once if it has; the returned function takes it back. Makes no signal, so it
       * costs next to nothing.
       */
      onAbort(fn: (reason: unknown) => void): () => void
      /** Waits for a slot that lanes share, `mx:google.com` say; dispose to give it back. */
      throttle(key: string): Promise<Disposable>
    },
  ): Promise<void>
}
