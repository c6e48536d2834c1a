// What happens after an error: close, reopen, look at what is there; again with growing pauses while the disk is at fault.
import type { Clock, Log, StorageError } from '@posthorn/core'
import { type Database, openDatabase } from './database.ts'
import type { Space } from './trouble.ts'

const firstPause = 250
const longestPause = 10_000

interface Outcome {
  /** The database is open again; before anybody may write. */
  reopened(db: Database): void
  /** The first try failed: nobody can say what is stored. */
  failed(): void
  /** Writing goes on. */
  over(): void
}

export class Recovery {
  readonly #path: string
  readonly #clock: Clock
  readonly #log: Log
  readonly #space: Space
  /** Why writes are refused; undefined when all is well. */
  trouble: StorageError | undefined
  #firstTry: Promise<void> | undefined
  #running: Promise<void> | undefined
  #stopped = false
  #wake: (() => void) | undefined

  constructor(options: { path: string; clock: Clock; log: Log; space: Space }) {
    this.#path = options.path
    this.#clock = options.clock
    this.#log = options.log
    this.#space = options.space
  }

  /** Waits for the first try to reopen, so that a passing error costs readers a moment; then throws the trouble. */
  async ready(): Promise<void> {
    await this.#firstTry
    if (this.trouble !== undefined) throw this.trouble
  }

  start(db: Database, trouble: StorageError, outcome: Outcome): void {
    this.trouble = trouble
    this.#log.error(
      { err: trouble, path: this.#path },
      'a write failed; the store is being reopened before it acknowledges another',
    )
    const first = Promise.withResolvers<void>()
    this.#firstTry = first.promise
    this.#running = this.#run(db, outcome, first.resolve)
  }

  /** No tries but the first one from now on, for closing. */
  stop(): void {
    this.#stopped = true
    this.#wake?.()
  }

  async ended(): Promise<void> {
    await this.#running
  }

  async #run(db: Database, outcome: Outcome, firstDone: () => void): Promise<void> {
    const started = this.#clock.monotonic()
    try {
      await db.close()
    } catch (error) {
      this.#log.warn({ err: error }, 'closing the store failed')
    }
    let pause = firstPause
    for (let tries = 1; ; tries++) {
      if (await this.#reopen(outcome, tries)) {
        this.trouble = undefined
        this.#log.info(
          { path: this.#path, tries, ms: Math.round(this.#clock.monotonic() - started) },
          'the store is open again',
        )
        outcome.over()
        firstDone()
        return
      }
      if (tries === 1) outcome.failed()
      firstDone()
      if (!this.#stopped) await this.#sleep(pause)
      if (this.#stopped) {
        outcome.over()
        return
      }
      pause = Math.min(pause * 2, longestPause)
    }
  }

  async #reopen(outcome: Outcome, tries: number): Promise<boolean> {
    // Reopening writes a table, so without room it would only fail again.
    this.#space.look()
    const tight = this.#space.refusal(true)
    if (tight !== undefined && tries > 1) return false
    let db: Database | undefined
    try {
      db = await openDatabase(this.#path, { create: false })
      outcome.reopened(db)
      return true
    } catch (error) {
      this.#log.error({ err: error, tries }, 'the store cannot be reopened yet')
      // Or our own lock would keep us out the next time.
      await db?.close()
      return false
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise(resolve => {
      const cancel = this.#clock.after(ms, resolve)
      this.#wake = () => {
        cancel()
        resolve()
      }
    })
  }
}
