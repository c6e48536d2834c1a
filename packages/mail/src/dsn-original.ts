// The third part of a report: the message that it is about, or its header (RFC 6522 §3, RFC 6533 §4.2 and §4.3).
import { isAscii, isUtf8 } from 'node:buffer'
import { scanHeader } from './header.ts'
import { encodeQuotedPrintable } from './quoted-printable.ts'

export interface ReturnedPart {
  readonly type: 'message/rfc822' | 'message/global' | 'text/rfc822-headers' | 'message/global-headers'
  readonly encoding: '7bit' | '8bit' | 'quoted-printable'
  readonly bytes: Uint8Array
  readonly whole: boolean
}

const NUL = 0

/** `utf8`: the report may be SMTPUTF8. A message with NUL, bare CR or bare LF cannot go in one: then its header does. */
export function returnedPart(original: Uint8Array, what: 'full' | 'headers', utf8: boolean): ReturnedPart {
  const header = scanHeader(original)
  const head = Buffer.from(original.subarray(header.fields[0]?.start ?? header.end, header.end))
  // What was not sent as SMTPUTF8 goes back as the message/rfc822 that it was taken for, raw UTF-8 in its header or not.
  const global = utf8 && !isAscii(head) && isUtf8(head)
  if (what === 'full' && canBeSent(original)) {
    const type = global ? 'message/global' : 'message/rfc822'
    // RFC 2046 §5.2.1: message/rfc822 is never encoded.
    return { type, encoding: isAscii(original) ? '7bit' : '8bit', bytes: original, whole: true }
  }
  const lines = Buffer.from(head.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1')
  const fit = canBeSent(lines)
  if (fit && global) return { type: 'message/global-headers', encoding: '8bit', bytes: lines, whole: false }
  const type = 'text/rfc822-headers'
  if (fit && isAscii(lines)) return { type, encoding: '7bit', bytes: lines, whole: false }
  // Encoded as text: readers decode no message type (RFC 2046 §5.2), those of RFC 6533 included.
  return { type, encoding: 'quoted-printable', bytes: Buffer.from(encodeQuotedPrintable(lines)), whole: false }
}

/** As 7bit or 8bit (RFC 2045 §2.7, §2.8), but for long lines, which pass as they came. */
function canBeSent(bytes: Uint8Array): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return !buffer.includes(NUL) && !/\r(?!\n)|(?<!\r)\n/.test(buffer.toString('latin1'))
}
