// A map in key order with free snapshots: chunks of entries, copied when written after a snapshot. Under memoryStorage.
import { compareKeys, type Entry } from '@posthorn/core'

const chunkSize = 512

interface Chunk {
  epoch: number
  keys: string[]
  values: Uint8Array[]
}

/** The first index in `keys` that is not below `key`. */
function seek(keys: readonly string[], key: string): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareKeys(keys[middle] as string, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}

/** The last chunk whose first key is not above `key`; the first chunk where there is none. */
function seekChunk(chunks: readonly Chunk[], key: string): number {
  let low = 0
  let high = chunks.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareKeys(chunks[middle]?.keys[0] as string, key) <= 0) low = middle + 1
    else high = middle
  }
  return Math.max(0, low - 1)
}

export interface Snapshot {
  entries(gte: string, lt: string, reverse: boolean): Generator<Entry>
}

/** Sorts by UTF-8 octets, as the stores do. A snapshot costs one copy of the list of chunks. */
export class SortedMap implements Snapshot {
  #chunks: Chunk[] = []
  #epoch = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  get(key: string): Uint8Array | undefined {
    const chunk = this.#chunks[seekChunk(this.#chunks, key)]
    if (chunk === undefined) return undefined
    const i = seek(chunk.keys, key)
    return chunk.keys[i] === key ? chunk.values[i] : undefined
  }

  set(key: string, value: Uint8Array): void {
    if (this.#chunks.length === 0) {
      this.#chunks.push({ epoch: this.#epoch, keys: [key], values: [value] })
      this.#size = 1
      return
    }
    const at = seekChunk(this.#chunks, key)
    const chunk = this.#own(at)
    const i = seek(chunk.keys, key)
    if (chunk.keys[i] === key) {
      chunk.values[i] = value
      return
    }
    chunk.keys.splice(i, 0, key)
    chunk.values.splice(i, 0, value)
    this.#size++
    if (chunk.keys.length <= chunkSize) return
    // Keys mostly arrive in order: leave the lower part nearly full.
    const half = i === chunkSize ? chunkSize - 8 : chunkSize >> 1
    const upper = { epoch: this.#epoch, keys: chunk.keys.splice(half), values: chunk.values.splice(half) }
    this.#chunks.splice(at + 1, 0, upper)
  }

  delete(key: string): void {
    const at = seekChunk(this.#chunks, key)
    const keys = this.#chunks[at]?.keys
    if (keys === undefined) return
    const i = seek(keys, key)
    if (keys[i] !== key) return
    const chunk = this.#own(at)
    chunk.keys.splice(i, 1)
    chunk.values.splice(i, 1)
    this.#size--
    if (chunk.keys.length === 0) this.#chunks.splice(at, 1)
  }

  /** The map as it is now, whatever is written later. */
  snapshot(): Snapshot {
    this.#epoch++
    const chunks = this.#chunks.slice()
    return { entries: (gte, lt, reverse) => entries(chunks, gte, lt, reverse) }
  }

  /** Must not be written to meanwhile; take a snapshot where it may be. */
  entries(gte: string, lt: string, reverse: boolean): Generator<Entry> {
    return entries(this.#chunks, gte, lt, reverse)
  }

  #own(at: number): Chunk {
    const chunk = this.#chunks[at] as Chunk
    if (chunk.epoch === this.#epoch) return chunk
    const copy = { epoch: this.#epoch, keys: chunk.keys.slice(), values: chunk.values.slice() }
    this.#chunks[at] = copy
    return copy
  }
}

function* entries(chunks: readonly Chunk[], gte: string, lt: string, reverse: boolean): Generator<Entry> {
  const step = reverse ? -1 : 1
  for (let c = seekChunk(chunks, reverse ? lt : gte); c >= 0 && c < chunks.length; c += step) {
    const { keys, values } = chunks[c] as Chunk
    for (let i = reverse ? seek(keys, lt) - 1 : seek(keys, gte); i >= 0 && i < keys.length; i += step) {
      const key = keys[i] as string
      if (reverse ? compareKeys(key, gte) < 0 : compareKeys(key, lt) >= 0) return
      yield [key, values[i] as Uint8Array]
    }
  }
}
