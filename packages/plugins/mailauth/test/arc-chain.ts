// ARC chains for the tests, made by code of our own (RFC 8617 §4.1, §5.1.1), so that each can be wrong in one place and
// right in every other: what is wrong is signed as it stands.
import { createHash } from 'node:crypto'
import { bodyOf, fieldsSigned, parts, relaxed, same, withSignature } from './by-hand.ts'
import type { Signer } from './signed.ts'

export interface SetOptions {
  readonly i?: number | string
  readonly cv?: string
  /** What the results say. */
  readonly results?: string
  readonly headers?: readonly string[]
  /** Of the message signature. */
  readonly c?: string
  /** Each changes the text of its field before it is signed; the signature goes where it says `b=`. */
  readonly aar?: (text: string) => string
  readonly ams?: (text: string) => string
  readonly seal?: (text: string) => string
  /** Seals itself only, as a failed chain is. */
  readonly alone?: boolean
}

const names = ['ARC-Authentication-Results', 'ARC-Message-Signature', 'ARC-Seal'] as const

/** The message with one more set on top: the seal first. */
export function withSet(message: string, by: Signer, options: SetOptions = {}): string {
  const { head, body, fields } = parts(message)
  const newest = fields.filter(({ name }) => name === 'arc-seal').length + 1
  const { i = newest, results = 'mx.test; none', headers = ['from', 'to', 'subject', 'date'] } = options
  const { cv = newest === 1 ? 'none' : 'pass', c = 'relaxed/relaxed' } = options
  const a = by.record.includes('k=rsa') ? 'rsa-sha256' : 'ed25519-sha256'
  const key = `d=${by.domain}; s=${by.selector}; t=1767500000`

  const aar = (options.aar ?? same)(`i=${i}; ${results}`)

  const [headerCanon = 'simple', bodyCanon = 'simple'] = c.split('/')
  const bh = createHash('sha256').update(bodyOf(body, bodyCanon), 'latin1').digest('base64')
  const ams = (options.ams ?? same)(`i=${i}; a=${a}; c=${c}; ${key}; h=${headers.join(':')}; bh=${bh}; b=`)
  const signed = fieldsSigned(ams, fields, headerCanon === 'simple')
  const canon = headerCanon === 'simple' ? same : relaxed
  const message1 = withSignature(ams, signed + canon(`${names[1]}: ${ams}`), by)

  const seal = (options.seal ?? same)(`i=${i}; a=${a}; cv=${cv}; ${key}; b=`)
  const before = options.alone ? [] : inOrder(fields)
  const chain = [...before, `${names[0]}: ${aar}`, `${names[1]}: ${message1}`].map(text => `${relaxed(text)}\r\n`)
  const seal1 = withSignature(seal, chain.join('') + relaxed(`${names[2]}: ${seal}`), by)

  return `${names[2]}: ${seal1}\r\n${names[1]}: ${message1}\r\n${names[0]}: ${aar}\r\n${head}\r\n${body}`
}

/** So many sets. */
export function chainOf(message: string, count: number, by: Signer): string {
  let sealed = message
  for (let i = 0; i < count; i++) sealed = withSet(sealed, by)
  return sealed
}

/** Without the field of this name and instance. */
export const without = (message: string, name: (typeof names)[number], i: number) =>
  message.replace(new RegExp(`^${name}: i=${i};.*\r\n`, 'm'), '')

/** With it twice. */
export const twice = (message: string, name: (typeof names)[number], i: number) =>
  message.replace(new RegExp(`^${name}: i=${i};.*\r\n`, 'm'), '$&$&')

/** RFC 8617 §5.1.1. */
function inOrder(fields: readonly { readonly name: string; readonly text: string }[]): string[] {
  const order = names.map(name => name.toLowerCase())
  return fields
    .filter(({ name }) => order.includes(name))
    .map(({ name, text }) => ({
      text,
      place: Number(/[:;]\s*i\s*=\s*(\d+)/.exec(text)?.[1]) * 3 + order.indexOf(name),
    }))
    .sort((one, other) => one.place - other.place)
    .map(({ text }) => text)
}
