// Promises that nobody waits for: their failures are logged, and a stop waits for them.
import type { Log } from '../log.ts'

export class Background {
  readonly #log: Log
  readonly #work = new Set<Promise<void>>()

  constructor(log: Log) {
    this.#log = log
  }

  /** `what` names it in the log if it fails. */
  add(work: Promise<unknown>, what: string): void {
    const done: Promise<void> = work
      .then(
        () => {},
        error => this.#log.error({ err: error }, `${what} failed`),
      )
      .finally(() => this.#work.delete(done))
    this.#work.add(done)
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#work.size > 0) await Promise.all(this.#work)
  }
}
