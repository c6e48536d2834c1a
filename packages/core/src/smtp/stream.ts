// One byte stream from a client, cut into command lines and bodies. Replaces smtp-server's SMTPStream as the target of
// `socket.pipe()`. Knows CRLF and nothing else of SMTP; what lines mean is the connection's business.
import { Writable } from 'node:stream'
import { isPending } from '../awaitable.ts'
import type { Awaitable } from '../transaction.ts'
import type { BodyDecoder } from './body.ts'

/** What no command line can be. */
export type LineFault = 'bare CR' | 'bare LF' | 'NUL' | 'too long'

/** The other side of the stream. One call at a time: the next comes when the promise of the last has settled. */
export interface Wire {
  /** A line without its CRLF, lent for this call. */
  command(line: Buffer): Awaitable<void>
  /** A line that was no command; it is swallowed up to its CRLF. Called once for it. */
  malformed(fault: LineFault): Awaitable<void>
  /** Octets of the body that `receive` asked for, lent until this settles. `over`: these were the last. */
  body(octets: Buffer, over: boolean): Awaitable<void>
  /** Nothing more can be done in this tick: write what there is to say. */
  paused(): void
  /** The client will send no more. */
  ended(): void
  /** Something of ours threw. Nothing more will be called. */
  failed(error: unknown): void
}

const LF = 10
const CR = 13
// A chunk full of pipelined commands must not keep every other connection waiting.
const commandsPerTick = 100

export class SmtpStream extends Writable {
  /** Set by smtp-server when the connection closes and when TLS begins: what is still here is dropped unseen. */
  isClosed = false
  /** Octets of a command line without its CRLF. */
  lineLimit: number
  /** Octets received so far. */
  received = 0
  readonly #wire: Wire
  /** LF alone ends a command too. */
  readonly #lenient: boolean
  #decoder: BodyDecoder | undefined
  #partial: Buffer | undefined
  #swallowing = false
  #swallowedCr = false
  #held: (() => void) | undefined
  #holding = true
  #busy = false

  constructor(wire: Wire, options: { readonly lineLimit: number; readonly lenient: boolean; readonly hold: boolean }) {
    super({ decodeStrings: false })
    this.#wire = wire
    this.lineLimit = options.lineLimit
    this.#lenient = options.lenient
    this.#holding = options.hold
  }

  /** Waiting for the wire, not for the client. */
  get busy(): boolean {
    return this.#busy
  }

  /** A chunk came before `release`. */
  get pending(): boolean {
    return this.#held !== undefined
  }

  /** The greeting is out: commands may run. */
  release(): void {
    this.#holding = false
    const held = this.#held
    this.#held = undefined
    held?.()
  }

  /** The octets after the current command are a body, until the decoder is done. */
  receive(decoder: BodyDecoder): void {
    this.#decoder = decoder
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, next: () => void): void {
    this.received += chunk.length
    if (this.#holding) this.#held = () => this.#run(chunk, 0, next)
    else this.#run(chunk, 0, next)
  }

  override _final(done: () => void): void {
    try {
      if (!this.isClosed) this.#wire.ended()
    } catch (error) {
      this.#fail(error)
    }
    done()
  }

  #run(chunk: Buffer, from: number, next: () => void): void {
    let at = from
    let commands = 0
    try {
      while (at < chunk.length && !this.isClosed) {
        let wait: Awaitable<void>
        const decoder = this.#decoder
        if (decoder !== undefined) {
          const octets = decoder.decode(chunk, at)
          const over = decoder.done
          at = over ? decoder.next : chunk.length
          if (over) this.#decoder = undefined
          if (octets.length === 0 && !over) continue
          wait = this.#wire.body(octets, over)
        } else {
          const lf = chunk.indexOf(LF, at)
          wait = this.#line(chunk, at, lf)
          at = lf < 0 ? chunk.length : lf + 1
          commands++
        }
        const pause = isPending(wait) ? wait : commands >= commandsPerTick ? new Promise(setImmediate) : undefined
        if (pause !== undefined) {
          this.#resume(pause, chunk, at, next)
          return
        }
      }
      if (!this.isClosed) this.#wire.paused()
    } catch (error) {
      this.#fail(error)
    }
    next()
  }

  #resume(wait: Promise<unknown>, chunk: Buffer, at: number, next: () => void): void {
    this.#busy = true
    wait.then(
      () => {
        this.#busy = false
        this.#run(chunk, at, next)
      },
      error => {
        this.#busy = false
        this.#fail(error)
        next()
      },
    )
    try {
      this.#wire.paused()
    } catch (error) {
      // `wait` calls `next`.
      this.#fail(error)
    }
  }

  #fail(error: unknown): void {
    this.isClosed = true
    this.#wire.failed(error)
  }

  /** The octets from `from` to the line feed at `lf`, which is -1 where the chunk has no more. */
  #line(chunk: Buffer, from: number, lf: number): Awaitable<void> {
    if (this.#swallowing) return this.#swallow(chunk, from, lf)
    const held = this.#partial
    if (lf < 0) {
      const length = chunk.length - from + (held?.length ?? 0)
      // One more: the CR of a line that is just as long as allowed.
      if (length > this.lineLimit + 1) {
        this.#startSwallowing(chunk[chunk.length - 1] === CR)
        return this.#wire.malformed('too long')
      }
      // Copied, not kept: a view of a few octets would hold all of the chunk.
      const rest = chunk.subarray(from)
      this.#partial = held === undefined ? Buffer.from(rest) : Buffer.concat([held, rest])
      return
    }
    let line = chunk.subarray(from, lf)
    if (held !== undefined) {
      this.#partial = undefined
      line = Buffer.concat([held, line])
    }
    const crlf = line[line.length - 1] === CR
    if (crlf) line = line.subarray(0, line.length - 1)
    else if (!this.#lenient) {
      // RFC 5321 §2.3.8: a line ends with CRLF and nothing else, so this one goes on.
      this.#startSwallowing(false)
      return this.#wire.malformed('bare LF')
    }
    if (line.length > this.lineLimit) return this.#wire.malformed('too long')
    if (line.includes(CR)) return this.#wire.malformed('bare CR')
    if (line.includes(0)) return this.#wire.malformed('NUL')
    return this.#wire.command(line)
  }

  #startSwallowing(cr: boolean): void {
    this.#partial = undefined
    this.#swallowing = true
    this.#swallowedCr = cr
  }

  #swallow(chunk: Buffer, from: number, lf: number): void {
    if (lf < 0) this.#swallowedCr = chunk[chunk.length - 1] === CR
    else if (this.#lenient || (lf > from ? chunk[lf - 1] === CR : this.#swallowedCr)) this.#swallowing = false
    else this.#swallowedCr = false
  }
}
