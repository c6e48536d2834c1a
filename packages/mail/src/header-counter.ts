// Finds the end of a header while it arrives, and holds it to its limits. Agrees with scanHeader at every split.

export interface HeaderLimits {
  /** Octets, the empty line included. */
  readonly size: number
  readonly fields: number
  /** Lines, folded ones and the empty one included. */
  readonly lines: number
}

// Where in a line the next octet is.
const lineStart = 0
const afterCr = 1
const inName = 2
const beforeColon = 3
const inValue = 4
const inEnvelope = 5

const TAB = 9
const LF = 10
const CR = 13
const SP = 32
const COLON = 58
const mbox = [70, 114, 111, 109, 32] // "From "

/** One for each message. Costs one native search a line and a look at each field name; the rest is never touched. */
export class HeaderCounter {
  /** Octets until the body, once `done`; until then, octets until the current line. */
  size = 0
  fields = 0
  lines = 0
  /** The header is at its end, or over a limit. */
  done = false
  /** The first limit that was passed: answer 552 5.3.4. */
  exceeded: 'size' | 'fields' | 'lines' | undefined
  readonly #limits: HeaderLimits
  #place: number = lineStart
  /** Octets seen in all. */
  #seen = 0
  /** Of the first line: how many of its octets are those of an mbox line; -1 when they are not. */
  #from = 0

  constructor(limits: HeaderLimits) {
    this.#limits = limits
  }

  /** Takes the next octets; true once `done`. What comes after that is ignored. */
  push(chunk: Uint8Array): boolean {
    if (this.done) return true
    const base = this.#seen
    const length = chunk.length
    let at = 0
    while (at < length && !this.done) {
      const octet = chunk[at] as number
      switch (this.#place) {
        case lineStart:
          if (octet === LF) this.#end(base + at + 1, 1)
          else if (octet === CR) {
            this.#place = afterCr
            at++
          } else if (octet === SP || octet === TAB) {
            if (this.fields === 0) this.#noField(base + at + 1)
            else this.#place = inValue
          } else if (octet > SP && octet < 127 && octet !== COLON) this.#place = inName
          else this.#noField(base + at + 1)
          break
        case afterCr:
          if (octet === LF) this.#end(base + at + 1, 1)
          else this.#noField(base + at + 1)
          break
        case inName:
          if (this.#from >= 0 && this.#from < 5) this.#from = octet === mbox[this.#from] ? this.#from + 1 : -1
          if (octet === COLON) this.#field(base + at + 1)
          else if (octet === SP || octet === TAB) this.#place = beforeColon
          else if (octet < SP || octet > 126) this.#noField(base + at + 1)
          if (!this.#inEnvelope) at++
          break
        case beforeColon:
          if (octet === COLON) this.#field(base + at + 1)
          else if (octet !== SP && octet !== TAB) this.#noField(base + at + 1)
          if (!this.#inEnvelope) at++
          break
        default: {
          const lf = chunk.indexOf(LF, at)
          at = lf < 0 ? length : lf + 1
          if (lf >= 0) this.#line(base + at)
        }
      }
    }
    this.#seen = base + length
    if (!this.done && this.#seen > this.#limits.size) this.#over('size')
    return this.done
  }

  /** No more octets will come: a header that was not closed ends here. */
  finish(): void {
    if (this.done) return
    const whole = this.#place === inValue || this.#place === inEnvelope || this.#from === 5
    this.#end(whole ? this.#seen : this.size, 0)
  }

  get #inEnvelope(): boolean {
    return this.#place === inEnvelope
  }

  // `looked`: octets up to and with the one that decided. Limits are judged by it, so that no split changes them.
  #field(looked: number): void {
    this.#place = inValue
    this.#from = -1
    this.fields++
    if (looked > this.#limits.size) this.#over('size')
    else if (this.fields > this.#limits.fields) this.#over('fields')
  }

  #noField(looked: number): void {
    if (looked > this.#limits.size) this.#over('size')
    else if (this.#from === 5) this.#place = inEnvelope
    else this.#end(this.size, 0)
    this.#from = -1
  }

  #line(next: number): void {
    this.size = next
    this.#place = lineStart
    this.#from = -1
    this.lines++
    if (next > this.#limits.size) this.#over('size')
    else if (this.lines > this.#limits.lines) this.#over('lines')
  }

  #end(size: number, lines: number): void {
    this.size = size
    this.lines += lines
    this.done = true
    if (size > this.#limits.size) this.#over('size')
    else if (this.lines > this.#limits.lines) this.#over('lines')
  }

  #over(limit: 'size' | 'fields' | 'lines'): void {
    this.exceeded ??= limit
    this.done = true
  }
}
