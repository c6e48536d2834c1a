// Which of several next hops to try first: in the given order, but those that failed a moment ago last.
import { hopKey, type NextHop, type SmtpFailure } from '@posthorn/core/client'

/** Milliseconds that a hop which failed is tried after the others. */
const avoided = 30_000

export class HopMemory {
  readonly #failed = new Map<string, number>()

  /** `now`: milliseconds, of any clock that goes on. Always all of the hops: where all failed, all are tried again. */
  order(hops: readonly NextHop[], now: number): readonly NextHop[] {
    if (this.#failed.size === 0 || hops.length < 2) return hops
    const good: NextHop[] = []
    const bad: NextHop[] = []
    for (const hop of hops) {
      const since = this.#failed.get(hopKey(hop))
      if (since !== undefined && now - since < avoided) bad.push(hop)
      else good.push(hop)
    }
    return [...good, ...bad]
  }

  failed(hop: NextHop, now: number): void {
    if (this.#failed.size === 1000) this.#failed.clear()
    this.#failed.set(hopKey(hop), now)
  }

  worked(hop: NextHop): void {
    if (this.#failed.size > 0) this.#failed.delete(hopKey(hop))
  }
}

/** Whether another hop may be tried: the fault is this hop's, and nothing of the message can be there. */
export function mayFailOver({ phase, kind, unknown }: SmtpFailure): boolean {
  if (unknown || kind === 'aborted' || kind === 'closed') return false
  return phase === 'connect' || phase === 'hello' || phase === 'mail'
}
