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

/** The three fields of the next set, the seal on top; none where the chain may not go on (RFC 8617 §5.1 step 2, §4.2.1). */
export async function arcSet(sealing: Sealing): Promise<readonly Field[]> {
  const { header, key, chain, time, authResults, bodyHash } = sealing
  const found = chainOf(header)
  if (found === undefined) return []
  const { sets, newest, broken } = found
  const instance = newest + 1
  const cv = !broken && newest === 0 ? 'none' : !broken && chain === 'pass' ? 'pass' : 'fail'
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

  const seal = tagList([['i', i], ['a', key.algorithm], ['cv', cv], ...common, ['b', '']])
  // RFC 8617 §5.1.1: sets in order; of a failed chain (§5.1.2) only our own.
  const before = cv === 'pass' ? sets.flat().map(field => Buffer.concat([relaxedField(header, field), crlf])) : []
  const own = [results, signature].map(([name, value]) =>
    Buffer.concat([relaxedText(foldField(name, value, { utf8: sealing.utf8 })), crlf]),
  )
  const octets = Buffer.concat([...before, ...own, relaxedOwn('ARC-Seal', seal)])
  return [['ARC-Seal', seal + foldedBase64(await key.sign(octets))], signature, results]
}

const crlf = Buffer.from('\r\n')

interface Chain {
  /** In order of instance, each in the order in which it is sealed. */
  readonly sets: readonly (readonly HeaderField[])[]
  /** The highest instance; 0 for none. */
  readonly newest: number
  /** What is there is no chain: a gap, half a set, a field twice or without instance (RFC 8617 §5.2 step 3). */
  readonly broken: boolean
}

/** `undefined`: an earlier hop said that the chain failed, or it is full. */
function chainOf(bytes: Uint8Array): Chain | undefined {
  const sets = new Map<number, HeaderField[]>()
  let broken = false
  let newest = 0
  let verdict: string | undefined
  for (const field of scanHeader(bytes).fields) {
    const place = setNames.indexOf(field.name as (typeof setNames)[number])
    if (place < 0) continue
    const value = unfold(bytes, field)
    const instance = Number((place === 0 ? infoInstance : tagInstance).exec(value)?.[1])
    if (!(instance >= 1 && instance <= mostInstances)) {
      broken = true
      continue
    }
    const set = sets.get(instance) ?? []
    if (set[place] !== undefined) broken = true
    set[place] = field
    sets.set(instance, set)
    if (instance > newest) verdict = undefined
    newest = Math.max(newest, instance)
    if (place === 2 && instance === newest) verdict = /(?:^|;)\s*cv\s*=\s*(\w+)\s*(?:;|$)/.exec(value)?.[1]
  }
  if (verdict?.toLowerCase() === 'fail' || newest >= mostInstances) return undefined
  const ordered = Array.from({ length: newest }, (_, n) => (sets.get(n + 1) ?? []).filter(Boolean))
  return { sets: ordered, newest, broken: broken || ordered.some(set => set.length < setNames.length) }
}

/** RFC 8617 §4.1.1: before all results, perhaps after a comment. */
const infoInstance = /^(?:\s|\([^()]*\))*i\s*=\s*(\d{1,2})\s*;/
const tagInstance = /(?:^|;)\s*i\s*=\s*(\d{1,2})\s*(?:;|$)/
