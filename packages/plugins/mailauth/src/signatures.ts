// The library's results of DKIM-Signatures as ours: RFC 8601's words, bounded for state.
import type { SignatureResult } from 'mailauth/lib/dkim/dkim-verifier.js'
import { clip, oneLine } from './clip.ts'
import type { Dkim, DkimSignature } from './keys.ts'

/**
 * RFC 6376 §6.1 calls these PERMFAIL. The library says neutral, which RFC 8601 §2.7.1 keeps for syntax errors: what is
 * absent but required is permerror.
 */
const permanent = new Set([
  'From field not signed',
  'no key',
  'unknown key version',
  'unknown key type',
  'invalid public key',
  'inappropriate hash algorithm',
  'inappropriate key algorithm',
  'key not for email',
])

/** Octets of JSON: the state of one message may have 16 KiB in all. */
const mostJson = 8_000

/** `more`: signatures that the library was not shown. `secure`: names of key records that DNSSEC vouches for. */
export function dkimOf(results: readonly SignatureResult[], more: number, secure: ReadonlySet<string>): Dkim {
  const signatures: DkimSignature[] = []
  let size = 0
  let left = more
  for (const result of results) {
    if (result.status.result === 'none') continue
    const signature = signatureOf(result, secure)
    size += JSON.stringify(signature).length
    if (size <= mostJson) signatures.push(signature)
    else left++
  }
  return { signatures, more: left }
}

function signatureOf({ selector, status }: SignatureResult, secure: ReadonlySet<string>): DkimSignature {
  const { header = {}, underSized } = status
  const text = (name: string, length: number) =>
    typeof header[name] === 'string' ? oneLine(header[name], length) : undefined
  const known = {
    domain: text('d', 253),
    selector: selector === undefined ? undefined : clip(selector, 63),
    identity: text('i', 253),
    algorithm: text('a', 20),
    b: text('b', 8),
  }
  return {
    ...judged(status),
    ...Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined)),
    ...(underSized === undefined ? {} : { unsigned: underSized }),
    ...(secure.has(`${selector}._domainkey.${header.d}`) ? { secure: true } : {}),
    ...(status.testing === true ? { testing: true } : {}),
  }
}

function judged({ result, comment, policy }: SignatureResult['status']): Pick<DkimSignature, 'result' | 'reason'> {
  const reason = typeof comment === 'string' ? oneLine(comment, 80) : undefined
  if (reason === 'DNS failure: ELIMIT') return { result: 'policy', reason: 'too many DNS lookups' }
  if (reason === 'DNS failure: ELARGEKEY') return { result: 'policy', reason: 'key too large' }
  if (policy?.['dkim-rules'] === 'weak-key') return { result: 'policy', reason: 'weak key' }
  if (result === 'neutral' && reason !== undefined && permanent.has(reason)) return { result: 'permerror', reason }
  return { result: result as DkimSignature['result'], ...(reason === undefined ? {} : { reason }) }
}
