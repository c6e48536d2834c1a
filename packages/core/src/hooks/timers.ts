// The timeouts of hook calls: one linked list per duration, looked at every 50 ms by the injected clock. A timer of its
// own for every call costs ten times as much (docs/decisions/0004); this list is late by at most one tick.
import type { Clock } from '../clock.ts'

const tick = 50

export interface Timer {
  readonly deadline: number
}

interface Node extends Timer {
  fn: ((arg: any) => void) | undefined
  arg: unknown
  list: List
  prev: Node | undefined
  next: Node | undefined
}

/** Deadlines only grow along a list, since all its timers last equally long: only the head needs a look. */
interface List {
  readonly ms: number
  head: Node | undefined
  tail: Node | undefined
}

export class Timers {
  readonly #clock: Clock
  readonly #lists = new Map<number, List>()
  #armed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Calls `fn(arg)` once after `ms`, and at most 50 ms later, unless stopped. `fn` must not throw. `now`: what the clock
   * said, from whoever has just asked it.
   */
  start<T>(ms: number, fn: (arg: T) => void, arg: T, now: number = this.#clock.monotonic()): Timer {
    let list = this.#lists.get(ms)
    if (list === undefined) {
      list = { ms, head: undefined, tail: undefined }
      this.#lists.set(ms, list)
    }
    const node: Node = { deadline: now + ms, fn, arg, list, prev: list.tail, next: undefined }
    if (list.tail === undefined) list.head = node
    else list.tail.next = node
    list.tail = node
    if (!this.#armed) this.#arm()
    return node
  }

  /** Takes a timer back; one that fired or was stopped is left so. */
  stop(timer: Timer): void {
    const node = timer as Node
    if (node.fn !== undefined) unlink(node)
  }

  #arm(): void {
    this.#armed = true
    this.#clock.after(tick, this.#tick)
  }

  readonly #tick = (): void => {
    this.#armed = false
    const now = this.#clock.monotonic()
    for (const list of this.#lists.values()) {
      while (list.head !== undefined && list.head.deadline <= now) {
        const { fn, arg } = list.head as { fn: (arg: unknown) => void; arg: unknown }
        unlink(list.head)
        fn(arg)
      }
      if (list.head === undefined) this.#lists.delete(list.ms)
    }
    // Nothing waits: nothing ticks, until the next start.
    if (this.#lists.size > 0 && !this.#armed) this.#arm()
  }
}

function unlink(node: Node): void {
  if (node.prev === undefined) node.list.head = node.next
  else node.prev.next = node.next
  if (node.next === undefined) node.list.tail = node.prev
  else node.next.prev = node.prev
  node.fn = undefined
  node.arg = undefined
  node.prev = undefined
  node.next = undefined
}
