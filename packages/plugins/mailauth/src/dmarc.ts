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
  const aligned = await alignedBy(given, response, passes, resolver)
  // A tree walk that failed leaves open what is one organization: the list does not.
  if (aligned.length > 0) {
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
  if (response === false) return false
  return response.status.result === 'pass' || (await alignedBy(given, response, might, resolver)).length > 0
}

/**
 * The tree walk knows an organizational domain only where somebody published a record for it. Most who publish still
 * count on the Public Suffix List (RFC 7489 §3.2): what it calls one organization is one here too, unless the record of
 * the author or of who sent draws the line itself by psd=, or asks for strict alignment.
 */
async function alignedBy(
  { spf, dkim }: DmarcInput,
  response: DmarcResponse,
  counts: (result: string) => boolean,
  resolver: Resolver,
): Promise<('spf' | 'dkim')[]> {
  const { alignment, record } = response
  const author = response.status.header?.from?.replace(/\.$/, '')
  const drawn = record?.psd === 'n' || record?.psd === 'y'
  const organization = !drawn && author !== undefined ? getDomain(author, psl) : null
  const aligned: ('spf' | 'dkim')[] = []
  if (alignment === undefined) return aligned
  const same = async (sent: readonly { readonly result: string; readonly domain: string }[], strict: boolean) => {
    if (strict || organization === null) return false
    const domains = sent
      .filter(({ result, domain }) => counts(result) && getDomain(domain, psl) === organization)
      .map(({ domain }) => domain.toLowerCase().replace(/\.$/, ''))
    const apart = await Promise.all(domains.map(domain => drawsLine(domain, organization, resolver)))
    return apart.includes(false)
  }
  if (alignment.spf.result || (await same(spf === undefined ? [] : [spf], alignment.spf.strict))) aligned.push('spf')
  if (alignment.dkim.result || (await same(dkim, alignment.dkim.strict))) aligned.push('dkim')
  return aligned
}

/** Names below the organization whose records are looked at; the tree walk has mostly asked for them already. */
const deepest = 7

/** Whether a record at or above `domain`, below its organization, says where an organization begins (RFC 9989 §4.7). */
async function drawsLine(domain: string, organization: string, resolver: Resolver): Promise<boolean> {
  const below = domain.split('.').slice(0, -organization.split('.').length)
  for (let at = Math.max(0, below.length - deepest); at < below.length; at++) {
    const name = [...below.slice(at), organization].join('.')
    const texts = await resolver(`_dmarc.${name}`, 'TXT').catch(() => [])
    const [record, other] = (texts as readonly (readonly string[])[]).filter(([text = '']) =>
      /^v\s*=\s*DMARC1/i.test(text),
    )
    if (other === undefined && /;\s*psd\s*=\s*[ny]\s*(?:;|$)/i.test(record?.[0] ?? '')) return true
  }
  return false
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

/**
 * pct (RFC 7489 §6.6.4) is no longer in RFC 9989, but in many records: it spares some messages one step of the policy.
 * One that is no number of 0 to 100 is as none (§6.3); the library makes 0 of it.
 */
function sampled({ policy = 'none', record, rr }: DmarcResponse, draw: number) {
  const pct = /;\s*pct\s*=\s*([0-9]{1,3})\s*(?:;|$)/.exec(rr ?? '')?.[1]
  return pct !== undefined && record?.t === undefined && draw >= Number(pct) ? weaker[policy] : policy
}
