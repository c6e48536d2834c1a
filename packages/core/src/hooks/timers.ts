// The timeouts of hook calls: one line per duration, looked at every 50 ms by the injected clock. A timer of its
// own for every call costs ten times as much (docs/decisions/0004); a line is late by at most one tick.
import type { Clock } from '../clock.ts'
import { Line, type Linked } from '../line.ts'

const tick = 50

export interface Timer {
  readonly deadline: number
}

interface Node extends Timer, Linked<Node> {
  fn: ((arg: any) => void) | undefined
  arg: unknown
}

export class Timers {
  readonly #clock: Clock
  /** Deadlines only grow along a line, since all its timers last equally long: only the first needs a look. */
  readonly #lines = new Map<number, Line<Node>>()
  #armed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Calls `fn(arg)` once after `ms`, and at most 50 ms later, unless stopped. `fn` must not throw. `now`: what the clock
   * said, from whoever has just asked it.
   */
  start<T>(ms: number, fn: (arg: T) => void, arg: T, now: number = this.#clock.monotonic()): Timer {
    let line = this.#lines.get(ms)
    if (line === undefined) {
      line = new Line()
      this.#lines.set(ms, line)
    }
    const node: Node = { deadline: now + ms, fn, arg, line: undefined, prev: undefined, next: undefined }
    line.join(node)
    if (!this.#armed) this.#arm()
    return node
  }

  /** Takes a timer back; one that fired or was stopped is left so. */
  stop(timer: Timer): void {
    unlink(timer as Node)
  }

  #arm(): void {
    this.#armed = true
    this.#clock.after(tick, this.#tick)
  }

  readonly #tick = (): void => {
    this.#armed = false
    const now = this.#clock.monotonic()
    for (const [ms, line] of this.#lines) {
      for (let node = line.first; node !== undefined && node.deadline <= now; node = line.first) {
        const { fn, arg } = node as { fn: (arg: unknown) => void; arg: unknown }
        unlink(node)
        fn(arg)
      }
      if (line.size === 0) this.#lines.delete(ms)
    }
    // Nothing waits: nothing ticks, until the next start.
    if (this.#lines.size > 0 && !this.#armed) this.#arm()
  }
}

function unlink(node: Node): void {
  node.line?.leave(node)
  node.fn = undefined
  node.arg = undefined
}
