// A set of very many keys in eight octets each: their hashes. It may take a key for one of its own that is none, once in
// 10^9 asked at a million; never the other way round.

const multiplier = 0x01000193
const first = 1024

export class KeySet {
  #slots = new Float64Array(first)
  #size = 0

  get size(): number {
    return this.#size
  }

  add(key: string): void {
    if (2 * this.#size >= this.#slots.length) this.#grow()
    this.#put(hash(key))
  }

  has(key: string): boolean {
    const wanted = hash(key)
    const mask = this.#slots.length - 1
    for (let at = wanted & mask; ; at = (at + 1) & mask) {
      const found = this.#slots[at]
      if (found === wanted) return true
      if (found === 0) return false
    }
  }

  #put(value: number): void {
    const mask = this.#slots.length - 1
    let at = value & mask
    for (; this.#slots[at] !== 0; at = (at + 1) & mask) if (this.#slots[at] === value) return
    this.#slots[at] = value
    this.#size++
  }

  #grow(): void {
    const before = this.#slots
    this.#slots = new Float64Array(before.length * 2)
    this.#size = 0
    for (const value of before) if (value !== 0) this.#put(value)
  }
}

/** Two FNV-1a sums that part at the first character, as one whole number of 52 bits that is never 0. */
function hash(key: string): number {
  let a = 0x811c9dc5
  let b = 0x2f0b4c27
  for (let i = 0; i < key.length; i++) {
    const code = key.charCodeAt(i)
    a = Math.imul(a ^ code, multiplier)
    b = Math.imul(b ^ code, multiplier)
    b ^= b >>> 15
  }
  return (b >>> 12) * 2 ** 32 + (a >>> 0) + 1
}
