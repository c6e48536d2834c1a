/** The only source of time in core. Tests inject a fake one; nothing else calls Date.now or setTimeout. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds that never go back, for durations. */
  monotonic(): number
  /** Runs `fn` once after `ms`, unless the returned function is called first. A waiting timer does not keep the process alive. */
  after(ms: number, fn: () => void): () => void
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
