// Public keys that were read before: reading one takes as long as verifying with it, and most mail is signed by few.
import { createPublicKey } from 'node:crypto'
import type { Key, KeyCache, Resolver } from 'mailauth/lib/dkim/dkim-verifier.js'
import { LookupError, unanswered } from './resolver.ts'

/** Some 2 KB each. */
const most = 1_000

/** By the text of the record and how it was read: a record that changes is another one. */
const known = new Map<string, Key>()

export interface Keys extends KeyCache {
  /** A key of an ARC seal could not be had now: the library calls that a fail, like every other. */
  readonly sealUnsure: boolean
}

/**
 * The library's cache of one message, over the keys of all messages. DNS is asked each time, so that a key that was
 * taken back is not believed longer than its TTL. Keys larger than `maxBits` are refused with ELARGEKEY.
 */
export function withKnownKeys(perMessage: KeyCache, resolver: Resolver, maxBits: number): Keys {
  let sealUnsure = false
  const read: KeyCache['get'] = async (type, name, minBits, options) => {
    const texts = await resolver(name, 'TXT').catch(() => undefined)
    const text = texts === undefined ? undefined : JSON.stringify([texts, minBits, options])
    const before = text === undefined ? undefined : known.get(text)
    const key = before ?? (await perMessage.get(type, name, minBits, options))
    // RFC 8301 §3.2: verifiers need not take keys of more than 4096 bits.
    if (key.keyType === 'rsa' && (key.modulusLength ?? 0) > maxBits) {
      throw new LookupError('ELARGEKEY', `RSA key of ${key.modulusLength} bits`)
    }
    if (before !== undefined || text === undefined) return key
    const kept = { ...key, publicKey: createPublicKey(key.publicKey as string) }
    if (known.size >= most) known.delete(known.keys().next().value as string)
    known.set(text, kept)
    return kept
  }
  return {
    resolver,
    get sealUnsure() {
      return sealUnsure
    },
    get(type, ...question) {
      const key = read(type, ...question)
      // The library asks for keys of seals ahead of time, and drops the promise.
      key.catch(error => {
        if (type === 'AS' && unanswered(error)) sealUnsure = true
      })
      return key
    },
  }
}
