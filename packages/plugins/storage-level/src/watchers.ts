// Who wants to know of writes under a prefix, in this process.
import type { Log, Op } from '@posthorn/core'

type Listener = (key: string) => void

export class Watchers {
  readonly #log: Log
  readonly #listeners = new Map<string, Set<Listener>>()

  constructor(log: Log) {
    this.#log = log
  }

  add(prefix: string, changed: Listener): Disposable {
    // Not the function itself: one listener may be added twice.
    const listener: Listener = key => changed(key)
    const under = this.#listeners.get(prefix) ?? new Set()
    this.#listeners.set(prefix, under.add(listener))
    return {
      [Symbol.dispose]: () => {
        under.delete(listener)
        if (under.size === 0 && this.#listeners.get(prefix) === under) this.#listeners.delete(prefix)
      },
    }
  }

  tell(ops: readonly Op[]): void {
    if (this.#listeners.size === 0) return
    for (const [prefix, listeners] of this.#listeners)
      for (const { key } of ops) if (key.startsWith(prefix)) for (const changed of listeners) this.#call(changed, key)
  }

  #call(changed: Listener, key: string): void {
    try {
      changed(key)
    } catch (error) {
      this.#log.error({ err: error, key }, 'a watcher of the store threw')
    }
  }
}
