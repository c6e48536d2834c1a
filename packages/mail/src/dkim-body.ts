// The body in relaxed canonicalisation (RFC 6376 §3.4.4), hashed as it streams: one pass, a few flags of state, the same
// cost for every octet whatever comes.
import { createHash, type Hash } from 'node:crypto'
import { scanHeader } from './header.ts'

const TAB = 9
const LF = 10
const CR = 13
const SP = 32
const manyLines = Buffer.from('\r\n'.repeat(8_192))

export class RelaxedBodyHash {
  readonly #hash: Hash = createHash('sha256')
  /** White space was seen and not yet written: it is one space, or nothing before a line end. */
  #space = false
  #cr = false
  /** Line ends not yet written: at the end of the body all but one are ignored. */
  #lines = 0
  #empty = true

  update(chunk: Uint8Array): void {
    // Each octet is written at most once, a held CR and space before it; line ends from before are hashed apart.
    const out = Buffer.allocUnsafe(chunk.length + 2)
    let at = 0
    for (let i = 0; i < chunk.length; i++) {
      const octet = chunk[i] as number
      if (this.#cr) {
        this.#cr = false
        if (octet === LF) {
          this.#space = false
          this.#lines++
          continue
        }
        at = this.#write(out, at, CR)
      }
      if (octet === CR) this.#cr = true
      else if (octet === SP || octet === TAB) this.#space = true
      else at = this.#write(out, at, octet)
    }
    this.#hash.update(out.subarray(0, at))
  }

  /** The hash, in base64. Once. */
  digest(): string {
    if (this.#cr) {
      const out = Buffer.allocUnsafe(2)
      this.#hash.update(out.subarray(0, this.#write(out, 0, CR)))
    }
    // RFC 6376 §3.4.4: a body that is not empty ends with CRLF; one of nothing but empty lines is empty.
    if (!this.#empty) this.#hash.update('\r\n')
    return this.#hash.digest('base64')
  }

  /** An octet that is no white space, after what was held back before it. */
  #write(out: Buffer, start: number, octet: number): number {
    let at = start
    // Nothing of this chunk is written yet: they may be more than it could hold.
    if (at === 0) this.#hashLines()
    for (; this.#lines > 0; this.#lines--) {
      out[at++] = CR
      out[at++] = LF
    }
    if (this.#space) {
      out[at++] = SP
      this.#space = false
    }
    out[at++] = octet
    this.#empty = false
    return at
  }

  #hashLines(): void {
    for (; this.#lines > 0; this.#lines -= Math.min(this.#lines, manyLines.length / 2)) {
      this.#hash.update(manyLines.subarray(0, this.#lines * 2))
    }
  }
}

/** The same of a whole message as it streams: what comes before the body is left out. The first chunk holds the whole header. */
export class MessageBodyHash {
  readonly #hash = new RelaxedBodyHash()
  #first = true

  update(chunk: Uint8Array): void {
    this.#hash.update(this.#first ? chunk.subarray(scanHeader(chunk).body) : chunk)
    this.#first = false
  }

  /** In base64. Once. */
  digest(): string {
    return this.#hash.digest()
  }
}
