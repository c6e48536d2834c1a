// The body of one message at the scripted peer: finds its end, takes the dots off, keeps octets or their SHA-256.
import { createHash, type Hash } from 'node:crypto'

interface Keeping {
  readonly keep?: 'bytes' | 'sha256' | 'count'
  readonly endOfData?: 'strict' | 'lenient'
}

const none: Buffer = Buffer.alloc(0)

export class PeerBody {
  readonly #lenient: boolean
  readonly #chunks: Buffer[] | undefined
  readonly #hash: Hash | undefined
  // The first line begins as if a line end were before it.
  #held: Buffer = Buffer.from('\r\n')
  #skip = 2
  size = 0

  constructor({ keep = 'bytes', endOfData }: Keeping) {
    this.#lenient = endOfData === 'lenient'
    if (keep === 'bytes') this.#chunks = []
    if (keep !== 'count') this.#hash = createHash('sha256')
  }

  /** Octets of DATA, dots stuffed: what follows the end, or undefined while there is none. */
  data(chunk: Buffer): Buffer | undefined {
    return this.#lenient ? this.#dataLenient(chunk) : this.#dataStrict(chunk)
  }

  /** Octets as they are: BDAT. */
  add(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.size += bytes.length
    this.#hash?.update(bytes)
    // The socket's buffer is ours to keep: Node does not reuse it.
    this.#chunks?.push(bytes)
  }

  kept(): { readonly sha256?: string; readonly bytes?: Buffer } {
    const sha256 = this.#hash?.copy().digest('hex')
    return {
      ...(sha256 === undefined ? {} : { sha256 }),
      ...(this.#chunks === undefined ? {} : { bytes: Buffer.concat(this.#chunks) }),
    }
  }

  #dataStrict(chunk: Buffer): Buffer | undefined {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    let start = 0
    for (let at = bytes.indexOf('\r\n.'); at >= 0; at = bytes.indexOf('\r\n.', at + 2)) {
      if (bytes.length < at + 5) {
        // Not enough behind the dot to know.
        this.#emit(bytes.subarray(start, at))
        this.#held = bytes.subarray(at)
        return undefined
      }
      this.#emit(bytes.subarray(start, at + 2))
      if (bytes[at + 3] === 13 && bytes[at + 4] === 10) {
        this.#held = none
        return bytes.subarray(at + 5)
      }
      start = at + 3
    }
    const keep = Math.max(start, bytes.length - 2)
    this.#emit(bytes.subarray(start, keep))
    this.#held = bytes.subarray(keep)
    return undefined
  }

  #dataLenient(chunk: Buffer): Buffer | undefined {
    const bytes = Buffer.concat([this.#held, chunk])
    const text = bytes.toString('latin1')
    const end = /(?:\r\n|\n|\r)\.(?:\r\n|\n|\r(?=[^\n]))/.exec(text)
    if (end === null) {
      this.#held = bytes
      return undefined
    }
    const dot = end.index + end[0].indexOf('.')
    this.#emit(Buffer.from(text.slice(0, dot).replace(/(\r\n|\n|\r)\./g, '$1'), 'latin1'))
    this.#held = none
    return bytes.subarray(end.index + end[0].length)
  }

  #emit(bytes: Buffer): void {
    const skip = Math.min(this.#skip, bytes.length)
    this.#skip -= skip
    this.add(bytes.subarray(skip))
  }
}
