// What survives a reload (stores, listeners, pools): opened once, counted across generations, closed by the last one
// that lets go.
import { PosthornError } from '../errors.ts'
import type { Json } from '../json.ts'
import type { Awaitable } from '../transaction.ts'

interface Held {
  readonly config: string
  readonly value: Promise<unknown>
  readonly close: (value: unknown) => Awaitable<void>
  count: number
  closing?: Promise<void>
}

/** A share of something held in common. */
export interface Share<T> {
  readonly value: T
  /** Lets go, once; rejects with what `close` threw where this was the last. */
  release(): Promise<void>
}

export class SharedRegistry {
  readonly #held = new Map<string, Held>()

  /** Keys that are held, for tests and status. */
  get keys(): readonly string[] {
    return [...this.#held.keys()]
  }

  /**
   * Opens, or shares what is open under `key`. Opens of the same time share one; after a close that is under way it is
   * opened anew. Throws POSTHORN_RELOAD_RESTART where another configuration holds the key.
   */
  async acquire<T>(
    key: string,
    config: Json,
    open: () => Awaitable<T>,
    close: (value: T) => Awaitable<void>,
  ): Promise<Share<T>> {
    const text = canonical(config)
    let held = this.#held.get(key)
    while (held?.closing !== undefined) {
      await held.closing
      held = this.#held.get(key)
    }
    if (held === undefined) {
      held = { config: text, value: (async () => open())(), close: close as Held['close'], count: 0 }
      this.#held.set(key, held)
    } else if (held.config !== text) {
      throw new PosthornError('POSTHORN_RELOAD_RESTART', `"${key}" is open with another configuration`, {
        fix: 'Restart Posthorn to change it; a reload keeps what is open.',
      })
    }
    const share = held
    share.count++
    let value: unknown
    try {
      value = await share.value
    } catch (error) {
      if (this.#held.get(key) === share) this.#held.delete(key)
      throw error
    }
    let released: Promise<void> | undefined
    return {
      value: value as T,
      release: () => {
        released ??= this.#release(key, share, value)
        return released
      },
    }
  }

  async #release(key: string, held: Held, value: unknown): Promise<void> {
    if (--held.count > 0) return
    const closed = (async () => held.close(value))()
    held.closing = closed
      .catch(() => {})
      .then(() => {
        this.#held.delete(key)
      })
    await held.closing
    await closed
  }
}

/** JSON with sorted keys: the same settings written in another order are the same. */
function canonical(value: Json | undefined): string {
  return (
    JSON.stringify(value, (_key, inner: unknown) =>
      typeof inner === 'object' && inner !== null && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
        : inner,
    ) ?? 'undefined'
  )
}
