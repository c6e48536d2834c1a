import type { Mailbox, RcptParams } from '@posthorn/mail'
import type { Op } from '../storage/contract.ts'
import { token } from '../token.ts'

/**
 * How anything but SMTP enters: webmail, JMAP, Sieve, bounces, reports. Runs the same stages with only the hooks that
 * say `on: ['internal']`; recipients are accepted by default; an objection holds the message and never makes a bounce.
 */
export interface Submission {
  /** Idempotent by `id`. `with` commits other writes of the caller in the same batch (a report and the recipients it clears). */
  submit(
    draft: {
      readonly id: string
      readonly cause?: string
      readonly from: Mailbox | null
      readonly to: readonly Mailbox[]
      readonly smtputf8?: boolean
      /** The body has octets over 127: BODY=8BITMIME (RFC 6152). */
      readonly eightBit?: boolean
      /** For all recipients; a report asks for none (RFC 3461 §6.2). */
      readonly dsn?: RcptParams
      readonly body: AsyncIterable<Uint8Array>
    },
    options?: { readonly with?: readonly Op[] },
  ): Promise<'queued' | 'held' | 'exists'>
}

export const Submission = token<Submission>('core/submission')
