// DKIM-Signature fields (RFC 6376 §3.5, RFC 8463).
import { foldedBase64, foldedTag, relaxedFields, relaxedOwn, scanHeader, signedFields, tagList } from '@posthorn/mail'
import type { SigningKey } from './keys.ts'

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
  const fields = signedFields(scanHeader(header), options.headers, options.oversign)
  const { time, expire, bodyHash } = options
  const unsigned = tagList([
    ['v', '1'],
    ['a', key.algorithm],
    ['c', 'relaxed/relaxed'],
    ['d', key.domain],
    ['s', key.selector],
    ['t', String(time)],
    ...(expire === undefined ? [] : ([['x', String(time + expire)]] as const)),
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
  // RFC 6376 §3.7: the field itself comes last, its b= empty, without a line end.
  const data = Buffer.concat([relaxedFields(header, fields), relaxedOwn('DKIM-Signature', unsigned)])
  return unsigned + foldedBase64(await key.sign(data))
}
