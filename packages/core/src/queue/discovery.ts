// The look through the index for lanes, after boot and when another node's shards are taken over: beside deliveries, and
// not far ahead of them.
import type { Active } from './active.ts'
import type { Desk } from './desk.ts'
import type { Lane } from './lane.ts'
import type { Lanes } from './lanes.ts'
import { discover, type Found } from './scan.ts'

/**
 * Blocks that are read ahead of deliveries. What waits for longer than V8's young generation lasts is copied twice, which
 * took a hundred thousand lanes a fifth of their rate.
 */
const readAhead = 1000
/** Milliseconds of rest where deliveries do not catch up: lanes that stand still must not keep others unknown. */
const rest = 250

/** What becomes of what is found. */
export interface Finder {
  take(lane: Lane, found: Found, now: number): void
  arouse(lane: Lane): void
}

export class Discovery {
  readonly #desk: Pick<Desk, 'storage' | 'clock'>
  readonly #active: Pick<Active, 'indexed'>
  readonly #lanes: Lanes
  readonly #finder: Finder
  #stopped = false
  /** Ends the rest of each run that rests: there may be two, for two shards. */
  readonly #resting = new Set<() => void>()

  constructor(desk: Pick<Desk, 'storage' | 'clock'>, active: Pick<Active, 'indexed'>, lanes: Lanes, finder: Finder) {
    this.#desk = desk
    this.#active = active
    this.#lanes = lanes
    this.#finder = finder
  }

  /** All lanes, or those of the shards, once through. Rejects with what reading the index says. */
  async run(shards: ReadonlySet<number> | undefined): Promise<void> {
    const ours = (name: string) => shards === undefined || shards.has(this.#lanes.shard(name))
    let read = 0
    for await (const { found, cut } of discover(this.#desk.storage)) {
      if (this.#stopped) return
      const now = this.#desk.clock.now()
      for (const one of found) {
        const name = decodeURIComponent(one.lane)
        if (!ours(name)) continue
        const lane = this.#lanes.of(name)
        this.#finder.take(lane, one, now)
        this.#finder.arouse(lane)
      }
      const name = cut === undefined ? '' : decodeURIComponent(cut.lane)
      if (cut !== undefined && ours(name)) {
        const lane = this.#lanes.of(name)
        lane.note(cut.rank, cut.key)
        this.#finder.arouse(lane)
      }
      read += found.length
      if (read < readAhead || this.#active.indexed < readAhead) continue
      read = 0
      await this.#rest()
    }
  }

  /** A delivery did: there may be reason to go on. */
  ended(): void {
    if (this.#active.indexed < readAhead) this.#wake()
  }

  stop(): void {
    this.#stopped = true
    this.#wake()
  }

  #rest(): Promise<void> {
    return new Promise(resolve => {
      const go = () => {
        this.#resting.delete(go)
        cancel()
        resolve()
      }
      const cancel = this.#desk.clock.after(rest, go)
      this.#resting.add(go)
    })
  }

  #wake(): void {
    for (const go of this.#resting) go()
  }
}
