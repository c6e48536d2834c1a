// Message octets as they cross the wire, made plain: DATA with its dots (RFC 5321 §4.5.2), BDAT by count (RFC 3030).
// It looks for bare CR, bare LF and NUL in the same pass. Knows no limits and no sink.
import { type BodyFault, CR, LF, LineEnds, NUL } from './line-ends.ts'

/**
 * `refuse`: report bare CR and LF. `normalise`: make them CRLF. `binary`: let everything through (BODY=BINARYMIME).
 * NUL is a fault in the first two.
 */
export type BodyMode = 'refuse' | 'normalise' | 'binary'

/** Takes a body apart chunk by chunk. Results of `decode` are good until the next call. */
export interface BodyDecoder {
  /** The first fault found. Later output is of no use, but the end is still found where it really is. */
  readonly fault: BodyFault | undefined
  /** The body (or the chunk of BDAT) is over; `next` is the first octet after it. */
  readonly done: boolean
  readonly next: number
  /** Plain octets, a view of `chunk` where that could be done: `chunk` is overwritten. */
  decode(chunk: Buffer, from: number): Buffer
}

// Where the last octet left us. `start`: after CRLF or at the very start, the only place where a dot means something.
const start = 0
const middle = 1
const afterCr = 2
const afterDot = 3
const afterDotCr = 4
type Place = typeof start | typeof middle | typeof afterCr | typeof afterDot | typeof afterDotCr

const DOT = 46
// What needs a look in the middle of text. One native search is five times as fast as a loop over ordinary lines, but dear
// per hit, so a chunk gets few of them and then the loop: flat cost whatever the content.
const special = /\r(?!\n)|(?<!\r)\n|\n\.|\0/g
const maxSearches = 8
const worthSearching = 256
const none = Buffer.alloc(0)

/** DATA: ends on CRLF.CRLF and nothing else, and removes the dot that begins a line. */
export class DotDecoder implements BodyDecoder {
  fault: BodyFault | undefined
  done = false
  next = 0
  readonly #normalise: boolean
  #place: Place = start

  constructor(mode: BodyMode = 'refuse') {
    this.#normalise = mode === 'normalise'
  }

  decode(chunk: Buffer, from: number): Buffer {
    return this.#normalise ? this.#rewrite(chunk, from) : this.#inPlace(chunk, from)
  }

  #inPlace(chunk: Buffer, from: number): Buffer {
    const length = chunk.length
    let text: string | undefined
    let searches = 0
    let place = this.#place
    let read = from
    let write = from
    while (read < length) {
      const searching = searches < maxSearches && length - read > worthSearching
      if (searching && place === middle) {
        searches++
        text ??= chunk.toString('latin1', from, length)
        special.lastIndex = read - from
        const found = special.exec(text)
        const stop = found === null ? length : from + found.index
        if (write !== read && stop > read) chunk.copyWithin(write, read, stop)
        write += stop - read
        read = stop
        if (found === null) {
          if (chunk[length - 1] === LF) place = start
          break
        }
        // A line feed before a dot matches at the line feed, and its CR is behind us.
        if (chunk[read] === LF && read > from && text.charCodeAt(read - from - 1) === CR) place = afterCr
      } else if (!searching && (place === start || place === middle)) {
        // A dot with CR behind it may be the end: that, and all else that is not text, is looked at below.
        if (place === start && chunk[read] === DOT && read + 1 < length && chunk[read + 1] !== CR) {
          read++
          place = middle
        }
        if (place === middle || chunk[read] !== DOT) {
          for (let octet = chunk[read] as number; octet > CR; octet = chunk[read] as number) {
            chunk[write++] = octet
            place = middle
            if (++read === length) break
          }
          if (read === length) break
          if (chunk[read] === CR && read + 1 < length && chunk[read + 1] === LF) {
            chunk[write++] = CR
            chunk[write++] = LF
            read += 2
            place = start
            continue
          }
        }
      }
      const octet = chunk[read++] as number
      switch (place) {
        case start:
          if (octet === DOT) {
            place = afterDot
            continue
          }
          break
        case afterDot:
          if (octet === CR) {
            place = afterDotCr
            continue
          }
          // RFC 5321 §4.5.2: the dot goes, whatever follows it on the line.
          break
        case afterCr:
          if (octet === LF) {
            chunk[write++] = LF
            place = start
            continue
          }
          this.fault ??= 'bare CR'
          break
        case afterDotCr:
          if (octet === LF) {
            this.#place = start
            this.done = true
            this.next = read
            return chunk.subarray(from, write)
          }
          this.fault ??= 'bare CR'
      }
      if (octet === CR) place = afterCr
      else {
        if (octet === LF) this.fault ??= 'bare LF'
        else if (octet === NUL) this.fault ??= 'NUL'
        place = middle
      }
      chunk[write++] = octet
    }
    this.#place = place
    return chunk.subarray(from, write)
  }

  /** As in place, with CR and LF of their own made CRLF. A line made so does not start a line to the dots. */
  #rewrite(chunk: Buffer, from: number): Buffer {
    const out = Buffer.allocUnsafe((chunk.length - from) * 2 + 2)
    let write = 0
    let place = this.#place
    let read = from
    for (; read < chunk.length; read++) {
      const octet = chunk[read] as number
      if (place === start && octet === DOT) {
        place = afterDot
        continue
      }
      if (place === afterDot && octet === CR) {
        place = afterDotCr
        continue
      }
      if (place === afterDotCr && octet === LF) {
        this.done = true
        this.next = read + 1
        this.#place = start
        return out.subarray(0, write)
      }
      if (place === afterCr || place === afterDotCr) {
        out[write++] = CR
        out[write++] = LF
        if (octet === LF) {
          place = start
          continue
        }
      }
      place = middle
      if (octet === CR) place = afterCr
      else if (octet === LF) {
        out[write++] = CR
        out[write++] = LF
      } else {
        if (octet === NUL) this.fault ??= 'NUL'
        out[write++] = octet
      }
    }
    this.#place = place
    return out.subarray(0, write)
  }
}

/** BDAT: `begin` for each chunk; CR at the end of one and LF at the start of the next belong together. */
export class ChunkDecoder implements BodyDecoder {
  next = 0
  readonly #mode: BodyMode
  readonly #ends = new LineEnds()
  #left = 0
  /** Held back: what follows it decides whether it is bare. */
  #cr = false

  constructor(mode: BodyMode = 'refuse') {
    this.#mode = mode
  }

  /** A BDAT command announced so many octets. */
  begin(size: number): void {
    this.#left = size
  }

  get done(): boolean {
    return this.#left === 0
  }

  get fault(): BodyFault | undefined {
    return this.#ends.fault
  }

  decode(chunk: Buffer, from: number): Buffer {
    const end = Math.min(chunk.length, from + this.#left)
    this.#left -= end - from
    this.next = end
    if (end === from) return none
    if (this.#mode === 'binary') return chunk.subarray(from, end)
    if (this.#mode === 'normalise') return this.#rewrite(chunk, from, end)
    this.#ends.see(chunk, from, end)
    return chunk.subarray(from, end)
  }

  /** After the last chunk: what was held back for an octet that will not come. */
  finish(): Buffer {
    this.#ends.end()
    if (!this.#cr) return none
    this.#cr = false
    return Buffer.from('\r\n')
  }

  #rewrite(chunk: Buffer, from: number, end: number): Buffer {
    const out = Buffer.allocUnsafe((end - from) * 2 + 2)
    let write = 0
    for (let read = from; read < end; read++) {
      const octet = chunk[read] as number
      if (this.#cr) {
        this.#cr = false
        out[write++] = CR
        out[write++] = LF
        if (octet === LF) continue
      }
      if (octet === CR) this.#cr = true
      else if (octet === LF) {
        out[write++] = CR
        out[write++] = LF
      } else {
        if (octet === NUL) this.#ends.fault ??= 'NUL'
        out[write++] = octet
      }
    }
    return out.subarray(0, write)
  }
}
