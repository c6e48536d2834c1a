// What is asked to be sent, and the MAIL and RCPT lines of it that this peer can be given.
import {
  formatAddress,
  formatMailParams,
  formatRcptParams,
  type Mailbox,
  type MailParams,
  needsSmtputf8,
  type RcptParams,
} from '@posthorn/mail'
import type { Queued } from '../../delivery.ts'
import { addressNeedsUtf8, addressUnfit, type Offers, tooManyRecipients, type Unsent } from './requirements.ts'

/** A message as the client sends it; a `Queued` is one. `open` may be called more than once. */
export interface Mail {
  readonly from: Mailbox | null
  readonly params: MailParams
  /** Octets; what `open` gives must be as many, or nothing is sent. */
  readonly size: number
  /** What is known of its octets: saves reading a large one before it is sent. */
  readonly content?: Queued['content']
  /** All of it, where it is small and sits in memory. */
  readonly pieces?: readonly Uint8Array[] | undefined
  open(): AsyncIterable<Uint8Array>
}

/** A recipient; a `DeliveryTarget` is one. */
export interface MailRecipient {
  readonly address: Mailbox
  readonly notify?: NonNullable<RcptParams['notify']>
  readonly orcpt?: string
}

export interface Envelope {
  /** MAIL, then a RCPT for each of `sent`. */
  readonly lines: readonly string[]
  /** Who goes out, by index. */
  readonly sent: readonly number[]
  readonly unsent: readonly (readonly [index: number, why: Unsent])[]
}

// Nothing of ours makes an address or parameter with these; a command line must not be broken by one all the same.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not go out
const unwritable = /[\u0000-\u001f\u007f]/

/** `eightBit`: the content is known to be, so it is declared. */
export function envelope(
  peer: Offers & { readonly recipientMax: number },
  { from, params, size }: Mail,
  to: readonly MailRecipient[],
  eightBit: boolean,
): Envelope {
  const { keywords, recipientMax } = peer
  const offered = keywords.has('SMTPUTF8')
  const smtputf8 = offered && (params.smtputf8 || needsUtf8(from) || to.some(({ address }) => needsUtf8(address)))
  const utf8 = { utf8: smtputf8 }
  const said: MailParams = eightBit ? { ...params, size, smtputf8, body: '8bitmime' } : { ...params, size, smtputf8 }
  const path = from === null ? '' : formatAddress(from, utf8)
  const mail = `MAIL FROM:<${path}>${formatMailParams(said, keywords)}`
  if (unwritable.test(mail)) return { lines: [], sent: [], unsent: to.map((_, i) => [i, addressUnfit] as const) }
  const lines = [mail]
  const sent: number[] = []
  const unsent: [number, Unsent][] = []
  for (let i = 0; i < to.length; i++) {
    const recipient = to[i] as MailRecipient
    if (sent.length === recipientMax) {
      unsent.push([i, tooManyRecipients])
      continue
    }
    if (!offered && needsUtf8(recipient.address)) {
      unsent.push([i, addressNeedsUtf8])
      continue
    }
    const line = `RCPT TO:<${formatAddress(recipient.address, utf8)}>${formatRcptParams(recipient, keywords, { smtputf8 })}`
    if (unwritable.test(line)) {
      unsent.push([i, addressUnfit])
      continue
    }
    sent.push(i)
    lines.push(line)
  }
  return { lines, sent, unsent }
}

function needsUtf8(address: Mailbox | null): boolean {
  return address !== null && needsSmtputf8(address)
}
