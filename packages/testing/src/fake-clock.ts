// A clock that stands still until a test moves it: five days pass in milliseconds, and always the same way.
// It knows nothing of real I/O: a test that waits for a disk waits for the disk.

import type { Clock } from '@posthorn/core'

export interface FakeClock extends Clock {
  /**
   * Moves on by `ms`, running each timer that falls due at its own time, in order, and letting promises settle after
   * each; then once more at the end. Timers set on the way are run too if they fall due before the end.
   */
  advance(ms: number): Promise<void>
  /** Lets promises settle without moving. */
  settle(): Promise<void>
  /** How many timers wait. */
  readonly timers: number
}

interface Timer {
  readonly at: number
  readonly order: number
  readonly fn: () => void
}

/** `start`: milliseconds since the epoch, by default a fixed day. */
export function fakeClock(start = Date.UTC(2026, 0, 5, 9)): FakeClock {
  const timers = new Set<Timer>()
  let now = start
  let order = 0

  function next(until: number): Timer | undefined {
    let first: Timer | undefined
    for (const timer of timers) {
      if (timer.at > until) continue
      if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order)) {
        first = timer
      }
    }
    return first
  }

  return {
    now: () => now,
    monotonic: () => now - start,
    after(ms, fn) {
      const timer = { at: now + Math.max(0, ms), order: order++, fn }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    get timers() {
      return timers.size
    },
    async advance(ms) {
      const end = now + ms
      for (let timer = next(end); timer !== undefined; timer = next(end)) {
        timers.delete(timer)
        now = Math.max(now, timer.at)
        timer.fn()
        await settle()
      }
      now = end
      await settle()
    },
    settle,
  }
}

// A chain of promises needs one turn of the loop for each setImmediate in it; ten cover what is in memory.
async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise<void>(resolve => setImmediate(resolve))
}
