// The clocks of one connection, moved by one ticker for all of them. While we owe the client a reply they stand still.
import type { Reply } from '@posthorn/mail'
import type { Connection } from './connection.ts'
import { dataTooSlow, idleTooLong, sessionTooLong } from './replies.ts'

/** Milliseconds over which the rate of a body is seen. */
const rateWindow = 30_000
/** Milliseconds that a refused session may still take to say QUIT. */
const refusedIdle = 10_000
/** Milliseconds for a handshake after STARTTLS. */
const handshake = 30_000

export class Watch {
  /** The client does not read our replies: waiting for it is waiting for the client. */
  unread = false
  readonly #connection: Connection
  #age = 0
  #quiet = 0
  #received = 0
  #body: unknown
  #bodyTime = 0
  #windowStart = 0
  #windowOctets = 0

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** `elapsed` milliseconds have passed. */
  tick(elapsed: number): void {
    const connection = this.#connection
    if (connection.closing) return
    this.#age += elapsed
    if (connection.owing) {
      this.#quiet = 0
      return
    }
    const received = connection.stream?.received ?? 0
    this.#quiet = received === this.#received ? this.#quiet + elapsed : 0
    this.#received = received
    if (connection._upgrading) {
      if (this.#quiet >= handshake) connection.close()
      return
    }
    const last = this.#lastWord(elapsed)
    if (last !== undefined) connection.reply(last)
    else connection.paused()
  }

  #lastWord(elapsed: number): Reply | undefined {
    const { limits } = this.#connection.front.listener
    if (this.#quiet >= (this.#connection.refused ? Math.min(refusedIdle, limits.idle) : limits.idle)) return idleTooLong
    if (this.#age >= limits.session) return sessionTooLong
    return this.#judgeBody(elapsed)
  }

  #judgeBody(elapsed: number): Reply | undefined {
    const { receiving, front } = this.#connection
    if (receiving?.incoming === undefined) {
      // A BDAT sequence is one body: its time goes on from chunk to chunk.
      if (this.#connection.transaction?.chunks === undefined) this.#body = undefined
      return undefined
    }
    const { incoming } = receiving
    if (incoming !== this.#body) {
      this.#body = incoming
      this.#bodyTime = 0
      this.#windowStart = 0
      this.#windowOctets = 0
    }
    this.#bodyTime += elapsed
    const { dataTime, minRate } = front.listener.limits
    if (this.#bodyTime >= dataTime) return dataTooSlow
    const window = this.#bodyTime - this.#windowStart
    if (window < rateWindow) return undefined
    const rate = ((incoming.size - this.#windowOctets) * 1000) / window
    this.#windowStart = this.#bodyTime
    this.#windowOctets = incoming.size
    return rate < minRate ? dataTooSlow : undefined
  }
}
