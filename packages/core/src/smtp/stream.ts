// One byte stream from a client, cut into command lines and bodies. Replaces smtp-server's SMTPStream as the target of
// `socket.pipe()`. Knows CRLF and nothing else of SMTP; what lines mean is the connection's business.
import { EventEmitter } from 'node:events'
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
  /** Octets of the body that `receive` asked for, lent for this call. `over`: these were the last. */
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

/** Octets that may wait while the wire is busy; with more the socket is not read. */
const highWaterMark = 16_384

/**
 * What `socket.pipe()` needs of its target and no more: a Writable of Node's calls back through the tick queue for every
 * chunk, which is a good part of what a command costs.
 */
export class SmtpStream extends EventEmitter {
  /** Set by smtp-server when the connection closes and when TLS begins: what is still here is dropped unseen. */
  isClosed = false
  /** Octets of a command line without its CRLF. */
  lineLimit: number
  /** Octets seen so far. */
  received = 0
  /** Asked by `pipe`: more than enough waits, `drain` says when it does not. */
  writableNeedDrain = false
  readonly #wire: Wire
  /** LF alone ends a command too. */
  readonly #lenient: boolean
  #decoder: BodyDecoder | undefined
  #partial: Buffer | undefined
  #swallowing = false
  #swallowedCr = false
  #holding = true
  #busy = false
  #running = false
  /** Chunks behind the one at work, and the octets of all. */
  #waiting: Buffer[] = []
  #octets = 0
  #ending = false

  constructor(wire: Wire, options: { readonly lineLimit: number; readonly lenient: boolean; readonly hold: boolean }) {
    super()
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
    return this.#holding && this.#waiting.length > 0
  }

  /** The greeting is out: commands may run. */
  release(): void {
    this.#holding = false
    this.#next()
  }

  /** The octets after the current command are a body, until the decoder is done. */
  receive(decoder: BodyDecoder): void {
    this.#decoder = decoder
  }

  /** False where the socket shall not be read until `drain`. */
  write(chunk: Buffer): boolean {
    this.#octets += chunk.length
    this.#waiting.push(chunk)
    if (!this.#running) this.#next()
    if (this.#octets >= highWaterMark) this.writableNeedDrain = true
    return !this.writableNeedDrain
  }

  /** As `write`, of a chunk that is lent for this call: what has to wait is copied. */
  lend(chunk: Buffer): boolean {
    if (this.#running || this.#holding) return this.write(Buffer.from(chunk))
    this.#octets += chunk.length
    this.received += chunk.length
    this.#running = true
    if (this.#run(chunk, 0, true)) this.#next()
    if (this.#octets >= highWaterMark) this.writableNeedDrain = true
    return !this.writableNeedDrain
  }

  /** The client will send no more. `finish` comes when all that it sent was seen. */
  end(): void {
    this.#ending = true
    if (!this.#running) this.#next()
  }

  /** Takes chunks as they came until the wire needs time. */
  #next(): void {
    if (this.pending) return
    this.#running = true
    for (let chunk = this.#waiting.shift(); chunk !== undefined; chunk = this.#waiting.shift()) {
      this.received += chunk.length
      if (!this.#run(chunk, 0)) return
    }
    this.#running = false
    if (this.writableNeedDrain) {
      this.writableNeedDrain = false
      this.emit('drain')
    }
    if (!this.#ending) return
    this.#ending = false
    try {
      if (!this.isClosed) this.#wire.ended()
    } catch (error) {
      this.#fail(error)
    }
    this.emit('finish')
  }

  /** False where the rest of the chunk has to wait; what goes on then goes on by itself. */
  #run(chunk: Buffer, from: number, lent = false): boolean {
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
          if (lent) {
            this.#octets -= at
            this.#resume(pause, Buffer.from(chunk.subarray(at)), 0)
          } else this.#resume(pause, chunk, at)
          return false
        }
      }
      if (!this.isClosed) this.#wire.paused()
    } catch (error) {
      this.#fail(error)
    }
    this.#octets -= chunk.length
    return true
  }

  #resume(wait: Promise<unknown>, chunk: Buffer, at: number): void {
    this.#busy = true
    wait.then(
      () => {
        this.#busy = false
        if (this.#run(chunk, at)) this.#next()
      },
      error => {
        this.#busy = false
        this.#fail(error)
        this.#octets -= chunk.length
        this.#next()
      },
    )
    try {
      this.#wire.paused()
    } catch (error) {
      // `wait` goes on, and finds the stream closed.
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
