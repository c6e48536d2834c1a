import { type Token, token } from '@posthorn/core'

/** A key at work: what it is called in signatures, and how to sign with it. */
export interface SigningKey {
  readonly domain: string
  readonly selector: string
  /** `a=`. */
  readonly algorithm: 'rsa-sha256' | 'ed25519-sha256'
  /** The signature of these octets, made on the thread pool (RFC 8463 §3: Ed25519 signs their SHA-256). */
  sign(octets: Uint8Array): Promise<Uint8Array>
}

/** The DKIM keys of this server, by the configuration that is current. */
export interface DkimKeys {
  /** The active keys of a domain, or of the nearest one above it that has some; none where there are none. */
  of(domain: string): readonly SigningKey[]
}

export const DkimKeys: Token<DkimKeys> = token<DkimKeys>('dkim-sign/keys')
