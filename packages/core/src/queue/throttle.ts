// Slots that lanes share: one provider's servers behind forty thousand domains. An agent asks for them by a key inside
// `send`; the key backs off where a delivery that held one says that the lane as a whole fails.
import { type Aborter, aborted } from '../aborter.ts'
import type { Clock } from '../clock.ts'
import { Fifo } from './fifo.ts'

/** A slot did not come in time: the delivery did not take place, and is no attempt. */
export class ThrottledError extends Error {
  constructor(key: string) {
    super(`no free slot for ${key}`)
    this.name = 'ThrottledError'
  }
}

interface Waiter {
  grant(): void
  gone: boolean
}

interface Key {
  readonly waiting: Fifo<Waiter>
  active: number
  slots: number
  failures: number
  blockedUntil: number
  reason: string | undefined
  armed: boolean
}

/** Milliseconds that one may wait; deliveries that wait at all at most. */
const patience = 120_000
const mostWaiting = 2000
const slowStart = 5
const firstBackoff = 30_000
const longestBackoff = 15 * 60_000

export interface ThrottleState {
  readonly key: string
  readonly active: number
  readonly waiting: number
  readonly slots: number
  readonly blockedUntil?: number
  readonly reason?: string
}

export class Throttles {
  readonly #clock: Clock
  readonly #limit: () => number
  readonly #keys = new Map<string, Key>()
  #waiting = 0

  /** `limit`: slots of one key at most. */
  constructor(clock: Clock, limit: () => number) {
    this.#clock = clock
    this.#limit = limit
  }

  /** Rejects with {@link ThrottledError} where no slot comes in time, with the abort's reason where that comes first. */
  acquire(name: string, aborter: Aborter): Promise<Disposable> {
    let key = this.#keys.get(name)
    if (key === undefined) {
      key = {
        waiting: new Fifo(),
        active: 0,
        slots: slowStart,
        failures: 0,
        blockedUntil: 0,
        reason: undefined,
        armed: false,
      }
      this.#keys.set(name, key)
    }
    const found = key
    if (aborter.reason !== undefined) return Promise.reject(aborter.reason)
    if (found.waiting.length === 0 && this.#free(found)) return Promise.resolve(this.#slot(name, found))
    if (this.#waiting >= mostWaiting) return Promise.reject(new ThrottledError(name))
    return new Promise((resolve, reject) => {
      this.#waiting++
      const waiter: Waiter = {
        gone: false,
        grant: () => {
          end()
          resolve(this.#slot(name, found))
        },
      }
      const end = () => {
        waiter.gone = true
        this.#waiting--
        stop()
        unlink()
      }
      const stop = this.#clock.after(patience, () => {
        end()
        reject(new ThrottledError(name))
      })
      const unlink = aborter.onAbort(reason => {
        if (waiter.gone) return
        end()
        reject(reason ?? aborted.closed)
      })
      found.waiting.push(waiter)
      this.#serve(name, found)
    })
  }

  /** A delivery that held a slot of `name` found the destination answering. */
  alive(name: string): void {
    const key = this.#keys.get(name)
    if (key === undefined) return
    key.failures = 0
    key.blockedUntil = 0
    key.reason = undefined
    key.slots = Math.min(key.slots + 1, this.#limit())
    this.#serve(name, key)
  }

  /** … or failing as a whole. */
  failed(name: string, reason: string): void {
    const key = this.#keys.get(name)
    const now = this.#clock.now()
    if (key === undefined || now < key.blockedUntil) return
    key.failures++
    key.slots = 1
    key.reason = reason
    key.blockedUntil = now + Math.min(firstBackoff * 2 ** Math.min(key.failures - 1, 20), longestBackoff)
    this.#serve(name, key)
  }

  list(): ThrottleState[] {
    const now = this.#clock.now()
    return Array.from(this.#keys, ([key, k]) => ({
      key,
      active: k.active,
      waiting: k.waiting.length,
      slots: k.slots,
      ...(k.blockedUntil > now && { blockedUntil: k.blockedUntil }),
      ...(k.reason !== undefined && { reason: k.reason }),
    }))
  }

  #free(key: Key): boolean {
    return key.active < Math.min(key.slots, this.#limit()) && this.#clock.now() >= key.blockedUntil
  }

  #slot(name: string, key: Key): Disposable {
    key.active++
    let given = true
    return {
      [Symbol.dispose]: () => {
        if (!given) return
        given = false
        key.active--
        this.#serve(name, key)
      },
    }
  }

  #serve(name: string, key: Key): void {
    while (key.waiting.length > 0 && (key.waiting.peek()?.gone === true || this.#free(key))) {
      const waiter = key.waiting.shift()
      if (waiter?.gone === false) waiter.grant()
    }
    const wait = key.blockedUntil - this.#clock.now()
    if (key.waiting.length > 0 && wait > 0 && !key.armed) {
      key.armed = true
      this.#clock.after(wait, () => {
        key.armed = false
        this.#serve(name, key)
      })
    } else if (key.waiting.length === 0 && key.active === 0 && key.failures === 0) this.#keys.delete(name)
  }
}
