// Whose turn it is inside a lane: what is more urgent first, then sender by sender, each sender's mail in order. A
// newsletter of 50,000 is one sender: a letter waits for one of its blocks, not for all.
import { Fifo } from './fifo.ts'

interface Turning {
  readonly sender: string
  readonly rank: number
}

interface Sender<T> {
  readonly name: string
  readonly waiting: Fifo<T>
}

interface Level<T> {
  readonly rank: number
  readonly senders: Map<string, Sender<T>>
  readonly order: Fifo<Sender<T>>
}

export class Turns<T extends Turning> {
  /** By rank, the most urgent first. Nearly always one. */
  readonly #levels: Level<T>[] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  push(item: T): void {
    this.#size++
    const level = this.#level(item.rank)
    let sender = level.senders.get(item.sender)
    if (sender === undefined) {
      sender = { name: item.sender, waiting: new Fifo() }
      level.senders.set(item.sender, sender)
      level.order.push(sender)
    }
    sender.waiting.push(item)
  }

  next(): T | undefined {
    for (const level of this.#levels) {
      const sender = level.order.shift()
      if (sender === undefined) continue
      const item = sender.waiting.shift() as T
      if (sender.waiting.length > 0) level.order.push(sender)
      else level.senders.delete(sender.name)
      this.#size--
      return item
    }
    return undefined
  }

  *[Symbol.iterator](): Generator<T> {
    for (const level of this.#levels) for (const sender of level.senders.values()) yield* sender.waiting
  }

  #level(rank: number): Level<T> {
    let at = 0
    while (at < this.#levels.length && (this.#levels[at] as Level<T>).rank < rank) at++
    const found = this.#levels[at]
    if (found?.rank === rank) return found
    const level: Level<T> = { rank, senders: new Map(), order: new Fifo() }
    this.#levels.splice(at, 0, level)
    return level
  }
}
