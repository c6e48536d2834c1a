// A message's octets on their way out: looked at, dots stuffed, gathered. Native scans, nothing per line; flat cost per
// octet whatever the content.
import { isAscii } from 'node:buffer'
import { CR, LF, LineEnds } from '../line-ends.ts'
import { lendRoom } from './room.ts'

/** Up to this size a message is read, judged and written as one. */
export const inOne = 65_536

const DOT = 46
const dotLine = Buffer.from('\n.')
const emptyLine = Buffer.from('\r\n\r\n')

/** What a message needs of a peer. `clean`: no bare CR or LF, no NUL. */
export interface Content {
  readonly clean: boolean
  readonly eightBit: boolean
  readonly eightBitHeader: boolean
}

/**
 * Looks at a message as it passes; the same answer however it is cut into chunks. RFC 5321 §2.3.8: CR and LF only together.
 * A server that takes one of them for a line end can be made to see the end of a message, and another message, where we
 * see text. NUL: RFC 5321 §4.5.2 with RFC 3030 §3.
 */
export class Inspector {
  eightBit = false
  eightBitHeader = false
  octets = 0
  readonly #ends = new LineEnds()
  #inHeader = true
  // A message that begins with an empty line has no header.
  #tail: Buffer = Buffer.from('\r\n')

  get clean(): boolean {
    return this.#ends.fault === undefined
  }

  see(chunk: Buffer): void {
    if (chunk.length === 0) return
    const ascii = isAscii(chunk)
    if (!ascii) this.eightBit = true
    if (this.#inHeader) this.#seeHeader(chunk, ascii)
    this.#ends.see(chunk)
    this.octets += chunk.length
  }

  /** Nothing more comes. */
  end(): Content {
    this.#ends.end()
    return { clean: this.clean, eightBit: this.eightBit, eightBitHeader: this.eightBitHeader }
  }

  #seeHeader(chunk: Buffer, ascii: boolean): void {
    // The empty line may lie across the edge.
    const edge = Buffer.concat([this.#tail, chunk.subarray(0, 3)])
    const across = edge.indexOf(emptyLine)
    const end = across < 0 ? chunk.indexOf(emptyLine) : Math.max(0, across - this.#tail.length)
    if (!ascii && !isAscii(end < 0 ? chunk : chunk.subarray(0, end))) this.eightBitHeader = true
    if (end >= 0) this.#inHeader = false
    else this.#tail = Buffer.concat([this.#tail, chunk.subarray(-3)]).subarray(-3)
  }
}

/** Takes the place of an {@link Inspector} where what it would say is known, or of no matter. */
export class Counter {
  readonly clean = true
  octets = 0

  see(chunk: Buffer): void {
    this.octets += chunk.length
  }

  end(): { readonly clean: boolean } {
    return this
  }
}

/** Doubles the dots that begin lines (RFC 5321 §4.5.2), chunk by chunk. Lines end in CRLF: see {@link Inspector}. */
export class Stuffer {
  #last = LF
  #beforeLast = CR

  /** The chunk itself where no dot is in the way. */
  push(chunk: Buffer): Buffer {
    const start = this.#last
    if (chunk.length > 1) this.#beforeLast = chunk[chunk.length - 2] as number
    else if (chunk.length === 1) this.#beforeLast = this.#last
    if (chunk.length > 0) this.#last = chunk[chunk.length - 1] as number
    return (start === LF && chunk[0] === DOT) || chunk.includes(dotLine) ? stuff(chunk, start) : chunk
  }

  /** The end of data: a line of one dot, behind a line end that is added where there is none. */
  end(): string {
    return this.#last === LF && this.#beforeLast === CR ? '.\r\n' : '\r\n.\r\n'
  }
}

function stuff(chunk: Buffer, before: number): Buffer {
  const out = Buffer.allocUnsafe(chunk.length * 2)
  let at = 0
  let last = before
  for (let i = 0; i < chunk.length; i++) {
    const octet = chunk[i] as number
    if (octet === DOT && last === LF) out[at++] = DOT
    out[at++] = octet
    last = octet
  }
  return out.subarray(0, at)
}

/** A whole message in memory as DATA wants it, its end included. */
export function stuffed(pieces: readonly Uint8Array[]): Buffer {
  const stuffer = new Stuffer()
  const parts = pieces.map(piece => stuffer.push(asBuffer(piece)))
  parts.push(Buffer.from(stuffer.end()))
  return Buffer.concat(parts)
}

/** All of a small message. More than `size` octets is an error of whoever keeps it: undefined. */
export async function gather(
  source: AsyncIterable<Uint8Array>,
  size: number,
): Promise<readonly Uint8Array[] | undefined> {
  const pieces: Uint8Array[] = []
  let octets = 0
  for await (const piece of source) {
    octets += piece.length
    if (octets > size) return undefined
    pieces.push(piece)
  }
  return pieces
}

/** The same octets in chunks of `least` or more, but the last. */
export async function* coalesced(source: AsyncIterable<Uint8Array>, least: number): AsyncGenerator<Buffer> {
  let held: Buffer[] = []
  let octets = 0
  for await (const chunk of source) {
    if (chunk.length === 0) continue
    if (octets === 0 && chunk.length >= least) {
      yield asBuffer(chunk)
      continue
    }
    held.push(asBuffer(chunk))
    octets += chunk.length
    if (octets < least) continue
    yield Buffer.concat(held, octets)
    held = []
    octets = 0
  }
  if (octets > 0) yield Buffer.concat(held, octets)
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Octets of all pieces. */
export function lengthOf(pieces: readonly Uint8Array[]): number {
  let length = 0
  for (const piece of pieces) length += piece.length
  return length
}

/** `BDAT` and its octets in one piece (RFC 3030 §2), behind commands that go `before`. Lent, as by {@link lendRoom}. */
export function bdat(pieces: readonly Uint8Array[], last: boolean, before = ''): Buffer {
  const octets = lengthOf(pieces)
  const command = `${before}BDAT ${octets}${last ? ' LAST' : ''}\r\n`
  let at = Buffer.byteLength(command)
  const out = lendRoom(at + octets)
  out.write(command)
  for (const piece of pieces) {
    out.set(piece, at)
    at += piece.length
  }
  return out
}
