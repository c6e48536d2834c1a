// DKIM-Signature fields (RFC 6376 §3.5, RFC 8463): which header fields are signed, what is hashed of them, and the
// signature, made on the thread pool.
import { createHash, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { type Header, type HeaderField, scanHeader } from '@posthorn/mail'

const signAsync = promisify(sign)

/** A key at work. */
export interface SigningKey {
  readonly domain: string
  readonly selector: string
  readonly key: KeyObject
}

export interface SignatureOptions {
  /** Names in lower case, in the order of `h=`. */
  readonly headers: readonly string[]
  /** Those that may not be added later either: named once more than they stand there. */
  readonly oversign: ReadonlySet<string>
  /** Seconds since the epoch. */
  readonly time: number
  /** Seconds after `time`. */
  readonly expire?: number
  /** The body's hash, relaxed. */
  readonly bodyHash: string
}

/** The value of a DKIM-Signature field over `header`, the header as it will be sent. Rejects where the key cannot sign. */
export async function dkimSignature(header: Uint8Array, key: SigningKey, options: SignatureOptions): Promise<string> {
  const fields = signedFields(scanHeader(header), options)
  const ed25519 = key.key.asymmetricKeyType === 'ed25519'
  const tags = [
    'v=1',
    `a=${ed25519 ? 'ed25519' : 'rsa'}-sha256`,
    'c=relaxed/relaxed',
    `d=${key.domain}`,
    `s=${key.selector}`,
    `t=${options.time}`,
    ...(options.expire === undefined ? [] : [`x=${options.time + options.expire}`]),
    `h=${folded(
      fields.map(f => f.name),
      ':',
    )}`,
    `bh=${options.bodyHash}`,
    'b=',
  ]
  const unsigned = tags.join(';\r\n\t')
  const data = Buffer.concat([
    ...fields.flatMap(f => (f.field === undefined ? [] : [relaxedField(header, f.field), crlf])),
    // RFC 6376 §3.7: the field itself, its b= empty, without its line end.
    Buffer.from(`dkim-signature:${relaxedText(unsigned)}`),
  ])
  // RFC 8463 §3: Ed25519 signs the SHA-256 of what RSA would sign.
  const signature = ed25519
    ? await signAsync(null, createHash('sha256').update(data).digest(), key.key)
    : await signAsync('sha256', data, key.key)
  return unsigned + folded(signature.toString('base64').match(/.{1,70}/g) ?? [], '')
}

const crlf = Buffer.from('\r\n')

const folded = (parts: readonly string[], separator: string): string => {
  let line = 0
  return parts
    .map((part, i) => {
      const text = i === parts.length - 1 ? part : part + separator
      if (i > 0 && line + text.length > 68) {
        line = text.length
        return `\r\n\t ${text}`
      }
      line += text.length
      return text
    })
    .join('')
}

/** RFC 6376 §5.4.2: instances from the bottom up; a name said once more than it stands there signs its absence. */
function signedFields(
  { fields }: Header,
  { headers, oversign }: SignatureOptions,
): { readonly name: string; readonly field: HeaderField | undefined }[] {
  const chosen: { name: string; field: HeaderField | undefined }[] = []
  for (const name of headers) {
    for (const field of fields.filter(f => f.name === name).reverse()) chosen.push({ name, field })
    if (oversign.has(name)) chosen.push({ name, field: undefined })
  }
  return chosen
}

/** RFC 6376 §3.4.2, over octets: a header may hold what is no UTF-8. */
function relaxedField(header: Uint8Array, field: HeaderField): Buffer {
  const value = Buffer.from(header.buffer, header.byteOffset + field.valueStart, field.end - field.valueStart)
  return Buffer.from(`${field.name}:${relaxedText(value.toString('latin1'))}`, 'latin1')
}

function relaxedText(value: string): string {
  return value
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ')
    .replace(/^ | $/g, '')
}
