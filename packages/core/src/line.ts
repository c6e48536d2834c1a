// A line of objects that hold their place themselves: any of them may leave from the middle, and who has left points at
// nobody. So nothing that is over keeps alive what came after it (docs/decisions/0011).

/** What may stand in a line; one at a time. */
export interface Linked<T extends Linked<T>> {
  line: Line<T> | undefined
  prev: T | undefined
  next: T | undefined
}

export class Line<T extends Linked<T>> {
  #first: T | undefined
  #last: T | undefined
  #size = 0

  get first(): T | undefined {
    return this.#first
  }

  get size(): number {
    return this.#size
  }

  /** Adds what stands in no line. */
  join(member: T): void {
    member.line = this
    member.prev = this.#last
    if (this.#last === undefined) this.#first = member
    else this.#last.next = member
    this.#last = member
    this.#size++
  }

  /** Whether it stood here. */
  leave(member: T): boolean {
    if (member.line !== this) return false
    const { prev, next } = member
    if (prev === undefined) this.#first = next
    else prev.next = next
    if (next === undefined) this.#last = prev
    else next.prev = prev
    member.line = undefined
    member.prev = undefined
    member.next = undefined
    this.#size--
    return true
  }

  /** Those that stand here now; who leaves meanwhile is passed over. */
  *[Symbol.iterator](): Generator<T> {
    const members: T[] = []
    for (let member = this.#first; member !== undefined; member = member.next) members.push(member)
    for (const member of members) if (member.line === this) yield member
  }
}
