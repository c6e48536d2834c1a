// The one Authentication-Results field (RFC 8601): what all plugins found, in words of the registry.
import type { Origin } from '@posthorn/core'
import { type AuthResult, formatAuthResults, isAscii } from '@posthorn/mail'
import type { Arc, AuthResultEntry, Bimi, Dkim, Dmarc, Iprev, Spf } from './keys.ts'

export interface Found {
  readonly iprev?: Iprev | undefined
  readonly spf?: Spf | undefined
  readonly dkim?: Dkim | undefined
  readonly dmarc?: Dmarc | undefined
  readonly arc?: Arc | undefined
  readonly bimi?: Bimi | undefined
}

/** Results in the order in which they were had; `others` last. */
export function resultsOf(
  { iprev, spf, dkim, dmarc, arc, bimi }: Found,
  origin: Pick<Origin, 'auth' | 'helo' | 'client'>,
  { user }: { readonly user: boolean },
): readonly AuthResult[] {
  return [
    ...(origin.auth === undefined ? [] : [authResult(origin.auth.user, user)]),
    ...(iprev === undefined ? [] : [iprevResult(iprev)]),
    ...(spf === undefined ? [] : spfResults(spf, origin.helo?.name ?? '')),
    ...(dkim === undefined ? [] : dkimResults(dkim)),
    ...(dmarc === undefined ? [] : [dmarcResult(dmarc)]),
    ...(arc === undefined ? [] : [arcResult(arc, origin.client?.ip)]),
    ...(bimi === undefined ? [] : [bimiResult(bimi)]),
  ]
}

/** Contributed entries of a sane size and number; the rest is left out. */
export function contributed(entries: unknown): readonly AuthResult[] {
  if (!Array.isArray(entries)) return []
  return (entries as readonly AuthResultEntry[])
    .filter(entry => typeof entry?.method === 'string' && typeof entry.result === 'string')
    .slice(0, 20)
}

/** ASCII where the message is not SMTPUTF8: what cannot be said in it becomes `?`. */
export function fieldOf(authservId: string, results: readonly AuthResult[], utf8: boolean): string {
  const value = formatAuthResults({ authservId, results: results.map(bounded) })
  return utf8 || isAscii(value) ? value : value.replace(/[^\0-\x7f]/gu, '?')
}

type Properties = [name: string, value: string][]

const present = (pairs: readonly (readonly [string, string | undefined])[]): Properties =>
  pairs.filter((pair): pair is [string, string] => pair[1] !== undefined && pair[1] !== '')

/** Octets of one word: a line without white space cannot be folded (RFC 5322 §2.1.1). */
const longestWord = 400

function bounded(result: AuthResult): AuthResult {
  const { comment, reason, properties } = result
  const short = (text: string) => text.replace(/\S{200,}/g, word => `${word.slice(0, 200)}...`)
  return {
    ...result,
    ...(comment === undefined ? {} : { comment: short(comment) }),
    ...(reason === undefined ? {} : { reason: short(reason) }),
    // Cut short, an identity would be another one.
    ...(properties === undefined ? {} : { properties: properties.filter(([, value]) => value.length <= longestWord) }),
  }
}

function authResult(name: string, user: boolean): AuthResult {
  return { method: 'auth', result: 'pass', ...(user ? { properties: [['smtp.auth', name]] } : {}) }
}

function iprevResult({ result, ip, name }: Iprev): AuthResult {
  return {
    method: 'iprev',
    result,
    ...(name === undefined ? {} : { comment: name }),
    properties: [['policy.iprev', ip]],
  }
}

function spfResults({ identity, sender, helo, ...check }: Spf, name: string): AuthResult[] {
  const one = (result: string, reason: string | undefined, properties: Properties): AuthResult => ({
    method: 'spf',
    result,
    ...(reason === undefined ? {} : { comment: reason }),
    properties,
  })
  const heloName = present([['smtp.helo', isAscii(name) ? name : undefined]])
  if (identity === 'helo') return [one(check.result, check.reason, heloName)]
  // RFC 8601 §2.7.2: the local part is not needed, and may be what we cannot say.
  const mailfrom = isAscii(sender) ? sender : check.domain
  return [
    one(check.result, check.reason, present([['smtp.mailfrom', mailfrom]])),
    ...(helo === undefined || helo.result === 'none' ? [] : [one(helo.result, undefined, heloName)]),
  ]
}

function dkimResults({ signatures, more }: Dkim): AuthResult[] {
  if (signatures.length + more === 0) return [{ method: 'dkim', result: 'none' }]
  const results = signatures.map(
    ({ result, reason, domain, identity, selector, algorithm, b, unsigned, secure }): AuthResult => {
      // RFC 8601 has no property for it.
      const dnssec = secure && 'key by DNSSEC'
      const comment = [reason, dnssec, unsigned === undefined ? undefined : `${unsigned} octets of the body unsigned`]
      const text = comment.filter(Boolean).join(', ')
      return {
        method: 'dkim',
        result,
        ...(text === '' ? {} : { comment: text }),
        properties: present([
          ['header.d', domain],
          ['header.i', identity],
          ['header.s', selector],
          ['header.a', algorithm],
          ['header.b', b],
        ]),
      }
    },
  )
  if (more === 0) return results
  return [...results, { method: 'dkim', result: 'policy', comment: `${more} further signatures not verified` }]
}

function dmarcResult({ result, published, policy, domain, reason }: Dmarc): AuthResult {
  const comment = published === undefined ? reason : `p=${published}`
  return {
    method: 'dmarc',
    result,
    ...(comment === undefined ? {} : { comment }),
    // RFC 9989 §9.1: policy.dmarc is what applies after all options.
    properties: present([
      ['header.from', domain],
      ['policy.dmarc', result === 'temperror' ? undefined : policy],
    ]),
  }
}

function arcResult({ result, sealer, instance, vouched, reason }: Arc, ip: string | undefined): AuthResult {
  const words = [instance > 0 ? `i=${instance}` : undefined, sealer, vouched && `trusted: ${vouched}`, reason]
  const comment = words.filter(Boolean).join(', ')
  return {
    method: 'arc',
    result,
    ...(comment === '' ? {} : { comment }),
    // RFC 8617 §6. Of several sets, the message signatures of older ones are not verified (§5.2 step 5 is optional).
    properties: present([
      ['smtp.remote-ip', ip],
      ['header.oldest-pass', result === 'pass' && instance === 1 ? '0' : undefined],
    ]),
  }
}

function bimiResult({ result, domain, selector, authority, reason }: Bimi): AuthResult {
  return {
    method: 'bimi',
    result,
    ...(reason === undefined ? {} : { comment: reason }),
    properties: present([
      ['header.d', domain],
      ['header.selector', selector],
      ['policy.authority', authority === undefined ? undefined : 'none'],
      ['policy.authority-uri', authority],
    ]),
  }
}
