// What the keys of conditions hold, writes under way included: fences are asked for with every delivery, so a value that
// was looked up once is remembered, and follows what is written.
import type { Condition, Op } from '@posthorn/core'

/** Keys whose values are remembered. */
const most = 1024

export class Conditions {
  readonly #look: (key: string) => Uint8Array | null
  readonly #known = new Map<string, Uint8Array | null>()
  /** How those keys begin: most keys never were a condition, and to look a string up takes V8 its hash. */
  readonly #beginnings = new Set<number>()

  /** `look`: what a key holds, writes under way included; null for nothing. */
  constructor(look: (key: string) => Uint8Array | null) {
    this.#look = look
  }

  areMet(when: readonly Condition[]): boolean {
    for (const { key, equals } of when) {
      const found = this.#value(key)
      if (found === equals) continue
      if (found === null || equals === null ? found !== equals : Buffer.compare(found, equals) !== 0) return false
    }
    return true
  }

  /** These will be written, or {@link forget} is called. */
  written(ops: readonly Op[]): void {
    if (this.#known.size === 0) return
    for (const op of ops) {
      if (!this.#beginnings.has(op.key.charCodeAt(0)) || !this.#known.has(op.key)) continue
      this.#known.set(op.key, op.type === 'put' ? op.value : null)
    }
  }

  forget(): void {
    this.#known.clear()
    this.#beginnings.clear()
  }

  #value(key: string): Uint8Array | null {
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const found = this.#look(key)
    if (this.#known.size >= most) this.forget()
    this.#known.set(key, found)
    this.#beginnings.add(key.charCodeAt(0))
    return found
  }
}
