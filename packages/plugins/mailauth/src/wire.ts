// What the main thread and a worker say to each other: lists of plain values, structured-cloned.
import type { Arc, Bimi, Dkim, Dmarc, SpfCheck } from './keys.ts'

/** What a question is asked for; each purpose has its share of a message's questions. */
export type Purpose = 'iprev' | 'spf' | 'key' | 'dmarc' | 'bimi'
export type AskedType = 'A' | 'AAAA' | 'MX' | 'TXT' | 'PTR' | 'CNAME'

/** As `dns.promises.resolve` gives records, or the code of its error, which is what the library knows. */
export type Answer =
  | {
      readonly records: readonly (
        | string
        | readonly string[]
        | { readonly priority: number; readonly exchange: string }
      )[]
      /** Validated by DNSSEC. */
      readonly secure: boolean
    }
  | { readonly code: 'ENOTFOUND' | 'ENODATA' | 'ETIMEOUT' | 'ESERVFAIL' | 'ELIMIT' }

export interface SpfJob {
  readonly ip: string
  readonly helo: string
  /** '' for the null reverse-path: then HELO alone is checked. */
  readonly sender: string
  readonly hostname: string
  readonly lookups: number
  readonly voidLookups: number
}
export type SpfOutcome = { readonly mailfrom?: SpfCheck; readonly helo?: SpfCheck }

export interface VerifyJob {
  /** Milliseconds since the epoch. */
  readonly now: number
  readonly signatures: number
  readonly minKeyBits: number
  readonly maxKeyBits: number
  readonly trustedForwarders: readonly string[]
  readonly bimi: boolean
  /** What SPF says of the identity that DMARC looks at. */
  readonly spf: { readonly result: string; readonly domain: string } | undefined
}
export type VerifyOutcome = {
  readonly dkim: Dkim
  /** Absent: nobody could look. */
  readonly arc?: Arc
  readonly dmarc: Dmarc
  readonly bimi?: Bimi
  /** The address in the From field, where there is exactly one. */
  readonly author?: string
}

export type ToWorker =
  | { readonly do: 'spf'; readonly job: number; readonly spf: SpfJob }
  | { readonly do: 'verify'; readonly job: number; readonly verify: VerifyJob }
  /** `more`: not the last one, so it is acknowledged. */
  | { readonly do: 'data'; readonly job: number; readonly bytes: Uint8Array; readonly more: boolean }
  | { readonly do: 'end'; readonly job: number }
  | { readonly do: 'drop'; readonly job: number }
  | { readonly do: 'answer'; readonly ask: number; readonly answer: Answer }
  | { readonly do: 'ping' }

export type FromWorker =
  | {
      readonly is: 'ask'
      readonly job: number
      readonly ask: number
      readonly name: string
      readonly type: AskedType
      readonly purpose: Purpose
    }
  | { readonly is: 'taken'; readonly job: number }
  | { readonly is: 'done'; readonly job: number; readonly outcome: SpfOutcome | VerifyOutcome }
  | { readonly is: 'failed'; readonly job: number; readonly why: string }
  | { readonly is: 'stray'; readonly why: string }
  | { readonly is: 'alive' }
