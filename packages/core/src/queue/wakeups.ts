// When which lane has to be looked at again: one heap and one timer, however many lanes there are.
import type { Clock } from '../clock.ts'

interface Waking {
  /** What counts; an entry of the heap with another time is stale. */
  wakeAt: number
}

// Timers cannot be set further than 2^31 ms ahead.
const furthest = 2 ** 31 - 1

export class Wakeups<T extends Waking> {
  readonly #clock: Clock
  readonly #wake: (due: T) => void
  readonly #times: number[] = []
  readonly #items: T[] = []
  #timer: (() => void) | undefined
  #timerAt = Infinity

  constructor(clock: Clock, wake: (due: T) => void) {
    this.#clock = clock
    this.#wake = wake
  }

  /** Wakes `item` at `at`, or earlier if that was asked for before. */
  set(item: T, at: number): void {
    if (at >= item.wakeAt) return
    item.wakeAt = at
    this.#push(at, item)
    this.#arm()
  }

  stop(): void {
    this.#timer?.()
    this.#timer = undefined
    this.#timerAt = Infinity
    this.#times.length = 0
    this.#items.length = 0
  }

  #arm(): void {
    const next = this.#times[0]
    if (next === undefined || next >= this.#timerAt) return
    this.#timer?.()
    this.#timerAt = next
    const wait = Math.min(Math.max(0, next - this.#clock.now()), furthest)
    this.#timer = this.#clock.after(wait, () => this.#fire())
  }

  #fire(): void {
    this.#timer = undefined
    this.#timerAt = Infinity
    const now = this.#clock.now()
    while (this.#times.length > 0 && (this.#times[0] as number) <= now) {
      const at = this.#times[0] as number
      const item = this.#pop()
      if (item.wakeAt !== at) continue
      item.wakeAt = Infinity
      this.#wake(item)
    }
    this.#arm()
  }

  #push(at: number, item: T): void {
    const times = this.#times
    const items = this.#items
    let i = times.length
    times.push(at)
    items.push(item)
    while (i > 0) {
      const up = (i - 1) >> 1
      if ((times[up] as number) <= at) break
      times[i] = times[up] as number
      items[i] = items[up] as T
      i = up
    }
    times[i] = at
    items[i] = item
  }

  #pop(): T {
    const times = this.#times
    const items = this.#items
    const top = items[0] as T
    const at = times.pop() as number
    const item = items.pop() as T
    const { length } = times
    if (length === 0) return top
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= length) break
      if (child + 1 < length && (times[child + 1] as number) < (times[child] as number)) child++
      if ((times[child] as number) >= at) break
      times[i] = times[child] as number
      items[i] = items[child] as T
      i = child
    }
    times[i] = at
    items[i] = item
    return top
  }
}
