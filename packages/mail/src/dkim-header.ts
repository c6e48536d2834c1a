// What DKIM and ARC sign of a header: fields chosen from the bottom up, in relaxed canonicalisation, and tag lists as
// they are written. Octets, not text: a header may hold what is no UTF-8.
import { type Header, type HeaderField, scanHeader } from './header.ts'

/** A field to be signed, or the absence of one: its name is said once more than it stands there. */
export interface SignedField {
  readonly name: string
  readonly field: HeaderField | undefined
}

/**
 * Every field of these names (lower case, in this order), instances from the bottom up (RFC 6376 §5.4.2); for those to
 * be oversigned one more, so that nobody can add another.
 */
export function signedFields(
  { fields }: Pick<Header, 'fields'>,
  names: readonly string[],
  oversign: ReadonlySet<string>,
): readonly SignedField[] {
  const chosen: SignedField[] = []
  for (const name of names) {
    for (const field of fields.filter(f => f.name === name).reverse()) chosen.push({ name, field })
    if (oversign.has(name)) chosen.push({ name, field: undefined })
  }
  return chosen
}

/** The octets that are signed of these fields, each with its line end; an absent one is nothing (RFC 6376 §5.4). */
export function relaxedFields(header: Uint8Array, fields: readonly SignedField[]): Buffer {
  return Buffer.concat(fields.flatMap(({ field }) => (field === undefined ? [] : [relaxedField(header, field), crlf])))
}

/** `name:value` without its line end (RFC 6376 §3.4.2). */
export function relaxedField(header: Uint8Array, field: HeaderField): Buffer {
  const value = Buffer.from(header.buffer, header.byteOffset + field.valueStart, field.end - field.valueStart)
  return Buffer.from(`${field.name}:${relaxed(value.toString('latin1'))}`, 'latin1')
}

/** A field of our own, before it is written: `value` may be folded. */
export function relaxedOwn(name: string, value: string): Buffer {
  return Buffer.from(`${name.toLowerCase()}:${relaxed(value)}`)
}

/** The relaxed octets of the one field of a header text: for fields that were just made. */
export function relaxedText(text: string): Buffer {
  const bytes = Buffer.from(text)
  const [field] = scanHeader(bytes).fields
  return field === undefined ? Buffer.alloc(0) : relaxedField(bytes, field)
}

const crlf = Buffer.from('\r\n')

const relaxed = (value: string): string =>
  value
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ')
    .replace(/^ | $/g, '')

/** `a=b; c=d`, one tag a line. */
export function tagList(tags: readonly (readonly [name: string, value: string])[]): string {
  return tags.map(([name, value]) => `${name}=${value}`).join(';\r\n\t')
}

/** Parts joined by `separator` over as many lines as it takes: `h=` lists, base 64. */
export function foldedTag(parts: readonly string[], separator = ''): string {
  let line = 0
  return parts
    .map((part, i) => {
      const text = i === parts.length - 1 ? part : part + separator
      const fold = i > 0 && line + text.length > 68
      line = fold ? text.length : line + text.length
      return fold ? `\r\n\t ${text}` : text
    })
    .join('')
}

/** Base 64 of a signature, in lines. */
export function foldedBase64(octets: Uint8Array): string {
  return foldedTag(
    Buffer.from(octets)
      .toString('base64')
      .match(/.{1,64}/g) ?? [],
  )
}
