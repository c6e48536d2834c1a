// Writes of what deliveries came to: those of one turn of the loop in one batch, each fenced by its lane's lease.
// An outcome is a fact: where the store refuses, it is kept and written again, and no further delivery begins.
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { Condition, Op, Storage } from '../storage/contract.ts'
import { reasonOf } from './errors.ts'

interface Unit {
  readonly ops: readonly Op[]
  readonly relaxed: boolean
  readonly fence: Condition | undefined
  settled(written: boolean): void
}

const firstPause = 250
const longestPause = 10_000

export class Journal {
  readonly #storage: Storage
  readonly #clock: Clock
  readonly #log: Log
  #waiting: Unit[] = []
  #scheduled = false
  #pause = 0
  #closed = false
  /** Called when writes go through again. */
  resumed: () => void = () => {}

  constructor(storage: Storage, clock: Clock, log: Log) {
    this.#storage = storage
    this.#clock = clock
    this.#log = log
  }

  /** The store refuses writes: begin nothing whose outcome could not be kept. */
  get blocked(): boolean {
    return this.#pause > 0
  }

  /**
   * True once written (once durable, where not `relaxed`); false where the fence fell: another node owns the lane, and
   * what happened here is not ours to say. Never rejects.
   */
  write(ops: readonly Op[], relaxed: boolean, fence: Condition | undefined): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false)
    return new Promise(settled => {
      this.#waiting.push({ ops, relaxed, fence, settled })
      this.#schedule()
    })
  }

  /** What still waits is given up: it will be delivered again. */
  close(): void {
    this.#closed = true
    const waiting = this.#waiting
    this.#waiting = []
    for (const unit of waiting) unit.settled(false)
  }

  #schedule(): void {
    if (this.#scheduled || this.#pause > 0) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      const units = this.#waiting
      this.#waiting = []
      const relaxed = units.filter(unit => unit.relaxed)
      const durable = units.filter(unit => !unit.relaxed)
      if (relaxed.length > 0) void this.#store(relaxed, true)
      if (durable.length > 0) void this.#store(durable, false)
    })
  }

  async #store(units: readonly Unit[], relaxed: boolean): Promise<void> {
    const fences = new Map<string, Condition>()
    for (const { fence } of units) if (fence !== undefined) fences.set(fence.key, fence)
    const when = [...fences.values()]
    const ops = units.length === 1 ? (units[0] as Unit).ops : units.flatMap(unit => unit.ops)
    try {
      const written = await this.#storage.write(ops, when.length > 0 ? { relaxed, when } : { relaxed })
      if (this.#pause > 0 && !this.#closed) {
        this.#pause = 0
        this.#log.info({}, 'the store takes writes again; deliveries go on')
        this.resumed()
        if (this.#waiting.length > 0) this.#schedule()
      }
      if (written) for (const unit of units) unit.settled(true)
      // One of them is fenced off: find out which.
      else if (units.length > 1) for (const unit of units) void this.#store([unit], relaxed)
      else units[0]?.settled(false)
    } catch (error) {
      this.#refused(units, error)
    }
  }

  #refused(units: readonly Unit[], error: unknown): void {
    if (this.#closed) {
      for (const unit of units) unit.settled(false)
      return
    }
    this.#waiting.unshift(...units)
    const again = this.#pause === 0
    this.#pause = again ? firstPause : Math.min(this.#pause * 2, longestPause)
    const fields = { error: reasonOf(error), outcomes: this.#waiting.length, retryMs: this.#pause }
    if (again) this.#log.error(fields, 'outcomes of deliveries cannot be stored; deliveries wait')
    if (this.#armed) return
    this.#armed = true
    this.#clock.after(this.#pause, () => {
      this.#armed = false
      const first = this.#waiting.shift()
      if (first !== undefined) void this.#store([first], first.relaxed)
      else {
        this.#pause = 0
        this.resumed()
      }
    })
  }

  #armed = false
}
