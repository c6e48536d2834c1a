// Looks for what must not be in a message that goes over lines: CR and LF of their own, and NUL.

/** Why a body cannot be taken as it came, or sent on as it is. */
export type BodyFault = 'bare CR' | 'bare LF' | 'NUL'

export const NUL = 0
export const LF = 10
export const CR = 13

const faults: Readonly<Record<string, BodyFault>> = { '\r': 'bare CR', '\n': 'bare LF', '\0': 'NUL' }
// One native search up to the first hit; a loop over octets takes five times as long.
const bare = /\r(?!\n)|(?<!\r)\n|\0/

/** The same answer however the octets are cut into chunks. */
export class LineEnds {
  /** The first that was found. */
  fault: BodyFault | undefined
  #cr = false

  see(chunk: Buffer, from = 0, end = chunk.length): void {
    if (this.fault !== undefined || from >= end) return
    const lf = chunk[from] === LF
    const cr = chunk[end - 1] === CR
    if (this.#cr !== lf) this.fault = lf ? 'bare LF' : 'bare CR'
    else {
      // What hangs over the edges was judged here, or will be with the next chunk.
      const found = bare.exec(chunk.toString('latin1', lf ? from + 1 : from, cr ? end - 1 : end))
      if (found !== null) this.fault = faults[found[0]]
    }
    this.#cr = cr
  }

  /** Nothing more comes: a CR at the very end is bare. */
  end(): void {
    if (this.#cr) this.fault ??= 'bare CR'
    this.#cr = false
  }
}
