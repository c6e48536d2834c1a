// Signed mail for the tests: keys of our own, signatures by the library's signer, records to publish.
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { dkimSign, sealMessage } = require('mailauth') as {
  dkimSign(message: Buffer, options: object): Promise<{ signatures: string; errors: readonly unknown[] }>
  sealMessage(message: Buffer, seal: object): Promise<Buffer>
}

export interface Signer {
  readonly domain: string
  readonly selector: string
  readonly privateKey: string
  /** The TXT record, and where it goes. */
  readonly name: string
  readonly record: string
}

const keys = new Map<string, string>()

/** One key per kind for all tests: making them takes longer than using them. */
function keyOf(kind: 'ed25519' | number): string {
  const known = keys.get(`${kind}`)
  if (known !== undefined) return known
  const { privateKey } =
    kind === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: kind })
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  keys.set(`${kind}`, pem)
  return pem
}

export function signer(domain: string, { selector = 's1', kind = 'ed25519' as 'ed25519' | number } = {}): Signer {
  const privateKey = keyOf(kind)
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' })
  const p = (kind === 'ed25519' ? spki.subarray(-32) : spki).toString('base64')
  return {
    domain,
    selector,
    privateKey,
    name: `${selector}._domainkey.${domain}`,
    record: `v=DKIM1; k=${kind === 'ed25519' ? 'ed25519' : 'rsa'}; p=${p}`,
  }
}

/** A day before the harness's clock stands still. */
export const signTime = new Date(Date.UTC(2026, 0, 4))

/** The message with signatures above it. */
export async function sign(message: string, by: readonly Signer[], extra: object = {}): Promise<string> {
  const { signatures, errors } = await dkimSign(Buffer.from(message), {
    canonicalization: 'relaxed/relaxed',
    signTime,
    ...extra,
    signatureData: by.map(({ domain, selector, privateKey }) => ({
      signingDomain: domain,
      selector,
      privateKey,
      ...extra,
    })),
  })
  if (errors.length > 0) throw new Error(`not signed: ${JSON.stringify(errors)}`)
  return signatures + message
}

/** The message with an ARC set on top that says `authResults`. */
export async function seal(
  message: string,
  by: Signer,
  authResults: string,
  cv: 'none' | 'pass' | 'fail' = 'none',
): Promise<string> {
  const { domain, selector, privateKey } = by
  const set = await sealMessage(Buffer.from(message), {
    signingDomain: domain,
    selector,
    privateKey,
    authResults,
    cv,
    signTime,
  })
  return set.toString() + message
}
