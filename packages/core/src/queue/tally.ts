// How much is queued: counted once after boot in the background, kept by every write after.
import { unrouted } from './keys.ts'
import type { Block } from './records.ts'

/** Recipients by what they wait for. `due`: not yet tried. `report`: done, and their sender is yet to be told. */
export type Waiting = 'due' | 'deferred' | 'held' | 'unrouted' | 'report'

export const waitingOf = (block: Block): Waiting => {
  if (block.status !== 'queued') return block.status
  if (block.lane === unrouted) return 'unrouted'
  return (block.recipients[0]?.tries ?? 1) === 0 ? 'due' : 'deferred'
}

export class Tally {
  messages = 0
  /** Messages since boot. */
  accepted = 0
  readonly recipients: Record<Waiting, number> = { due: 0, deferred: 0, held: 0, unrouted: 0, report: 0 }
  /** Recipients since boot, by how an attempt ended. */
  readonly done = { delivered: 0, deferred: 0, failed: 0, held: 0, dropped: 0 }
  /** Whether what was queued before boot is in the counts. */
  complete = false

  /** Recipients queued in each lane that has some. */
  readonly lanes = new Map<string, number>()

  /** Grows with whatever is accepted or tried. */
  get moved(): number {
    const { delivered, deferred, failed, held, dropped } = this.done
    return this.accepted + delivered + deferred + failed + held + dropped
  }

  /** `size`: of a block whose recipients were left out, all but the first. */
  add(block: Block, size = block.recipients.length): void {
    this.#count(block, size)
  }

  /** `size`: of a block whose recipients were left out. */
  remove(block: Block, size = block.recipients.length): void {
    this.#count(block, -size)
  }

  replace(before: Block, after: readonly Block[]): void {
    this.remove(before)
    for (const block of after) this.add(block)
  }

  #count(block: Block, size: number): void {
    this.recipients[waitingOf(block)] += size
    if (block.status !== 'queued') return
    const left = (this.lanes.get(block.lane) ?? 0) + size
    if (left > 0) this.lanes.set(block.lane, left)
    else this.lanes.delete(block.lane)
  }
}
