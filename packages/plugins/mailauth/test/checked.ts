// A message through the verification that a worker does, in this thread: what DKIM, ARC and DMARC make of it.
import { fakeDns } from '@posthorn/testing'
import { Lookups } from '../src/lookups.ts'
import { Verification } from '../src/verify.ts'
import type { VerifyJob } from '../src/wire.ts'
import type { Zones } from './given.ts'

export async function checked(
  message: string | Uint8Array | readonly Uint8Array[],
  zones: Zones = {},
  job: Partial<VerifyJob> = {},
) {
  const dns = fakeDns(zones)
  const lookups = new Lookups(dns, 29)
  const verification = new Verification(
    {
      now: Date.UTC(2026, 0, 5),
      signatures: 20,
      minKeyBits: 1024,
      maxKeyBits: 8192,
      trustedForwarders: [],
      bimi: false,
      spf: undefined,
      ...job,
    },
    (name, type, purpose) => lookups.ask(name, type, purpose),
  )
  const chunks = typeof message === 'string' ? [Buffer.from(message)] : [message].flat()
  for (const chunk of chunks as Uint8Array[]) await verification.write(chunk)
  return Object.assign(await verification.end(), { questions: dns.count() })
}

/** The results of all signatures, in order. */
export const dkimResults = async (...given: Parameters<typeof checked>) =>
  (await checked(...given)).dkim.signatures.map(({ result, reason }) => (reason ? `${result} (${reason})` : result))
