// What mailauth found out, by message state keys: types are RFC words, values are JSON and clipped.
import { type Json, messageState, type StateKey } from '@posthorn/core'

/** RFC 7208 §2.6. */
export type SpfVerdict = 'none' | 'neutral' | 'pass' | 'fail' | 'softfail' | 'temperror' | 'permerror'

/** check_host() of one identity. `domain` in A-labels; '' where the identity has none. */
export type SpfCheck = {
  readonly result: SpfVerdict
  readonly domain: string
  /** Why, in one line: for logs and traces, not for clients. */
  readonly reason?: string
  /** What the domain's owner says of a fail (RFC 7208 §6.2): somebody else's words. */
  readonly explanation?: string
}

/** The MAIL FROM identity, or HELO where the reverse-path is null (RFC 7208 §2.4). `helo`: HELO, beside it. */
export type Spf = SpfCheck & {
  readonly identity: 'mailfrom' | 'helo'
  /** The reverse-path as it came, '' for the null one. */
  readonly sender: string
  readonly helo?: SpfCheck
}

/** One signature, in the order of the header (RFC 8601 §2.7.1). */
export type DkimSignature = {
  readonly result: 'pass' | 'fail' | 'neutral' | 'policy' | 'temperror' | 'permerror'
  /** `d=` in A-labels, and `s=`; absent where the signature could not be read. */
  readonly domain?: string
  readonly selector?: string
  /** `i=`. */
  readonly identity?: string
  readonly algorithm?: string
  /** The first octets of `b=`: tells signatures of one domain apart (RFC 6008 §4). */
  readonly b?: string
  /** Octets of the body that `l=` leaves unsigned. */
  readonly unsigned?: number
  /** DNSSEC vouches for the key: a resolver that we trust validated its record (the AD bit). */
  readonly secure?: true
  /** The key is published as a test (`t=y`). */
  readonly testing?: true
  readonly reason?: string
}

/** `more`: signatures beyond the limit, which nobody looked at. */
export type Dkim = { readonly signatures: readonly DkimSignature[]; readonly more: number }

/** RFC 9989; `none`: the domain publishes no policy; `permerror`: there is not one author domain. */
export type Dmarc = {
  readonly result: 'none' | 'pass' | 'fail' | 'temperror' | 'permerror'
  /** Author domain in A-labels; absent for `permerror`. */
  readonly domain?: string
  readonly organization?: string
  /** What the domain asks for here, after `sp`, `np`, `t` and `pct`. */
  readonly policy?: 'none' | 'quarantine' | 'reject'
  /** `p=` as published, and where. */
  readonly published?: 'none' | 'quarantine' | 'reject'
  readonly publishedBy?: string
  /** What aligned. */
  readonly aligned: readonly ('spf' | 'dkim')[]
  readonly reason?: string
}

/** RFC 8617 §4.4. */
export type Arc = {
  readonly result: 'none' | 'pass' | 'fail'
  /** The highest instance on the message, whatever the result; 0 for none. */
  readonly instance: number
  /** `d=` of the newest seal. */
  readonly sealer?: string
  /** A trusted forwarder vouches for the author: its seal holds, and says that DMARC passed before it. */
  readonly vouched?: string
  /** A `fail` for want of a key that DNS did not give now: another look may find otherwise. */
  readonly unsure?: true
  readonly reason?: string
}

/** RFC 8601 §2.7.3: a name of the client's address has that address. */
export type Iprev = {
  readonly result: 'pass' | 'fail' | 'temperror' | 'permerror'
  readonly ip: string
  readonly name?: string
}

export type Bimi = {
  readonly result: 'pass' | 'none' | 'fail' | 'temperror' | 'declined' | 'skipped'
  readonly domain?: string
  readonly selector?: string
  readonly location?: string
  readonly authority?: string
  readonly reason?: string
}

/** Written at `mail`. Absent for sessions that are not judged: authenticated ones, other roles. */
export const iprev: StateKey<'message', Iprev> = messageState<Iprev>('mailauth/iprev')
export const spf: StateKey<'message', Spf> = messageState<Spf>('mailauth/spf')
/** Written at the dot. */
export const dkim: StateKey<'message', Dkim> = messageState<Dkim>('mailauth/dkim')
export const dmarc: StateKey<'message', Dmarc> = messageState<Dmarc>('mailauth/dmarc')
/** Absent too where the worker that looked at the chain died: what nobody saw has neither held nor failed. */
export const arc: StateKey<'message', Arc> = messageState<Arc>('mailauth/arc')
export const bimi: StateKey<'message', Bimi> = messageState<Bimi>('mailauth/bimi')

/** One result for the Authentication-Results field, as `AuthResult` of `@posthorn/mail`, in JSON. */
export type AuthResultEntry = {
  readonly method: string
  readonly result: string
  readonly reason?: string
  readonly comment?: string
  readonly properties?: readonly (readonly [name: string, value: string])[]
}

/**
 * What another plugin says in our Authentication-Results field: it writes the entries under this key, before `seal`.
 * Printed if mailauth's option `include` names the plugin: who speaks in our name is the operator's choice.
 */
export function authResults(plugin: string): StateKey<'message', readonly AuthResultEntry[] & Json> {
  return messageState<readonly AuthResultEntry[] & Json>(`${plugin}/authres`)
}
