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
const inRest = 4

const TAB = 9
const LF = 10
const CR = 13
const SP = 32
const COLON = 58

/** One for each message. Costs one native search a line and a look at each field name; the rest is never touched. */
export class HeaderCounter {
  /** Octets until the body, once `done`. */
  size = 0
  fields = 0
  lines = 0
  /** The header is at its end, or over a limit. */
  done = false
  /** The first limit that was passed: answer 552 5.3.4. */
  exceeded: 'size' | 'fields' | 'lines' | undefined
  readonly #limits: HeaderLimits
  #place = lineStart
  /** Octets seen in all. */
  #seen = 0
  #lineAt = 0
  /** Where lines that are no fields began, since the last that was one; -1 for none. */
  #stray = -1

  constructor(limits: HeaderLimits) {
    this.#limits = limits
  }

  /** Takes the next octets; true once `done`. What comes after that is ignored. */
  push(chunk: Uint8Array): boolean {
    const base = this.#seen
    const length = chunk.length
    for (let at = 0; at < length && !this.done; at++) {
      const octet = chunk[at] as number
      if (this.#place === inRest) {
        const lf = chunk.indexOf(LF, at)
        if (lf < 0) break
        at = lf
        this.#line(base + lf + 1)
      } else if (octet === LF) {
        if (this.#place === lineStart || this.#place === afterCr) this.#end(base + at + 1)
        else {
          this.#noField()
          this.#line(base + at + 1)
        }
      } else if (octet === COLON && (this.#place === inName || this.#place === beforeColon)) this.#field(base + at + 1)
      else this.#place = this.#after(octet)
    }
    this.#seen = base + length
    if (!this.done && this.#seen > this.#limits.size) this.#over('size')
    return this.done
  }

  /** No more octets will come: a header that no empty line closed ends after its last field. */
  finish(): void {
    if (this.done) return
    if (this.#place !== inRest && this.#place !== lineStart) this.#noField()
    this.size = this.#stray < 0 ? this.#seen : this.#stray
    this.done = true
  }

  /** The place after an octet that ends neither the name nor the line. */
  #after(octet: number): number {
    const place = this.#place
    if (octet === SP || octet === TAB) {
      if (place === inName || place === beforeColon) return beforeColon
      // A fold: of a field, of a stray line, or of nothing.
      if (place === lineStart && (this.fields > 0 || this.#stray >= 0)) return inRest
    } else if (place === lineStart && octet === CR) return afterCr
    else if ((place === lineStart || place === inName) && octet > SP && octet < 127 && octet !== COLON) return inName
    this.#noField()
    return inRest
  }

  // Limits are judged where the octet that decides stands, so that no split changes the answer.
  #field(looked: number): void {
    this.#place = inRest
    this.#stray = -1
    this.fields++
    if (looked > this.#limits.size) this.#over('size')
    else if (this.fields > this.#limits.fields) this.#over('fields')
  }

  #noField(): void {
    if (this.#stray < 0) this.#stray = this.#lineAt
  }

  #line(next: number): void {
    this.#place = lineStart
    this.#lineAt = next
    this.lines++
    if (next > this.#limits.size) this.#over('size')
    else if (this.lines > this.#limits.lines) this.#over('lines')
  }

  #end(size: number): void {
    this.size = size
    this.done = true
    this.#line(size)
  }

  #over(limit: 'size' | 'fields' | 'lines'): void {
    this.exceeded ??= limit
    this.done = true
  }
}
