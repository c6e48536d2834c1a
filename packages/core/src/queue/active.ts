// Which blocks are in memory, and how much they hold: at most one entry for each block, so that nothing is delivered
// twice at the same time, and an operator can take a block out of the scheduler's hands.
import type { QueueConfig } from '../config/contract.ts'
import { Roster } from '../roster.ts'
import { Entry } from './entry.ts'
import type { Lane } from './lane.ts'
import type { Messages } from './messages.ts'

export class Active {
  readonly #messages: Messages
  /** By the record's key. `claimed`: being written, or in an operator's hands. */
  readonly #blocks = new Roster<Entry | 'claimed'>()
  /** Entries that came from the index. */
  indexed = 0
  /** Entries that were handed over, and their octets. */
  handed = 0
  handedBytes = 0

  constructor(messages: Messages) {
    this.#messages = messages
  }

  get size(): number {
    return this.#blocks.size
  }

  has(key: string): boolean {
    return this.#blocks.has(key)
  }

  /** Before a block's records are written: nobody else may begin it meanwhile. */
  reserve(key: string): void {
    this.#blocks.set(key, 'claimed')
  }

  unreserve(key: string): void {
    this.#blocks.delete(key)
  }

  /** Whether the hand-over may hold so much more for the lane. No lane gets more than half of it. */
  hasRoom(lane: Lane, bytes: number, { handover }: QueueConfig): boolean {
    return (
      lane.handed < handover.messages / 2 &&
      this.handed < handover.messages &&
      this.handedBytes + bytes <= handover.bytes
    )
  }

  add(entry: Entry): void {
    this.#blocks.set(entry.key, entry)
    if (entry.handed > 0) {
      this.handed++
      this.handedBytes += entry.handed
    } else this.indexed++
  }

  /** Whether the block is being delivered just now. */
  sending(key: string): boolean {
    const entry = this.#blocks.get(key)
    return entry instanceof Entry && entry.state === 'busy'
  }

  /** Lets go of an entry and of what it holds; one that waited goes back to its lane's index. */
  end(entry: Entry): void {
    if (entry.state === 'waiting') entry.lane.note(entry.rank, entry.index)
    this.#blocks.delete(entry.key)
    if (entry.handed > 0) {
      this.handed--
      this.handedBytes -= entry.handed
    } else this.indexed--
    if (entry.message !== undefined) this.#messages.release(entry.message)
    entry.message = undefined
    entry.end()
  }

  /** Takes a block out of the scheduler's hands, after a delivery of it that is under way. Give it back. */
  async claim(key: string): Promise<Disposable> {
    for (;;) {
      const held = this.#blocks.get(key)
      if (held === undefined) break
      if (held === 'claimed') await new Promise<void>(resolve => setImmediate(resolve))
      else if (held.state === 'waiting') this.end(held)
      else await held.whenOver()
    }
    this.#blocks.set(key, 'claimed')
    return { [Symbol.dispose]: () => void this.#blocks.delete(key) }
  }
}
