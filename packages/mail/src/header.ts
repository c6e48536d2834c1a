// The header block of a message, found and taken apart as offsets. Bytes stay where they are; nothing is decoded.
import { isUtf8 } from 'node:buffer'

/** One field, its folds, stray lines and final line end included: octets [start, end). `name` is in lower case. */
export interface HeaderField {
  readonly name: string
  readonly start: number
  /** After the colon. */
  readonly valueStart: number
  readonly end: number
}

/** `bytes` is lent, not copied: offsets are into it. */
export interface Header {
  readonly bytes: Uint8Array
  readonly fields: readonly HeaderField[]
  /** Where the last field, and what belongs to it, ends. */
  readonly end: number
  /** Where the body begins: after the empty line, or at {@link end} where there is none. */
  readonly body: number
}

const TAB = 9
const LF = 10
const CR = 13
const SP = 32
const COLON = 58

/**
 * Finds the fields and the end of the header: the first empty line. Tolerant as RFC 7103 §7 asks: lines may end in LF
 * alone, white space may precede the colon, and a line that is no field belongs to the field above it (before the
 * first field, an mbox `From ` line say, to none). So no reader down the line finds a field that was hidden from us.
 * Without an empty line the header ends after the last field, and what is left is body.
 */
export function scanHeader(bytes: Uint8Array): Header {
  const buffer = asBuffer(bytes)
  const length = buffer.length
  const fields: { name: string; start: number; valueStart: number; end: number }[] = []
  let end = 0
  // Where lines that are no fields began, since the last that was one.
  let stray = -1
  for (let at = 0; at < length; ) {
    const first = buffer[at]
    if (first === LF || (first === CR && buffer[at + 1] === LF)) {
      return { bytes, fields, end: at, body: at + (first === LF ? 1 : 2) }
    }
    const colon = colonOf(buffer, at)
    const next = endOfField(buffer, colon < 0 ? at : colon + 1)
    if (colon >= 0) {
      fields.push({ name: nameOf(buffer, at, colon), start: at, valueStart: colon + 1, end: next })
      stray = -1
      end = next
    } else {
      if (stray < 0) stray = at
      const above = fields[fields.length - 1]
      if (above) above.end = next
    }
    at = next
  }
  const above = fields[fields.length - 1]
  if (above) above.end = end
  return { bytes, fields, end, body: end }
}

/** The value on one line, white space around it taken off, not decoded. Octets that are not UTF-8 are read as Latin-1. */
export function unfold(bytes: Uint8Array, field: Pick<HeaderField, 'valueStart' | 'end'>): string {
  const buffer = asBuffer(bytes)
  let start = field.valueStart
  let end = field.end
  while (start < end && isBlank(buffer[start])) start++
  while (end > start && isBlank(buffer[end - 1])) end--
  const value = buffer.subarray(start, end)
  const text = isUtf8(value) ? value.toString('utf8') : value.toString('latin1')
  return text.includes('\n') ? text.replace(/\r?\n(?=[^ \t])/g, ' ').replace(/\r?\n/g, '') : text
}

/** Every value of that name (any case) from the top, unfolded. */
export function fieldValues(header: Header, name: string): readonly string[] {
  const wanted = name.toLowerCase()
  const values: string[] = []
  for (const field of header.fields) if (field.name === wanted) values.push(unfold(header.bytes, field))
  return values
}

/** The header at the start of a stream of octets, its empty line included; all of the stream where it has none. */
export async function headerOf(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  let header: Uint8Array = new Uint8Array(0)
  for await (const chunk of stream) {
    header = header.length === 0 ? chunk : Buffer.concat([header, chunk])
    const { body, end } = scanHeader(header)
    if (body > end) return header.subarray(0, body)
  }
  return header
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The colon of the field that begins here; -1 where none does. RFC 5322 §2.2 ftext, §4.5 white space before the colon. */
function colonOf(buffer: Buffer, start: number): number {
  let at = start
  let octet = buffer[at] ?? 0
  while (octet > SP && octet < 127 && octet !== COLON) octet = buffer[++at] ?? 0
  if (at === start) return -1
  while (octet === SP || octet === TAB) octet = buffer[++at] ?? 0
  return octet === COLON ? at : -1
}

/** After the line end that no white space follows. */
function endOfField(buffer: Buffer, from: number): number {
  let at = from
  for (;;) {
    const lf = buffer.indexOf(LF, at)
    if (lf < 0) return buffer.length
    at = lf + 1
    const octet = buffer[at]
    if (octet !== SP && octet !== TAB) return at
  }
}

function nameOf(buffer: Buffer, start: number, colon: number): string {
  let end = colon
  while (buffer[end - 1] === SP || buffer[end - 1] === TAB) end--
  return buffer.toString('latin1', start, end).toLowerCase()
}

function isBlank(octet: number | undefined): boolean {
  return octet === SP || octet === TAB || octet === CR || octet === LF
}
