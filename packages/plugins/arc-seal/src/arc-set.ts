// One ARC set (RFC 8617 §4.1, §5.1): what we saw, a signature over the message as we pass it on, and a seal over the
// whole chain.
import {
  foldedBase64,
  foldedTag,
  foldField,
  type HeaderField,
  relaxedField,
  relaxedFields,
  relaxedOwn,
  relaxedText,
  scanHeader,
  signedFields,
  tagList,
  unfold,
} from '@posthorn/mail'
import type { SigningKey } from '@posthorn/plugin-dkim-sign/keys'

/** RFC 8617 §4.2.1: an instance is 1 to 50. */
const mostInstances = 50

const setNames = ['arc-authentication-results', 'arc-message-signature', 'arc-seal'] as const

export interface Sealing {
  /** The header as it will be sent, without the set to be made. */
  readonly header: Uint8Array
  readonly bodyHash: string
  /** What an Authentication-Results field of ours says: `mx.example.org; spf=pass …`. */
  readonly authResults: string
  /** What the chain that came was found to be. */
  readonly chain: 'none' | 'pass' | 'fail'
  /** Names in lower case that the message signature covers. */
  readonly headers: readonly string[]
  readonly key: SigningKey
  /** Seconds since the epoch. */
  readonly time: number
  readonly utf8: boolean
}

type Field = readonly [name: string, value: string]

/** The three fields of the next set, the seal on top; none where the chain may not go on (RFC 8617 §5.1.2, §4.2.1). */
export async function arcSet(sealing: Sealing): Promise<readonly Field[]> {
  const { header, key, chain, time, authResults, bodyHash } = sealing
  const sets = chainOf(header)
  if (sets === 'ended') return []
  const instance = sets.length + 1
  const i = String(instance)
  const common = [
    ['d', key.domain],
    ['s', key.selector],
    ['t', String(time)],
  ] as const
  const results: Field = ['ARC-Authentication-Results', `i=${i}; ${authResults}`]

  // RFC 8617 §4.1.2: no ARC-Seal; Authentication-Results is for the next hop to replace.
  const fields = signedFields(scanHeader(header), sealing.headers, new Set(['from']))
  const message = tagList([
    ['i', i],
    ['a', key.algorithm],
    ['c', 'relaxed/relaxed'],
    ...common,
    [
      'h',
      foldedTag(
        fields.map(f => f.name),
        ':',
      ),
    ],
    ['bh', bodyHash],
    ['b', ''],
  ])
  const messageOctets = Buffer.concat([relaxedFields(header, fields), relaxedOwn('ARC-Message-Signature', message)])
  const signature: Field = ['ARC-Message-Signature', message + foldedBase64(await key.sign(messageOctets))]

  const cv = instance === 1 ? 'none' : chain === 'pass' ? 'pass' : 'fail'
  const seal = tagList([['i', i], ['a', key.algorithm], ['cv', cv], ...common, ['b', '']])
  // RFC 8617 §5.1.1: sets in order; of a failed chain (§5.1.2) only our own, so that it stays to be seen that it failed.
  const before = cv === 'pass' ? sets.flat().map(field => Buffer.concat([relaxedField(header, field), crlf])) : []
  const own = [results, signature].map(([name, value]) =>
    Buffer.concat([relaxedText(foldField(name, value, { utf8: sealing.utf8 })), crlf]),
  )
  const octets = Buffer.concat([...before, ...own, relaxedOwn('ARC-Seal', seal)])
  return [['ARC-Seal', seal + foldedBase64(await key.sign(octets))], signature, results]
}

const crlf = Buffer.from('\r\n')

/**
 * The sets that are there, in order of instance, each in the order in which it is sealed. `ended`: the chain failed at
 * an earlier hop, is full, or is no chain at all and longer than what a set may continue.
 */
function chainOf(bytes: Uint8Array): readonly (readonly HeaderField[])[] | 'ended' {
  const sets = new Map<number, HeaderField[]>()
  let failed = false
  for (const field of scanHeader(bytes).fields) {
    const place = setNames.indexOf(field.name as (typeof setNames)[number])
    if (place < 0) continue
    const value = unfold(bytes, field)
    const instance = Number(
      /^\s*i\s*=\s*(\d{1,3})\s*;/.exec(value)?.[1] ?? /;\s*i\s*=\s*(\d{1,3})\s*(?:;|$)/.exec(value)?.[1],
    )
    if (!(instance >= 1 && instance <= mostInstances)) return 'ended'
    const set = sets.get(instance) ?? []
    if (set[place] !== undefined) return 'ended'
    set[place] = field
    sets.set(instance, set)
    if (place === 2 && /(?:^|;)\s*cv\s*=\s*fail\s*(?:;|$)/i.test(value)) failed = true
  }
  if (failed || sets.size >= mostInstances) return 'ended'
  const ordered: HeaderField[][] = []
  for (let instance = 1; instance <= sets.size; instance++) {
    const set = sets.get(instance)
    // A gap or half a set: the chain has failed; our set says so, numbered after the highest.
    if (set === undefined || set.filter(Boolean).length < 3) return brokenChain(sets)
    ordered.push(set)
  }
  return ordered
}

/** A stand-in of the right length: cv=fail seals nothing of it. */
function brokenChain(sets: ReadonlyMap<number, unknown>): readonly (readonly HeaderField[])[] | 'ended' {
  const highest = Math.max(...sets.keys())
  return highest >= mostInstances ? 'ended' : Array.from({ length: highest }, () => [])
}
