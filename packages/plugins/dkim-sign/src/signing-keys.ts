// The keys at work: those of the rings in the data folder, and those of the configuration.
import { createHash, createPrivateKey, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { PosthornError } from '@posthorn/core'
import { canonicalDomain } from '@posthorn/mail'
import { readRing, ringDomains } from './key-ring.ts'
import type { DkimKeys, SigningKey } from './keys.ts'

const signAsync = promisify(sign)

interface ConfiguredKey {
  readonly domain: string
  readonly selector: string
  /** PEM. */
  readonly key: string
}

/** Rejects with POSTHORN_DKIM_RING or POSTHORN_DKIM_KEY for a key that cannot be used. */
export async function loadKeys(
  folder: string,
  configured: readonly ConfiguredKey[],
): Promise<DkimKeys & { readonly size: number }> {
  const keys = new Map<string, SigningKey[]>()
  const add = (key: SigningKey) => keys.set(key.domain, [...(keys.get(key.domain) ?? []), key])
  for (const domain of await ringDomains(folder)) {
    for (const { state, selector, privateKey } of await readRing(folder, domain)) {
      if (state === 'active') add(signingKey(domain, selector, createPrivateKey(privateKey)))
    }
  }
  for (const { domain, selector, key } of configured) add(configuredKey(domain, selector, key))
  return {
    size: keys.size,
    of(author) {
      for (let domain = author; domain.includes('.'); domain = domain.slice(domain.indexOf('.') + 1)) {
        const own = keys.get(domain)
        if (own !== undefined) return own
      }
      return []
    },
  }
}

function configuredKey(domain: string, selector: string, pem: string): SigningKey {
  try {
    const canonical = canonicalDomain(domain)
    if (canonical === undefined) throw new Error('not a domain name')
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType !== 'rsa' && key.asymmetricKeyType !== 'ed25519')
      throw new Error('neither RSA nor Ed25519')
    // RFC 8301 §3.2. Verifiers refuse what is shorter.
    if ((key.asymmetricKeyDetails?.modulusLength ?? 2048) < 1024) throw new Error('an RSA key of less than 1024 bits')
    // RFC 6376 §3.1, and the underscore that many use: it goes into a tag list and into DNS.
    if (!/^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/i.test(selector))
      throw new Error('not a selector')
    return signingKey(canonical, selector, key)
  } catch (error) {
    throw new PosthornError('POSTHORN_DKIM_KEY', `the DKIM key ${selector} of ${domain} cannot be used`, {
      fix: 'Give a domain name and a private key in PEM: RSA of 2048 bits, or Ed25519.',
      cause: error,
    })
  }
}

function signingKey(domain: string, selector: string, key: KeyObject): SigningKey {
  if (key.asymmetricKeyType !== 'ed25519') {
    return { domain, selector, algorithm: 'rsa-sha256', sign: octets => signAsync('sha256', octets, key) }
  }
  return {
    domain,
    selector,
    algorithm: 'ed25519-sha256',
    sign: octets => signAsync(null, createHash('sha256').update(octets).digest(), key),
  }
}
