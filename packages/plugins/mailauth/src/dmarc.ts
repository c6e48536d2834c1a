// DMARC by the library's tree walk (RFC 9989), with what it leaves out: the Public Suffix List as a guard and as a second
// opinion, pct, and temporary errors that might have been passes.

import type { Resolver } from 'mailauth/lib/dkim/dkim-verifier.js'
import { type DmarcResponse, evaluateDmarc } from 'mailauth/lib/dmarc/index.js'
import { getDomain, getPublicSuffix } from 'tldts'
import { clip, oneLine } from './clip.ts'
import type { Dmarc } from './keys.ts'
import { type Ask, resolverFor } from './resolver.ts'

export interface DmarcInput {
  /** Addresses of the From field, and how many such fields there are. */
  readonly from: readonly string[]
  readonly fromFields: number
  readonly spf: { readonly result: string; readonly domain: string } | undefined
  readonly dkim: readonly { readonly result: string; readonly domain: string }[]
  /** 0 to 99, for pct. */
  readonly draw: number
}

const psl = { allowPrivateDomains: true }
const weaker = { reject: 'quarantine', quarantine: 'none', none: 'none' } as const

export async function checkDmarc(
  given: DmarcInput,
  ask: Ask,
): Promise<{ dmarc: Dmarc; response: DmarcResponse | false }> {
  const resolver = guarded(resolverFor('dmarc', ask))
  const passes = (result: string) => result === 'pass'
  const { response, reason } = await evaluate(given, passes, resolver)
  if (response === false)
    return { dmarc: { result: 'permerror', aligned: [], reason: reason ?? 'no author domain' }, response }
  let { result } = response.status
  const aligned = alignedBy(given, response, passes)
  if (result === 'fail' && aligned.length > 0) {
    result = 'pass'
    response.status.result = result
  }
  if (result === 'fail' && (await mightPass(given, resolver))) result = 'temperror'
  const domain = response.status.header?.from
  const { p, policyDomain, policy, error } = response
  return {
    response,
    dmarc: {
      result: result as Dmarc['result'],
      ...(domain === undefined ? {} : { domain: clip(domain, 253) }),
      ...(response.domain === undefined ? {} : { organization: clip(response.domain, 253) }),
      ...(policy === undefined ? {} : { policy: sampled(response, given.draw) }),
      ...(p === undefined ? {} : { published: p }),
      ...(policyDomain === undefined ? {} : { publishedBy: clip(policyDomain, 253) }),
      aligned,
      ...(error === undefined ? {} : { reason: oneLine(error, 120) }),
    },
  }
}

function evaluate(
  { from, fromFields, spf, dkim }: DmarcInput,
  counts: (result: string) => boolean,
  resolver: Resolver,
) {
  return evaluateDmarc({
    headerFrom: from,
    fromFields,
    spfDomains: spf !== undefined && counts(spf.result) ? [{ domain: spf.domain }] : [],
    dkimDomains: dkim.filter(({ result }) => counts(result)).map(({ domain }) => ({ domain })),
    resolver,
    strict: true,
  })
}

/** A result that a second try could turn into an aligned pass makes the whole temporary. */
async function mightPass(given: DmarcInput, resolver: Resolver): Promise<boolean> {
  const might = (result: string) => result === 'pass' || result === 'temperror'
  if (![given.spf, ...given.dkim].some(each => each?.result === 'temperror')) return false
  const { response } = await evaluate(given, might, resolver)
  return response !== false && (response.status.result === 'pass' || alignedBy(given, response, might).length > 0)
}

/**
 * The tree walk knows an organizational domain only where somebody published a record for it. Most who publish still
 * count on the Public Suffix List (RFC 7489 §3.2): what it calls one organization is one here too, unless the record
 * draws the line itself by psd=, or asks for strict alignment.
 */
function alignedBy({ spf, dkim }: DmarcInput, response: DmarcResponse, counts: (result: string) => boolean) {
  const { alignment, record } = response
  const author = response.status.header?.from?.replace(/\.$/, '')
  const organization = record?.psd === undefined && author !== undefined ? getDomain(author, psl) : null
  const same = (domain: string | undefined, strict: boolean | undefined) =>
    strict === false && organization !== null && domain !== undefined && getDomain(domain, psl) === organization
  const aligned: ('spf' | 'dkim')[] = []
  if (alignment === undefined) return aligned
  const bySpf = spf !== undefined && counts(spf.result) && same(spf.domain, alignment.spf.strict)
  if (alignment.spf.result || bySpf) aligned.push('spf')
  const byDkim = dkim.some(({ result, domain }) => counts(result) && same(domain, alignment.dkim.strict))
  if (alignment.dkim.result || byDkim) aligned.push('dkim')
  return aligned
}

/** A public suffix that publishes a record without psd= does not make one organization of all who are below it. */
function guarded(resolver: Resolver): Resolver {
  return async (name, type) => {
    const answer = await resolver(name, type)
    const [, below] = /^_dmarc\.(.+)$/.exec(name) ?? []
    if (type !== 'TXT' || below === undefined || getPublicSuffix(below, psl) !== below) return answer
    return (answer as readonly (readonly string[])[]).map(([text = '']) =>
      /^v\s*=\s*DMARC1/i.test(text) && !/;\s*psd\s*=/i.test(text) ? [`${text.replace(/[;\s]+$/, '')}; psd=y`] : [text],
    )
  }
}

/** pct (RFC 7489 §6.6.4) is no longer in RFC 9989, but in many records: it spares some messages one step of the policy. */
function sampled({ policy = 'none', record }: DmarcResponse, draw: number) {
  const { pct, t } = record ?? {}
  return typeof pct === 'number' && t === undefined && draw >= Math.min(100, pct) ? weaker[policy] : policy
}
