/**
 * An address of an envelope, taken apart once, where it came in.
 *
 * `local` is the local part without quotes or backslashes. `domain` is in A-label form, lower case, to compare and
 * route by; '' for the bare `<Postmaster>` (RFC 5321 §4.1.1.3), `[…]` for an address literal. `raw` is the text
 * between the angle brackets as it was received.
 */
export interface Mailbox {
  readonly local: string
  readonly domain: string
  readonly raw: string
}
