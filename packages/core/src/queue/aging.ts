// Mail in a lane that does not answer is not tried, yet it grows old: this looks through the index of such lanes, and
// fails what is over its time and marks what is owed a delay report. Without it a dead destination would keep mail for ever.
import type { Op } from '../storage/contract.ts'
import type { Desk } from './desk.ts'
import { reasonOf } from './errors.ts'
import { delayKey } from './keys.ts'
import type { Lane } from './lane.ts'
import { laneEntries } from './scan.ts'
import type { Scheduler } from './scheduler.ts'

const interval = 600_000
const nothing = new Uint8Array(0)

export class Aging {
  readonly #desk: Desk
  readonly #scheduler: Scheduler
  #timer: (() => void) | undefined
  #stopped = false

  constructor(desk: Desk, scheduler: Scheduler) {
    this.#desk = desk
    this.#scheduler = scheduler
  }

  start(): void {
    this.#arm()
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.()
  }

  #arm(): void {
    if (this.#stopped) return
    this.#timer = this.#desk.clock.after(interval, () => void this.#sweep().finally(() => this.#arm()))
  }

  async #sweep(): Promise<void> {
    for (const lane of [...this.#scheduler.lanes.values()]) {
      if (this.#stopped) return
      if (lane.failures === 0 || lane.pause !== undefined || !this.#desk.leases.owns(lane.shard)) continue
      try {
        await this.#sweepLane(lane)
      } catch (error) {
        this.#desk.log.warn({ lane: lane.name, error: reasonOf(error) }, 'a lane could not be looked through')
        return
      }
    }
  }

  async #sweepLane(lane: Lane): Promise<void> {
    const { storage, clock, generation, journal } = this.#desk
    const now = clock.now()
    const { queue } = generation().config
    const expire = lane.policy?.expire ?? queue.expire
    const before = lane.sweptAt
    for await (const entries of laneEntries(storage, lane.key, now)) {
      const marks: Op[] = []
      for (const { key, id, n, rank, since, sender } of entries) {
        if (this.#stopped || lane.failures === 0) return
        const late = since + queue.delayReport
        if (since + expire <= now) await this.#scheduler.expire(lane, key, id, n, rank, sender)
        else if (late <= now && late > before) marks.push({ type: 'put', key: delayKey(late, id), value: nothing })
      }
      if (marks.length > 0 && (await journal.write(marks, true, undefined))) this.#desk.late(before)
    }
    lane.sweptAt = now
  }
}
