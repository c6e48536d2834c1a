import type { Mailbox, MailParams, RcptParams, Reply } from '@posthorn/mail'
import type { Credentials } from '../credentials.ts'
import type { Origin, Session } from '../session.ts'
import type { Awaitable } from '../transaction.ts'

/** A connection as its listener knows it, before anybody spoke. `auth`: a trusted proxy vouches for the user (XCLIENT LOGIN). */
export type Arrival = Omit<Origin, 'id' | 'helo'> & { pendingInput(): boolean }

/** The door of the pipeline: what every listener calls. A session stays on the generation that it began with. */
export interface Pipeline {
  open(arrival: Arrival): PipelineSession
}

/**
 * One session's way through the stages. The caller keeps the protocol's order (RFC 5321 §4.1.4), one call at a time;
 * this side knows hooks, verdicts and the message. Replies carry our enhanced codes. Where every hook is synchronous
 * the answers come synchronously.
 */
export interface PipelineSession {
  readonly session: Session
  /** The generation was replaced and its time is up: say 421 4.3.2 between commands. */
  readonly retired: boolean
  /** `undefined`: greet. */
  connect(): Awaitable<Reply | undefined>
  /** `undefined`: accepted, the front writes its own list of extensions. */
  helo(verb: 'HELO' | 'EHLO' | 'LHLO', name: string): Awaitable<Reply | undefined>
  /** STARTTLS is done: forgets helo and its state (RFC 3207 §4.2). */
  secured(tls: NonNullable<Origin['tls']>): void
  /** `{ user }`, or the reply that refuses. */
  auth(credentials: Credentials): Awaitable<{ readonly user: string } | Reply>
  /** Begins a transaction where it answers 250. */
  mail(from: Mailbox | null, params: MailParams): Awaitable<Reply>
  rcpt(to: Mailbox, params: RcptParams): Awaitable<Reply>
  /** The body may come (354 for DATA, nothing for BDAT), or the reply that refuses it. */
  data(how: 'data' | 'bdat'): Awaitable<BodySink | Reply>
  /** RSET, EHLO, AUTH in mid-session: the transaction, if any, is over. */
  reset(): void
  /** Hang-up: everything is over; observers are told. */
  close(): void
}

/** Takes the body's octets, unstuffed, as they come; at most one call at a time. */
export interface BodySink {
  /** The chunk is lent for this call. Resolving late is the backpressure. Never rejects: faults show at `end`. */
  write(chunk: Uint8Array): Awaitable<void>
  /** The reply at the dot: one, or in LMTP one for each accepted RCPT in order. Never rejects. */
  end(): Awaitable<Reply | readonly Reply[]>
  /** The front found the body bad (bare CR or LF, too large, cut off): nothing is kept, the transaction is over. */
  abort(reply: Reply | undefined): void
}
