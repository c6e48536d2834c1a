/** What MAIL FROM said beside the reverse-path. Absent stays absent: what was not said is not relayed. */
export interface MailParams {
  /** Octets announced by SIZE= (RFC 1870). */
  readonly size?: number
  readonly body?: '7bit' | '8bitmime' | 'binarymime'
  readonly smtputf8: boolean
  readonly requireTls: boolean
  readonly ret?: 'full' | 'hdrs'
  /** Decoded from xtext (RFC 3461 §4.4). */
  readonly envid?: string
  /** Decoded from xtext; '<>' is kept as is (RFC 4954 §5). */
  readonly auth?: string
  readonly other: Readonly<Record<string, string | true>>
}

export type Notify = 'never' | 'success' | 'failure' | 'delay'

/** What RCPT TO said beside the forward-path (RFC 3461 §4.1, §4.2). Absent NOTIFY stays absent (§5.2.1). */
export interface RcptParams {
  readonly notify?: readonly Notify[]
  /** `addr-type;decoded address`, the case of the address kept. */
  readonly orcpt?: string
  readonly other: Readonly<Record<string, string | true>>
}
