// Reports that cannot be delivered, and other mail without a sender: held for a person to see, for a time and up to a
// number (invariant 2). What goes is logged and traced. Other held mail is never touched here.

import type { Op } from '../storage/contract.ts'
import { type Desk, finish, removeMessage } from './desk.ts'
import { reasonOf } from './errors.ts'
import { blockKey, messageKey, parseTimed, timeText } from './keys.ts'
import { removeBlock } from './partition.ts'
import { decodeBlock, decodeMessage } from './records.ts'

const everyHour = 3_600_000
const batch = 200

export class HeldBounces {
  readonly #desk: Desk
  readonly #claim: (key: string) => Promise<Disposable>
  #count = 0
  #timer: (() => void) | undefined
  #sweeping = false
  #stopped = false

  constructor(desk: Desk, claim: (key: string) => Promise<Disposable>) {
    this.#desk = desk
    this.#claim = claim
  }

  /** How many there are, as far as is known. */
  get count(): number {
    return this.#count
  }

  start(): void {
    this.#arm(60_000)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.()
  }

  /** One more. */
  note(): void {
    this.#count++
    if (this.#count > this.#desk.generation().config.queue.held.max && !this.#sweeping) void this.sweep()
  }

  #arm(ms: number): void {
    if (this.#stopped) return
    this.#timer = this.#desk.clock.after(ms, () => void this.sweep().finally(() => this.#arm(everyHour)))
  }

  /** Removes those held too long, and the oldest of too many. */
  async sweep(): Promise<void> {
    if (this.#sweeping || this.#stopped) return
    this.#sweeping = true
    const { storage, clock, generation, log } = this.#desk
    const { keep, max } = generation().config.queue.held
    try {
      let count = 0
      for await (const entries of storage.range({ gte: 'h/b/', lt: 'h/b0' })) count += entries.length
      this.#count = count
      const old = `h/b/${timeText(clock.now() - keep)}`
      let surplus = count - max
      for await (const entries of storage.range({ gte: 'h/b/', lt: surplus > 0 ? 'h/b0' : old })) {
        const due = entries.filter(([key]) => surplus-- > 0 || key < old).map(([key]) => key)
        for (let i = 0; i < due.length; i += batch) for (const key of due.slice(i, i + batch)) await this.#remove(key)
        if (due.length < entries.length) break
      }
    } catch (error) {
      log.warn({ error: reasonOf(error) }, 'held reports could not be looked through')
    } finally {
      this.#sweeping = false
    }
  }

  async #remove(index: string): Promise<void> {
    const { storage, journal, blobs, generation, tally, log, trace, clock } = this.#desk
    const entry = parseTimed(index)
    if (entry === undefined) return
    const key = blockKey(entry.id, entry.n)
    using _claim = await this.#claim(key)
    const value = await storage.get(key)
    if (value === undefined) {
      await journal.write([{ type: 'del', key: index }], true, undefined)
      return
    }
    const block = decodeBlock(entry.id, entry.n, value)
    if (block.status !== 'held' || block.bounce !== true || block.at !== entry.at) return
    const ops: Op[] = []
    removeBlock(block, ops)
    const record = await storage.get(messageKey(entry.id))
    if (record !== undefined && block.solo) {
      removeMessage(decodeMessage(entry.id, record), blobs, ops, generation().config.queue, true)
    }
    if (!(await journal.write(ops, false, undefined))) return
    this.#count--
    tally.remove(block)
    if (block.solo) tally.messages--
    else if (record !== undefined) await finish(this.#desk, decodeMessage(entry.id, record))
    const reason = 'undeliverable without a sender; held.keep or held.max reached'
    log.warn({ id: block.id, recipients: block.recipients.length, heldSince: block.at }, `removed held mail: ${reason}`)
    trace.append(block.id, [{ at: clock.now(), stage: 'held', verdict: 'removed', reason }])
  }
}
