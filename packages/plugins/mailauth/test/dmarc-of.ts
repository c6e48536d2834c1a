// What DMARC makes of a letter from somebody, by a zone of records.
import type { Dmarc } from '../src/keys.ts'
import { checked } from './checked.ts'
import { letter, type Zones } from './given.ts'
import { sign, signer } from './signed.ts'

/** DMARC of mail from `from`, signed by `by`, with an SPF result. */
export async function dmarcOf(
  from: string,
  zones: Zones,
  given: { readonly by?: readonly string[]; readonly spf?: readonly [result: string, domain: string] } = {},
): Promise<Dmarc & { readonly questions: number }> {
  const signers = (given.by ?? []).map(domain => signer(domain))
  const message = await sign(letter({ From: from }), signers)
  const keys = Object.fromEntries(signers.map(({ name, record }) => [name, { TXT: record }]))
  const [result = '', domain = ''] = given.spf ?? []
  const spf = given.spf === undefined ? undefined : { result, domain }
  const { dmarc, questions } = await checked(message, { ...keys, ...zones }, { spf })
  return { ...dmarc, questions }
}
/** A DMARC record. */
export const record = (domain: string, TXT: string): Zones => ({ [`_dmarc.${domain}`]: { TXT } })
