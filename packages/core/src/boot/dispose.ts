// What was opened last is closed first; one that cannot be closed does not keep the others open.
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { Awaitable } from '../transaction.ts'
import { within } from './within.ts'

/** Milliseconds that one disposal may take before the next goes ahead. */
const patience = 30_000

export class Disposer {
  readonly #clock: Clock
  readonly #stack: { readonly whose: string; readonly fn: () => Awaitable<unknown>; readonly log: Log }[] = []
  #disposed: Promise<void> | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get disposed(): boolean {
    return this.#disposed !== undefined
  }

  /** Once everything was disposed of, what is added is disposed of at once: it came from a setup that was given up. */
  add(whose: string, log: Log, fn: () => Awaitable<unknown>): void {
    this.#stack.push({ whose, fn, log })
    if (this.#disposed !== undefined) this.#disposed = this.#disposed.then(() => this.#unwind())
  }

  /** Never rejects. Called again it waits for the same. */
  dispose(): Promise<void> {
    this.#disposed ??= this.#unwind()
    return this.#disposed
  }

  async #unwind(): Promise<void> {
    for (let next = this.#stack.pop(); next !== undefined; next = this.#stack.pop()) {
      const { whose, fn, log } = next
      try {
        await within(this.#clock, patience, async () => fn())
      } catch (error) {
        log.error({ plugin: whose, err: error }, `disposing of ${whose} failed`)
      }
    }
  }
}
