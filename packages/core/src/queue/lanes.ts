// The lanes in memory, by name: made when first named, forgotten when idle, paused as the operator said.
import { Lane, type Pause } from './lane.ts'
import { shardOf } from './leases.ts'

export class Lanes extends Map<string, Lane> {
  readonly #shards: number
  readonly #pauses = new Map<string, Pause>()

  constructor(shards: number) {
    super()
    this.#shards = shards
  }

  /** The lane of that name, whether there was one or not. */
  of(name: string): Lane {
    let lane = this.get(name)
    if (lane === undefined) {
      lane = new Lane(name, this.shard(name))
      lane.pause = this.#pauses.get(name)
      this.set(name, lane)
    }
    return lane
  }

  shard(name: string): number {
    return shardOf(name, this.#shards)
  }

  /** Remembered for lanes that are not in memory now. */
  pause(name: string, pause: Pause | undefined): Lane {
    if (pause === undefined) this.#pauses.delete(name)
    else this.#pauses.set(name, pause)
    const lane = this.of(name)
    lane.pause = pause
    return lane
  }

  /** Whether deliveries of a shard's lanes are under way. */
  busy(shard: number): boolean {
    for (const lane of this.values()) if (lane.shard === shard && lane.inflight > 0) return true
    return false
  }
}
