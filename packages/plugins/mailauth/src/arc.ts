// ARC as the library judged it, in our words, and whether somebody whom the operator trusts vouches for the author.
import { canonicalDomain, parseAuthResults } from '@posthorn/mail'
import type { ArcData, ArcSet, Row, Status } from 'mailauth/lib/dkim/dkim-verifier.js'
import { clip, oneLine } from './clip.ts'
import type { Arc } from './keys.ts'

const tagI = /[:;][ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([0-9]{1,2})[ \t\r\n]*(?:;|$)/

/** The `i=` of an ARC field; 0 for every other, and where it is not to be read. */
export function instanceOf({ key, line }: Row): number {
  if (key !== 'arc-seal' && key !== 'arc-message-signature' && key !== 'arc-authentication-results') return 0
  const [, instance = '0'] = tagI.exec(line.toString('latin1', 0, 4_096)) ?? []
  return Number(instance)
}

/** The highest `i=` on the message, also where the chain is broken: who seals next goes on from there. */
export const highestInstance = (rows: readonly Row[]): number =>
  rows.reduce((highest, row) => Math.max(highest, instanceOf(row)), 0)

export function arcOf(
  status: Status,
  data: ArcData,
  instance: number,
  author: string | undefined,
  trusted: readonly string[],
  sealUnsure: boolean,
): Arc {
  const result = status.result as Arc['result']
  const sealer = sealerOf(data.lastEntry)
  const chain = data.chain === false ? [] : data.chain
  const vouched = result === 'pass' ? vouchedBy(chain, author, trusted) : undefined
  const unsure = result === 'fail' && data.error === undefined && wantsKey(status, data, sealUnsure)
  const said = typeof status.comment === 'string' && !unsure ? status.comment : data.error?.message
  const reason = result === 'fail' ? oneLine(said ?? 'a key could not be had', 120) : undefined
  return {
    result,
    instance,
    ...(sealer === undefined ? {} : { sealer }),
    ...(vouched === undefined ? {} : { vouched }),
    ...(unsure ? { unsure } : {}),
    ...(reason === undefined ? {} : { reason }),
  }
}

/** Nothing but a key that DNS did not give now stood against the chain. The library has no comment on such a seal. */
function wantsKey({ comment }: Status, { lastEntry }: ArcData, sealUnsure: boolean): boolean {
  const message = lastEntry?.messageSignature?.status.result
  const sealsHold = typeof comment === 'string' && comment.endsWith('no valid signature')
  return message === 'temperror' ? sealsHold || (sealUnsure && comment === undefined) : sealUnsure && message === 'pass'
}

/**
 * From the newest set down, as long as each seal is by a trusted domain: the first set that says DMARC passed for this
 * author. A set below an untrusted seal says nothing: whoever set that seal could have written it.
 */
function vouchedBy(chain: readonly ArcSet[], author: string | undefined, trusted: readonly string[]) {
  if (author === undefined) return undefined
  for (const set of chain.toReversed()) {
    const sealer = sealerOf(set)
    if (sealer === undefined || !trusted.includes(sealer)) return undefined
    if (passedBefore(set, author)) return sealer
  }
}

/** RFC 8617 §4.1.1: `i=1; authserv-id; results`. */
function passedBefore(set: ArcSet, author: string): boolean {
  const line = set['arc-authentication-results']?.original.toString() ?? ''
  const payload = /^[^:]*:[^;]*;(.*)$/s.exec(line)?.[1]?.replace(/\r?\n/g, '') ?? ''
  const results = parseAuthResults(payload)?.results ?? []
  return results.some(({ method, result, properties = [] }) => {
    if (method !== 'dmarc' || result !== 'pass') return false
    const from = properties.find(([name]) => name === 'header.from')?.[1]
    return from === undefined || inALabels(from) === author
  })
}

function sealerOf(set: ArcSet | undefined): string | undefined {
  const domain = set?.['arc-seal']?.parsed?.d?.value
  return typeof domain === 'string' ? inALabels(domain) : undefined
}

/** As options have it (RFC 8616 §3); what is no domain name, as it is. */
const inALabels = (domain: string): string => canonicalDomain(domain) ?? clip(domain.toLowerCase(), 253)
