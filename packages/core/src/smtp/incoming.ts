// One message body on its way from the wire to the pipeline's sink: its limits are judged here, before the sink sees
// an octet of what they forbid. The sink's first write holds the whole header.
import { HeaderCounter, type Reply } from '@posthorn/mail'
import { andThen, isPending } from '../awaitable.ts'
import type { LimitsConfig } from '../config/contract.ts'
import type { BodySink } from '../pipeline/contract.ts'
import type { Awaitable } from '../transaction.ts'
import type { Inflight } from './inflight.ts'
import type { BodyFault } from './line-ends.ts'
import { bodyFaults, headerTooLarge, shuttingDown, tooLarge } from './replies.ts'

export interface IncomingLimits {
  readonly limits: LimitsConfig
  /** Octets that a message may hold in memory, as far as `inflight` is concerned. */
  readonly memory: number
  readonly inflight: Inflight
}

/** Octets after which nobody waits for the end of data of a message that is refused anyway. */
export function cutOff(limits: LimitsConfig): number {
  return limits.messageSize * 2 + 1024 * 1024
}

export class Incoming {
  /** Octets received, whether kept or not. */
  size = 0
  /** Why it is refused; from here on octets are dropped. */
  refusal: Reply | undefined
  readonly #sink: BodySink
  readonly #options: IncomingLimits
  readonly #header: HeaderCounter
  /** The header as far as it has come, and the octets of it in use. */
  #head: Buffer | undefined
  #headLength = 0
  #held = 0
  #writing = false
  #over = false
  #abandoned = false

  constructor(sink: BodySink, options: IncomingLimits) {
    const { headerSize, headerFields, headerLines } = options.limits
    this.#sink = sink
    this.#options = options
    this.#header = new HeaderCounter({ size: headerSize, fields: headerFields, lines: headerLines })
  }

  /** So far beyond its size that waiting for its end would only burn the line. */
  get hopeless(): boolean {
    return this.size > cutOff(this.#options.limits)
  }

  /** Takes plain octets, lent for this call. */
  write(octets: Buffer, fault: BodyFault | undefined): Awaitable<void> {
    this.size += octets.length
    if (this.#over) return
    if (fault !== undefined) return this.refuse(bodyFaults[fault])
    if (this.size > this.#options.limits.messageSize) return this.refuse(tooLarge)
    if (this.#header.done) return this.#hand(octets)
    const complete = this.#header.push(octets)
    if (this.#header.exceeded !== undefined) return this.refuse(headerTooLarge)
    if (!complete) return this.#keep(octets)
    return this.#hand(this.#joined(octets))
  }

  /** The end of data: the reply of the sink, or the refusal. Never rejects unless the sink breaks its contract. */
  end(fault: BodyFault | undefined): Awaitable<Reply | readonly Reply[]> {
    this.#header.finish()
    if (fault !== undefined) this.refuse(bodyFaults[fault])
    else if (this.#header.exceeded !== undefined) this.refuse(headerTooLarge)
    const last = this.#headLength > 0 ? this.#hand(this.#joined(undefined)) : undefined
    return andThen(last, () => {
      // Without a refusal the client has gone, and nobody reads this.
      if (this.#over) return this.refusal ?? shuttingDown
      this.#over = true
      let answer: Awaitable<Reply | readonly Reply[]>
      try {
        answer = this.#sink.end()
      } catch (error) {
        this.#release()
        throw error
      }
      if (isPending(answer)) return answer.finally(() => this.#release())
      this.#release()
      return answer
    })
  }

  /** Nothing of it is kept. `undefined`: nobody will read a reply (RSET, hang-up). Does nothing once it has ended. */
  refuse(reply: Reply | undefined): void {
    if (this.#over) return
    this.#over = true
    this.refusal = reply
    this.#head = undefined
    this.#headLength = 0
    // The sink takes one call at a time.
    if (this.#writing) this.#abandoned = true
    else this.#abort()
  }

  #abort(): void {
    this.#release()
    this.#sink.abort(this.refusal)
  }

  #hand(octets: Buffer): Awaitable<void> {
    const { memory, inflight } = this.#options
    const counted = Math.min(octets.length, memory - this.#held)
    if (counted > 0) {
      this.#held += counted
      inflight.add(counted)
    }
    const written = this.#sink.write(octets)
    if (!isPending(written)) return inflight.room()
    this.#writing = true
    return written.then(
      () => {
        this.#writing = false
        return this.#abandoned ? this.#abort() : inflight.room()
      },
      error => {
        this.#writing = false
        if (this.#abandoned) this.#abort()
        throw error
      },
    )
  }

  /** Copies: a header that comes octet by octet would otherwise hold a whole socket buffer for each. */
  #keep(octets: Buffer): void {
    const length = this.#headLength + octets.length
    if (this.#head === undefined || length > this.#head.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(1024, length, (this.#head?.length ?? 0) * 2))
      this.#head?.copy(larger, 0, 0, this.#headLength)
      this.#head = larger
    }
    octets.copy(this.#head, this.#headLength)
    this.#headLength = length
  }

  #joined(octets: Buffer | undefined): Buffer {
    if (this.#head === undefined) return octets ?? Buffer.alloc(0)
    const kept = this.#head.subarray(0, this.#headLength)
    this.#head = undefined
    this.#headLength = 0
    return octets === undefined ? kept : Buffer.concat([kept, octets])
  }

  #release(): void {
    this.#options.inflight.release(this.#held)
    this.#held = 0
  }
}
