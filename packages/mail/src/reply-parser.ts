// What a peer answers, parsed as it arrives: any split of the octets gives the same replies. Bounded.
// Tolerant of lines that end in a bare LF; of nothing else.

/** `lines` without codes: the basic code, and the enhanced one where the line begins with `enhanced`, are taken off. */
export interface PeerReply {
  readonly code: number
  readonly enhanced?: string
  readonly lines: readonly string[]
}

export interface ReplyLimits {
  /** Octets of one line, its end included. Default 4,096. */
  readonly line?: number
  /** Lines of one reply. Default 100. */
  readonly lines?: number
  /** Octets of one reply. Default 65,536. */
  readonly octets?: number
}

const LF = 10
const CR = 13
const noBytes: Buffer = Buffer.alloc(0)

/** One for each connection. After a fault nothing more is parsed: hang up. */
export class ReplyParser {
  #rest: Buffer = noBytes
  #code = 0
  #lines: string[] = []
  #octets = 0
  #fault: string | undefined
  readonly #maxLine: number
  readonly #maxLines: number
  readonly #maxOctets: number

  constructor(limits: ReplyLimits = {}) {
    this.#maxLine = limits.line ?? 4096
    this.#maxLines = limits.lines ?? 100
    this.#maxOctets = limits.octets ?? 65_536
  }

  /** What is wrong with what the peer sent. Replies that were complete before it have been given out. */
  get fault(): string | undefined {
    return this.#fault
  }

  /** Octets of an unfinished reply are waiting: after STARTTLS's reply that is an injection. */
  get pending(): boolean {
    return this.#rest.length > 0 || this.#lines.length > 0
  }

  /** The replies that this chunk completes; the chunk may be reused afterwards. Look at {@link fault} too. */
  push(chunk: Uint8Array): readonly PeerReply[] {
    const replies: PeerReply[] = []
    if (this.#fault !== undefined) return replies
    const fresh = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const first = fresh.indexOf(LF)
    const held = this.#rest.length
    if (held > 0 && held + (first < 0 ? fresh.length : first + 1) > this.#maxLine) {
      this.#fail('reply line too long')
      return replies
    }
    const bytes = held > 0 ? Buffer.concat([this.#rest, fresh]) : fresh
    let start = 0
    for (
      let end = held > 0 && first >= 0 ? first + held : held > 0 ? -1 : first;
      end >= 0;
      end = bytes.indexOf(LF, start)
    ) {
      const reply = this.#line(bytes, start, end)
      start = end + 1
      if (reply) replies.push(reply)
      if (this.#fault !== undefined) return replies
    }
    if (bytes.length - start >= this.#maxLine) this.#fail('reply line too long')
    // Copied: the chunk is the socket's.
    else this.#rest = start === bytes.length ? noBytes : Buffer.from(bytes.subarray(start))
    return replies
  }

  #line(bytes: Buffer, start: number, lf: number): PeerReply | undefined {
    const size = lf + 1 - start
    this.#octets += size
    const end = lf > start && bytes[lf - 1] === CR ? lf - 1 : lf
    const code = codeAt(bytes, start, end)
    const separator = end - start === 3 ? 32 : bytes[start + 3]
    if (size > this.#maxLine) return this.#fail('reply line too long')
    if (code === 0 || (separator !== 32 && separator !== 45)) return this.#fail('not an SMTP reply')
    if (this.#lines.length === this.#maxLines || this.#octets > this.#maxOctets) return this.#fail('reply too long')
    if (this.#lines.length > 0 && code !== this.#code) return this.#fail('codes differ within one reply')
    this.#code = code
    this.#lines.push(bytes.toString('utf8', Math.min(start + 4, end), end))
    if (separator === 45) return undefined
    const lines = this.#lines
    this.#lines = []
    this.#octets = 0
    return complete(code, lines)
  }

  #fail(fault: string): undefined {
    this.#fault = fault
    this.#rest = noBytes
    this.#lines = []
  }
}

// RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39; a second digit over 5 is let through, as everybody does.
function codeAt(bytes: Buffer, start: number, end: number): number {
  if (end - start < 3) return 0
  const a = (bytes[start] ?? 0) - 48
  const b = (bytes[start + 1] ?? 0) - 48
  const c = (bytes[start + 2] ?? 0) - 48
  if (a < 2 || a > 5 || b < 0 || b > 9 || c < 0 || c > 9) return 0
  return a * 100 + b * 10 + c
}

// RFC 2034 §4: the class of the enhanced code is the first digit of the basic one.
const enhancedForm = /^[245]\.\d{1,3}\.\d{1,3}(?=[ \t]|$)/

function complete(code: number, lines: readonly string[]): PeerReply {
  const enhanced = enhancedForm.exec(lines[0] ?? '')?.[0]
  if (enhanced === undefined || enhanced.charCodeAt(0) - 48 !== Math.trunc(code / 100)) return { code, lines }
  return { code, enhanced, lines: lines.map(line => without(enhanced, line)) }
}

function without(enhanced: string, line: string): string {
  if (!line.startsWith(enhanced)) return line
  const next = line[enhanced.length]
  if (next === undefined) return ''
  return next === ' ' || next === '\t' ? line.slice(enhanced.length + 1) : line
}
