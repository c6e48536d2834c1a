// A map for what comes and goes by the thousand. A Map that is emptied as fast as it is filled leaves dead tables behind,
// which keep alive what was in flight (docs/decisions/0011). Here only names and numbers go into a Map; members have seats,
// which are cleared when they leave.

export class Roster<T> {
  readonly #seats = new Map<string, number>()
  readonly #members: (T | undefined)[] = []
  readonly #free: number[] = []

  get size(): number {
    return this.#seats.size
  }

  has(name: string): boolean {
    return this.#seats.has(name)
  }

  /** Those that are here now. */
  *values(): Generator<T> {
    for (const seat of this.#seats.values()) yield this.#members[seat] as T
  }

  get(name: string): T | undefined {
    const seat = this.#seats.get(name)
    return seat === undefined ? undefined : this.#members[seat]
  }

  set(name: string, member: T): void {
    let seat = this.#seats.get(name)
    if (seat === undefined) {
      seat = this.#free.pop() ?? this.#members.length
      this.#seats.set(name, seat)
    }
    this.#members[seat] = member
  }

  delete(name: string): void {
    const seat = this.#seats.get(name)
    if (seat === undefined) return
    this.#seats.delete(name)
    this.#members[seat] = undefined
    this.#free.push(seat)
  }
}
