// What a message asks of a peer, against what the peer offers. Nothing is converted: who lacks what it needs gets a
// refusal, here, before a command is spent on it.
import { type Mailbox, type MailParams, needsSmtputf8 } from '@posthorn/mail'
import type { Content } from './body.ts'
import type { Mail } from './envelope.ts'

/** A refusal of ours, in the words of RFC 3463. `code` of class 4 is worth another try. */
export interface Unsent {
  readonly kind: 'unsent'
  readonly code: 451 | 452 | 550 | 552 | 553 | 554
  readonly enhanced: string
  readonly text: string
}

/** The peer, as far as it matters. */
export interface Offers {
  readonly keywords: ReadonlySet<string>
  readonly offers: ReadonlyMap<string, string>
  readonly secured: { readonly verified: boolean } | undefined
}

const unsent = (code: Unsent['code'], enhanced: string, text: string): Unsent => ({
  kind: 'unsent',
  code,
  enhanced,
  text,
})

/** What makes the message as a whole impossible, before its content is looked at. */
export function lacking(peer: Offers, params: MailParams, from: Mailbox | null, size: number): Unsent | undefined {
  const { keywords } = peer
  // RFC 8689 §4.2.1: over TLS with a verified certificate, to a server that passes the demand on; else the message returns.
  // A report goes as it can (§5): it carries no more than its sender has to know.
  if (params.requireTls && from !== null && !(peer.secured?.verified && keywords.has('REQUIRETLS'))) {
    return unsent(550, '5.7.30', 'REQUIRETLS is asked for, and the next hop cannot promise it')
  }
  // RFC 1870 §6.1: a server's limit of 0 is none.
  const limit = Number(peer.offers.get('SIZE'))
  if (limit > 0 && size > limit) {
    return unsent(552, '5.3.4', `Message of ${size} octets; the next hop takes ${limit}`)
  }
  if (params.body === 'binarymime' && !(keywords.has('BINARYMIME') && keywords.has('CHUNKING'))) {
    return unsent(554, '5.6.3', 'The message is binary, and the next hop does not take BINARYMIME')
  }
  if (from !== null && !keywords.has('SMTPUTF8') && needsSmtputf8(from)) return addressNeedsUtf8
  return undefined
}

/** RFC 6531 §3.5. */
export const addressNeedsUtf8: Unsent = unsent(553, '5.6.7', 'The address needs SMTPUTF8, which the next hop lacks')

/** A path that would break out of its command line; nothing of ours makes one. */
export const addressUnfit: Unsent = unsent(553, '5.1.3', 'The address cannot be written in a command')

/** Whether a message must be read before it is begun. */
export function mustLook(peer: Offers, { params, content }: Mail): boolean {
  if (params.body === 'binarymime' || content === '7bit') return false
  return !peer.keywords.has('8BITMIME') || (params.smtputf8 && !peer.keywords.has('SMTPUTF8'))
}

/** What the content makes impossible. */
export function unfit(peer: Offers, params: MailParams, content: Content): Unsent | undefined {
  if (params.body === 'binarymime') return undefined
  if (!content.clean) return bareLineEnds
  if (params.smtputf8 && content.eightBitHeader && !peer.keywords.has('SMTPUTF8')) {
    return unsent(554, '5.6.9', 'The header needs SMTPUTF8, which the next hop lacks')
  }
  // RFC 6152 §3: without 8BITMIME it would have to be converted, which breaks signatures.
  if (content.eightBit && !peer.keywords.has('8BITMIME')) {
    return unsent(554, '5.6.3', 'The message has 8-bit content, and the next hop does not take 8BITMIME')
  }
  return undefined
}

export const bareLineEnds: Unsent = unsent(554, '5.6.3', 'The message has bare CR or LF or NUL, and is not BINARYMIME')

export const unreadable: Unsent = unsent(451, '4.3.0', 'The stored message could not be read')

/** RFC 9422: the peer said how many recipients it takes; the rest may follow at once. */
export const tooManyRecipients: Unsent = unsent(452, '4.5.3', 'More recipients than the next hop takes at once')
