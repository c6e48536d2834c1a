// The log's file: lines gather, so that a busy server does not wait for the disk; written every second, on demand, and at
// the end. A full disk costs lines, never the server: what waits is bounded, the rest is counted.
import { closeSync, mkdirSync, openSync, write, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Clock } from '../clock.ts'

/** Octets that gather for one write: each takes a thread's turn that the store wants too. */
const gathered = 65_536
/** Octets of the room that lines are put into, one after another; then comes a new one. */
const roomSize = 4 * gathered
const flushEvery = 1_000
/** Octets that wait while the disk takes none. */
const mostWaiting = 8 * 1024 * 1024
/** Milliseconds between two complaints. */
const complainEvery = 60_000

export class LogFile {
  readonly #path: string
  readonly #clock: Clock
  readonly #complain: (text: string) => void
  #fd: number
  // As octets at once: a line is a string of a dozen parts, and one that waits is moved by two collections.
  #room = Buffer.allocUnsafeSlow(roomSize)
  /** What gathers in the room. */
  #from = 0
  #to = 0
  /** Of rooms before it. */
  #full: Buffer[] = []
  #waiting = 0
  /** Being written, or what a failed write left. */
  #current: Buffer | undefined
  #writing = false
  /** Of the file before a reopen, while it is being written to. */
  #former: number | undefined
  #lost = 0
  #complainedAt = Number.NEGATIVE_INFINITY
  #cancel = () => {}
  readonly #exit = () => this.#sync()

  /** Throws where the file cannot be opened. `complain` is told of lines that cannot be written, once a minute. */
  constructor(path: string, clock: Clock, complain: (text: string) => void) {
    this.#path = path
    this.#clock = clock
    this.#complain = complain
    mkdirSync(dirname(path), { recursive: true })
    this.#fd = this.#open()
    process.on('exit', this.#exit)
    this.#arm()
  }

  write(line: string): void {
    if (this.#waiting + line.length > mostWaiting) {
      this.#lost++
      return
    }
    if (this.#to + line.length * 3 > this.#room.length) {
      if (this.#to > this.#from) this.#full.push(this.#room.subarray(this.#from, this.#to))
      this.#room = Buffer.allocUnsafeSlow(Math.max(roomSize, Buffer.byteLength(line)))
      this.#from = this.#to = 0
    }
    const size = this.#room.write(line, this.#to)
    this.#to += size
    this.#waiting += size
    if (this.#waiting >= gathered) this.flush()
  }

  /** Begins to write what has gathered. */
  flush(): void {
    if (this.#writing) return
    const octets = this.#next()
    if (octets === undefined) return
    this.#writing = true
    write(this.#fd, octets, (error, written) => {
      this.#writing = false
      this.#closeFormer()
      if (error === null) this.#written(octets, written)
      else this.#failed(error)
    })
  }

  /** After log rotation the name is another file's. Throws where that cannot be opened: the old one stays then. */
  reopen(): void {
    const fd = this.#open()
    // What is under way ends in the old file.
    if (this.#writing) this.#former ??= this.#fd
    else closeSync(this.#fd)
    this.#fd = fd
    this.flush()
  }

  close(): void {
    this.#cancel()
    process.off('exit', this.#exit)
    this.#sync()
  }

  #open(): number {
    return openSync(this.#path, 'a', 0o600)
  }

  #next(): Buffer | undefined {
    if (this.#current === undefined && this.#waiting > 0) {
      const last = this.#room.subarray(this.#from, this.#to)
      this.#current = this.#full.length === 0 ? last : Buffer.concat([...this.#full, last])
      this.#full = []
      this.#from = this.#to
      this.#waiting = 0
    }
    return this.#current
  }

  #written(octets: Buffer, written: number): void {
    this.#current = written < octets.length ? octets.subarray(written) : undefined
    if (this.#current !== undefined || this.#waiting >= gathered) this.flush()
  }

  #failed(error: Error): void {
    const now = this.#clock.monotonic()
    if (now - this.#complainedAt < complainEvery) return
    this.#complainedAt = now
    this.#complain(`the log ${this.#path} cannot be written: ${error.message}; lines lost so far: ${this.#lost}`)
  }

  #closeFormer(): void {
    if (this.#former === undefined) return
    closeSync(this.#former)
    this.#former = undefined
  }

  /** All that waits, before this returns; not what is under way, which a thread finishes. */
  #sync(): void {
    if (this.#writing) this.#current = undefined
    try {
      for (let octets = this.#next(); octets !== undefined; octets = this.#next()) {
        const written = writeSync(this.#fd, octets)
        this.#current = written < octets.length ? octets.subarray(written) : undefined
      }
    } catch (error) {
      this.#failed(error as Error)
    }
  }

  #arm(): void {
    this.#cancel = this.#clock.after(flushEvery, () => {
      this.flush()
      this.#arm()
    })
  }
}
