import type { Peer } from './session.ts'

/** What the store of a SCRAM user holds (RFC 5802 §3). */
export interface ScramKeys {
  readonly salt: Uint8Array
  readonly iterations: number
  readonly storedKey: Uint8Array
  readonly serverKey: Uint8Array
}

/** What a client proved or claims, for every protocol. Secrets come out by `reveal()` only, so that no log prints them. */
export type Credentials = { readonly mechanism: string; readonly username: string; readonly authzid?: string } & (
  | { readonly kind: 'password' | 'token'; reveal(): string }
  | { readonly kind: 'scram'; verify(keys: ScramKeys): Promise<boolean> }
  | { readonly kind: 'certificate'; readonly peer: Peer }
)
