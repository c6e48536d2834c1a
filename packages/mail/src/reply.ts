/** A reply of ours, before it is written. `lines` carry no codes; `close` hangs up after it (421 always does). */
export interface Reply {
  readonly code: number
  readonly enhanced?: string
  readonly lines: readonly string[]
  readonly close?: boolean
}

/** A reply of a peer, kept verbatim, and where in the dialogue it came. */
export interface RemoteReply {
  readonly host: string
  readonly phase: 'connect' | 'hello' | 'mail' | 'rcpt' | 'data' | 'dot'
  readonly code: number
  readonly enhanced?: string
  readonly lines: readonly string[]
}
