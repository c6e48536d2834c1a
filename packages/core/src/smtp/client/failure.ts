// What can go wrong with a connection, as a value: how, where in the dialogue, in whose words, and whether the peer may
// have taken the message all the same.
import type { RemoteReply } from '@posthorn/mail'

export type Phase = RemoteReply['phase']

/**
 * `unreachable`: no connection. `refused`: the peer's own reply, in `reply`. `cut`: the connection ended. `garbage`:
 * what came is not SMTP, or not in its place. `tls`, `auth`: what the hop asks for cannot be had. `aborted`: we were
 * told to stop. `closed`: the pool is.
 */
export type FailureKind =
  | 'unreachable'
  | 'refused'
  | 'timeout'
  | 'cut'
  | 'garbage'
  | 'tls'
  | 'auth'
  | 'aborted'
  | 'closed'

// RFC 3463 §3.5, §3.8. What is wrong with a connection is never the message's fault: all are temporary.
const enhancedOf: Readonly<Record<FailureKind, string>> = {
  unreachable: '4.4.1',
  refused: '4.4.0',
  timeout: '4.4.2',
  cut: '4.4.2',
  garbage: '4.5.0',
  tls: '4.7.5',
  auth: '4.7.8',
  aborted: '4.3.2',
  closed: '4.3.2',
}

/** Why a connection, or the transaction on it, came to nothing. The connection is gone. */
export class SmtpFailure extends Error {
  readonly kind: FailureKind
  readonly phase: Phase
  /** The peer, as the hop names it. */
  readonly host: string
  /** The reply that did it, or that the peer said last before it cut the connection (421). */
  readonly reply?: RemoteReply
  /** The final dot was out, and no reply to it came: whether the peer has the message is not known. */
  readonly unknown: boolean
  /** RFC 3463 code of class 4, where no reply says better. */
  readonly enhanced: string

  constructor(
    kind: FailureKind,
    phase: Phase,
    host: string,
    message: string,
    extra: { reply?: RemoteReply | undefined; unknown?: boolean; enhanced?: string; cause?: unknown } = {},
  ) {
    super(message, extra.cause === undefined ? undefined : { cause: extra.cause })
    this.name = 'SmtpFailure'
    this.kind = kind
    this.phase = phase
    this.host = host
    if (extra.reply !== undefined) this.reply = extra.reply
    this.unknown = extra.unknown ?? false
    this.enhanced = extra.enhanced ?? enhancedOf[kind]
  }
}

/** Milliseconds to wait at each step (RFC 5321 §4.5.3.2, but `connect` and `quit`, of which it says nothing). */
export interface Timeouts {
  readonly connect: number
  readonly greeting: number
  /** EHLO, STARTTLS, AUTH, XCLIENT, each. */
  readonly hello: number
  readonly mail: number
  readonly rcpt: number
  readonly data: number
  /** For each piece of the body to leave. */
  readonly block: number
  readonly dot: number
  readonly quit: number
}

export const defaultTimeouts: Timeouts = {
  connect: 30_000,
  greeting: 300_000,
  hello: 300_000,
  mail: 300_000,
  rcpt: 300_000,
  data: 120_000,
  block: 180_000,
  dot: 600_000,
  quit: 5_000,
}
