import type { State } from './state.ts'

export type Role = 'mx' | 'submission' | 'lmtp' | 'access' | 'internal'

/** A client certificate. `authorized`: it verified against the listener's client CA. */
export interface Peer {
  readonly authorized: boolean
  readonly subject: string
  readonly names: readonly string[]
  readonly sha256: string
}

/** Who is talking. All of it JSON, so it is stored with the message and seen by routes after a restart. */
export interface Origin {
  readonly id: string
  readonly protocol: 'smtp' | 'lmtp' | 'imap' | 'pop3' | 'http' | 'sieve' | 'internal'
  readonly listener: { readonly name: string; readonly role: Role }
  readonly local: { readonly ip: string; readonly port: number; readonly hostname: string }
  /** Absent for `internal`. `trusted`: may send XCLIENT, XFORWARD or PROXY; never "may relay". */
  readonly client?: {
    readonly ip: string
    readonly port: number
    readonly name?: string
    readonly via: 'direct' | 'proxy' | 'xclient' | 'xforward'
    readonly trusted: boolean
  }
  readonly helo?: { readonly verb: 'HELO' | 'EHLO' | 'LHLO'; readonly name: string }
  readonly auth?: { readonly user: string; readonly mechanism: string; readonly scopes: readonly string[] }
  readonly tls?: {
    readonly protocol: string
    readonly cipher: string
    readonly servername?: string
    readonly client?: Peer
  }
}

/** A connection as plugins see it. */
export interface Session extends Origin {
  /** Aborts when the connection ends. Made at first read: do not read it in a hook that does no I/O. */
  readonly signal: AbortSignal
  readonly state: State<'session'> & State<'local'>
  /** Bytes came before we greeted. */
  pendingInput(): boolean
}
