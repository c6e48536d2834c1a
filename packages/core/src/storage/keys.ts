// The order of keys, and what a key may be. Every back end and every in-memory view of one sorts by this.
import type { Range } from './contract.ts'

/** Orders keys by their UTF-8 octets, which is the order of their code points; JavaScript's own order differs above U+D7FF. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    let x = a.charCodeAt(i)
    let y = b.charCodeAt(i)
    if (x === y) continue
    if (x >= 0xd800 && y >= 0xd800) {
      // Surrogates stand for code points above U+FFFF, so they sort after U+E000..U+FFFF.
      x += x >= 0xe000 ? -0x800 : 0x2000
      y += y >= 0xe000 ? -0x800 : 0x2000
    }
    return x - y
  }
  return a.length - b.length
}

/** The range of all keys that begin with `prefix`. */
export function under(prefix: string): Range {
  return { gte: prefix, lt: `${prefix}\u{10ffff}` }
}

/** Throws for keys that no back end stores: empty ones, those that begin with NUL (the back end's own) and lone surrogates. */
export function assertKey(key: string): void {
  if (key.charCodeAt(0) > 0 && key.isWellFormed()) return
  throw new TypeError(`not a storage key: ${JSON.stringify(key)}`)
}
