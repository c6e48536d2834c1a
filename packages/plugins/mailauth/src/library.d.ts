// The parts of mailauth that we reach into. It types its front door only; we need what is behind it (docs/decisions/0007),
// so its version is pinned.
declare module 'mailauth/lib/dkim/dkim-verifier.js' {
  import type { KeyObject } from 'node:crypto'

  /** One field of a header. `key`: its name in lower case; `line`: name, colon and value with their folds. */
  export interface Row {
    key: string
    casedKey: string
    line: Buffer
  }
  export interface Rows {
    parsed: Row[]
    original: Buffer
  }
  export type Resolver = (name: string, type: string) => Promise<unknown>
  export interface KeyCache {
    readonly resolver: Resolver
    get(type: string, name: string, minBitLength: number, options: object): Promise<Key>
  }
  export interface Key {
    /** PEM; node:crypto takes a key object as well. */
    readonly publicKey: string | KeyObject
    readonly keyType?: string
    readonly modulusLength?: number
  }
  export interface SignatureHeader {
    type: string
    original: Buffer
    parsed?: Record<string, { value: unknown } | undefined>
    selector?: string
    signingDomain?: string
    hashAlgo?: string
    skip?: string
    invalid?: string
  }
  export interface Status {
    result: string
    comment?: string | boolean
    testing?: boolean
    underSized?: number
    policy?: Record<string, string>
    header?: Record<string, unknown>
  }
  export interface SignatureResult {
    signingDomain?: string
    selector?: string
    status: Status
    /** Of l=, where there is one, and of the canonical body. */
    canonBodyLengthLimit?: number
    canonBodyLengthTotal?: number
  }
  export interface ArcData {
    chain: ArcSet[] | false
    lastEntry?: ArcSet
    error?: Error
    keyCache: KeyCache
  }
  export interface ArcSet {
    i: number
    'arc-seal'?: SignatureHeader
    'arc-message-signature'?: SignatureHeader
    'arc-authentication-results'?: { original: Buffer }
    /** Of the newest set. */
    messageSignature?: SignatureResult
  }
  export class DkimVerifier {
    constructor(options: {
      resolver: Resolver
      minBitLength: number
      strict: boolean
      curTime: number
      rejectRsaSha1?: boolean
    })
    headers: Rows
    keyCache: KeyCache
    minBitLength: number
    strict: boolean
    headerFrom: string[]
    fromFields: number
    arc: ArcData
    results: SignatureResult[]
    signatureHeaders: SignatureHeader[]
    messageHeaders(rows: Rows): Promise<void>
    prepareSignature(signature: SignatureHeader): void
    verifySignature(signature: SignatureHeader, fallback?: boolean): Promise<SignatureResult>
    nextChunk(chunk: Uint8Array): Promise<void>
    finalChunk(): Promise<void>
  }
}

declare module 'mailauth/lib/arc/index.js' {
  import type { ArcData, Resolver, Status } from 'mailauth/lib/dkim/dkim-verifier.js'
  export function arc(
    data: ArcData,
    options: { resolver: Resolver; minBitLength: number; strict: boolean },
  ): Promise<{ status: Status; i?: number | false }>
}

declare module 'mailauth/lib/spf/index.js' {
  import type { Resolver } from 'mailauth/lib/dkim/dkim-verifier.js'
  export function spf(options: {
    sender: string
    ip: string
    helo: string
    mta: string
    strict: boolean
    resolver: Resolver
    maxResolveCount: number
    maxVoidCount: number
  }): Promise<{ domain: string; explanation?: string; status: { result: string; comment?: string } }>
}

declare module 'mailauth/lib/dmarc/index.js' {
  import type { Resolver } from 'mailauth/lib/dkim/dkim-verifier.js'

  type Policy = 'none' | 'quarantine' | 'reject'
  export interface DmarcResponse {
    status: { result: string; header?: { from?: string } }
    domain?: string
    policyDomain?: string
    policy?: Policy
    p?: Policy
    testMode?: boolean
    error?: string
    alignment?: Record<'spf' | 'dkim', { result?: string; strict: boolean }>
    record?: { t?: string; psd?: string }
    /** The record as it stands. */
    rr?: string
  }
  export function evaluateDmarc(options: {
    headerFrom: readonly string[]
    fromFields: number
    spfDomains: readonly { domain: string }[]
    dkimDomains: readonly { domain: string; underSized?: number }[]
    resolver: Resolver
    strict: boolean
  }): Promise<{ response: DmarcResponse | false; reason?: string }>
}

declare module 'mailauth/lib/bimi/index.js' {
  import type { Resolver, Rows } from 'mailauth/lib/dkim/dkim-verifier.js'
  export function bimi(options: {
    dmarc: unknown
    headers: Rows
    resolver: Resolver
    strict: boolean
    bimiWithAlignedDkim: boolean
  }): Promise<
    | {
        status: { result: string; comment?: string; header?: { selector?: string; d?: string } }
        location?: string
        authority?: string
      }
    | false
  >
}
