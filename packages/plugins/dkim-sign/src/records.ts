// What is to be published of our keys, for `posthorn dns`.
import type { DnsRecord } from '@posthorn/core'
import { canonicalDomain } from '@posthorn/mail'
import { dkimRecord, publishedAfter, readRing } from './key-ring.ts'

interface ConfiguredKey {
  readonly domain: string
  readonly selector: string
  /** PEM. */
  readonly key: string
}

/** The records of a domain's keys: those of its ring, read anew, and those of the configuration. */
export function keyRecords(
  folder: string,
  configured: readonly ConfiguredKey[],
): (domain: string) => Promise<readonly DnsRecord[]> {
  return async domain => {
    const record = (selector: string, privateKey: string) => ({
      ...dkimRecord(domain, { selector, privateKey }),
      type: 'TXT' as const,
    })
    const why = (selector: string) =>
      `Others verify with it what we sign for ${domain} with the key ${selector} (DKIM).`
    const ring = await readRing(folder, domain)
    return [
      ...ring.map(({ selector, privateKey, state, retired = 0 }): DnsRecord => {
        if (state === 'active') return { ...record(selector, privateKey), why: why(selector) }
        const until = new Date(retired + publishedAfter).toISOString().slice(0, 10)
        const gone = `The key ${selector} no longer signs; mail that it signed is on its way until ${until}.`
        return { ...record(selector, privateKey), why: gone, advice: true }
      }),
      ...configured
        .filter(one => canonicalDomain(one.domain) === domain)
        .map(({ selector, key }) => ({ ...record(selector, key), why: why(selector) })),
    ]
  }
}
