// A block of recipients in memory: waiting in its lane, or being delivered. At most one for each block, so nothing is
// delivered twice at the same time.
import type { Lane } from './lane.ts'
import type { Loaded } from './messages.ts'
import type { Block } from './records.ts'
import type { Routed } from './routing.ts'

export class Entry {
  /** Of the block's record. */
  readonly key: string
  readonly id: string
  readonly n: number
  readonly rank: number
  readonly sender: string
  lane: Lane
  /** Its key in the lane's index. */
  index: string
  /** `over`: delivered, or taken out by an operator; who meets it in a lane passes on. */
  state: 'waiting' | 'busy' | 'over' = 'waiting'
  /** Octets that it holds of the hand-over's limit; 0: it came from the index. */
  handed: number
  block: Block | undefined
  message: Loaded | undefined
  /** By recipient id, as asked of the generation of that number. */
  routes: ReadonlyMap<string, Routed> | undefined
  routedBy = 0
  /** What the attempt left of its block, to be looked after once nobody works on this entry. */
  left: readonly Block[] = []
  /** Too old, in a lane that does not answer: fail it without a further try. */
  expired = false
  #over: (() => void)[] | undefined

  constructor(
    lane: Lane,
    key: string,
    index: string,
    id: string,
    n: number,
    rank: number,
    sender: string,
    handed: number,
  ) {
    this.lane = lane
    this.key = key
    this.index = index
    this.id = id
    this.n = n
    this.rank = rank
    this.sender = sender
    this.handed = handed
  }

  /** Resolves when nobody works on it any more. */
  whenOver(): Promise<void> {
    if (this.state === 'over') return Promise.resolve()
    return new Promise(resolve => {
      this.#over ??= []
      this.#over.push(resolve)
    })
  }

  end(): void {
    this.state = 'over'
    const told = this.#over
    this.#over = undefined
    if (told !== undefined) for (const tell of told) tell()
  }
}
