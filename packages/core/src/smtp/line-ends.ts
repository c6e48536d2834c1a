// Looks for what must not be in a message that goes over lines: CR and LF of their own, and NUL. A loop over octets: most
// are greater than CR, and V8 makes of that what no native search with its text and hits comes near.

/** Why a body cannot be taken as it came, or sent on as it is. */
export type BodyFault = 'bare CR' | 'bare LF' | 'NUL'

export const NUL = 0
export const LF = 10
export const CR = 13

/** The same answer however the octets are cut into chunks. */
export class LineEnds {
  /** The first that was found. */
  fault: BodyFault | undefined
  #cr = false

  see(chunk: Uint8Array, from = 0, end = chunk.length): void {
    if (this.fault !== undefined || from >= end) return
    let at = from
    if (this.#cr) {
      if (chunk[at] === LF) at++
      else this.fault = 'bare CR'
    }
    this.#cr = chunk[end - 1] === CR
    for (; at < end; at++) {
      const octet = chunk[at] as number
      if (octet > CR) continue
      if (octet === CR) {
        if (at + 1 === end) break
        if (chunk[++at] !== LF) this.fault ??= 'bare CR'
      } else if (octet === LF) this.fault ??= 'bare LF'
      else if (octet === NUL) this.fault ??= 'NUL'
    }
  }

  /** Nothing more comes: a CR at the very end is bare. */
  end(): void {
    if (this.#cr) this.fault ??= 'bare CR'
    this.#cr = false
  }
}
