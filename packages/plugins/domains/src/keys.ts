import { type Token, token } from '@posthorn/core'

/** Which domains are ours, by the configuration that is current. */
export interface Domains {
  /** `domain` in A-label form; '' (the bare `<Postmaster>`) is ours. */
  has(domain: string): boolean
  /** All of them, in the order of the configuration. */
  list(): readonly string[]
}

export const Domains: Token<Domains> = token<Domains>('domains/domains')
