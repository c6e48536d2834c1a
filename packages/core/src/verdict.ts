import type { RemoteReply } from '@posthorn/mail'
import { invalidVerdict } from './errors.ts'

export type DeferCode = 421 | 450 | 451 | 452 | 454 | 455
export type RejectCode = 521 | 530 | 535 | 550 | 551 | 552 | 553 | 554 | 556
export type Enhanced<C extends 2 | 4 | 5> = `${C}.${number}.${number}`

interface Refusal<K, N, C extends 2 | 4 | 5> {
  readonly kind: K
  readonly code: N
  readonly enhanced: Enhanced<C>
  /** To the client: generic, names no configuration. */
  readonly text: string
  /** To the log and the decision trace, never to the client. */
  readonly reason?: string
  readonly cause?: unknown
  /** Hang up after replying; 421 always does. */
  readonly close?: boolean
}
export type Defer = Refusal<'defer', DeferCode, 4>
export type Reject = Refusal<'reject', RejectCode, 5>
/** 250 to the client, then dropped (in `rcpt`: that recipient only); the trace keeps the reason. */
export interface Discard {
  readonly kind: 'discard'
  readonly reason: string
}
/** reject > defer > discard; equal strength: config order. */
export type Verdict = Defer | Reject | Discard
/** The back end's own words, for pass-through and call-outs; the core sanitises them and keeps the class. */
export interface PassedOn {
  readonly kind: 'passed-on'
  readonly reply: RemoteReply
  /** Of the message itself: the back end took NOTIFY over (RFC 3461 §5.2.1), or we report where it said yes. */
  readonly noReport?: true
  /** Of the message itself: the back end is where it stays (LMTP), so it is delivered, not relayed. */
  readonly final?: true
}
export type Extra = Pick<Reject, 'reason' | 'cause' | 'close'>

// RFC 3463 §2: class "." subject "." detail, up to three digits each.
const enhancedForm = /^[245]\.\d{1,3}\.\d{1,3}$/
// RFC 5321 §4.2: textstring = 1*(%d09 / %d32-126); UTF-8 is let through for SMTPUTF8 sessions (RFC 6531 §3.7.4.2).
const oneLine = /^[^\p{Cc}]+$/u

/**
 * A temporary refusal: the client keeps the message and tries again.
 * Throws POSTHORN_VERDICT_INVALID for a malformed enhanced code or a text of more than one line.
 */
export function defer(code: DeferCode, enhanced: Enhanced<4>, text: string, extra?: Extra): Defer {
  if (!enhancedForm.test(enhanced) || !oneLine.test(text)) throw invalidVerdict(code, enhanced, text)
  return { kind: 'defer', code, enhanced, text, ...extra }
}

/** A permanent refusal. Throws as {@link defer} does. */
export function reject(code: RejectCode, enhanced: Enhanced<5>, text: string, extra?: Extra): Reject {
  if (!enhancedForm.test(enhanced) || !oneLine.test(text)) throw invalidVerdict(code, enhanced, text)
  return { kind: 'reject', code, enhanced, text, ...extra }
}

/** Says yes and drops: the client gets 250, the trace keeps `reason`. */
export function discard(reason: string): Discard {
  return { kind: 'discard', reason }
}
