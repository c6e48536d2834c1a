// How many octets of messages under way may be in memory at once. Over that, sockets wait their turn.
import type { Awaitable } from '../transaction.ts'

/**
 * A count with a queue, for all connections of a process. A message in the queue holds octets itself, so waiting for
 * each other could last for ever: `nudge`, called by the ticker, lets a few go on whatever the count. What they can
 * add is bounded, since each message counts for at most `body.memory` and goes to a file beyond that.
 */
export class Inflight {
  held = 0
  limit: number
  readonly #waiting: (() => void)[] = []

  constructor(limit: number) {
    this.limit = limit
  }

  get waiting(): number {
    return this.#waiting.length
  }

  add(octets: number): void {
    this.held += octets
  }

  release(octets: number): void {
    this.held -= octets
    while (this.held <= this.limit && this.#waiting.length > 0) this.#waiting.shift()?.()
  }

  /** Settles when more may be read. */
  room(): Awaitable<void> {
    if (this.held <= this.limit) return
    return new Promise(resolve => this.#waiting.push(resolve))
  }

  nudge(count = 16): void {
    for (const go of this.#waiting.splice(0, count)) go()
  }
}
