// Blobs in memory, their records in a Storage as in the real one. Files live in a Map that a test may keep over a crash.
import {
  type Awaitable,
  type Blobs,
  type BlobWriter,
  disownOps,
  inlineKey,
  inlineRef,
  isInlineRef,
  newBlobName,
  type Op,
  ownOps,
  type Storage,
  StorageError,
  under,
} from '@posthorn/core'

const chunkSize = 64 * 1024

interface Slice {
  readonly start: number
  readonly end: number
}

/** Pieces of at most 64 KiB, as a file would give. */
function* pieces(bytes: Uint8Array, range?: Slice): Generator<Uint8Array> {
  const end = Math.min(range?.end ?? bytes.length, bytes.length)
  for (let at = range?.start ?? 0; at < end; at += chunkSize)
    yield new Uint8Array(bytes.subarray(at, Math.min(at + chunkSize, end)))
}

class MemoryBlobWriter implements BlobWriter {
  readonly #files: Map<string, Uint8Array>
  readonly #chunks: Uint8Array[] = []
  #state: 'open' | 'finished' | 'aborted' = 'open'
  size = 0

  constructor(files: Map<string, Uint8Array>) {
    this.#files = files
  }

  write(chunk: Uint8Array): Awaitable<void> {
    this.#assertOpen()
    this.#chunks.push(new Uint8Array(chunk))
    this.size += chunk.length
  }

  async *open(range?: Slice): AsyncGenerator<Uint8Array> {
    if (this.#state === 'aborted') this.#assertOpen()
    yield* pieces(Buffer.concat(this.#chunks), range)
  }

  async finish(): Promise<string> {
    this.#assertOpen()
    this.#state = 'finished'
    const ref = `f${newBlobName(Date.now())}`
    this.#files.set(ref, new Uint8Array(Buffer.concat(this.#chunks)))
    return ref
  }

  async abort(): Promise<void> {
    if (this.#state === 'open') this.#state = 'aborted'
    if (this.#state === 'aborted') this.#chunks.length = 0
  }

  #assertOpen(): void {
    if (this.#state !== 'open') throw new StorageError('closed', `this blob was ${this.#state}`)
  }
}

export interface MemoryBlobs extends Blobs {
  /** Finished files by reference: give them to the next memoryBlobs to live through a crash. */
  readonly files: Map<string, Uint8Array>
  /** One pass of the collector; how many blobs went. */
  collect(): Promise<number>
}

/** Blobs over `storage`, which must be the one that their ops are written to. */
export function memoryBlobs(storage: Storage, files = new Map<string, Uint8Array>()): MemoryBlobs {
  const missing = (ref: string) => new StorageError('corrupt', `blob ${ref} is missing`)
  return {
    files,
    create: () => new MemoryBlobWriter(files),
    inline(bytes) {
      const ref = inlineRef(Date.now())
      return { ref, ops: [{ type: 'put', key: inlineKey(ref), value: bytes }] }
    },
    own: ownOps,
    disown: (ref, owner, sole = false) => disownOps(ref, owner, sole),
    async *open(ref, range) {
      const bytes = isInlineRef(ref) ? await storage.get(inlineKey(ref)) : files.get(ref)
      if (bytes === undefined) throw missing(ref)
      yield* pieces(bytes, range)
    },
    read: async ref => (isInlineRef(ref) ? await storage.get(inlineKey(ref)) : undefined),
    async collect() {
      let removed = 0
      for await (const batch of storage.range(under('g/')))
        for (const [key, by] of batch) {
          const ref = key.slice(2)
          let owned = false
          for await (const owners of storage.range({ ...under(`b/${ref}/`), limit: 1 })) owned = owners.length > 0
          const ops: Op[] = [{ type: 'del', key }]
          if (!owned) {
            removed++
            files.delete(ref)
            if (isInlineRef(ref)) ops.push({ type: 'del', key: inlineKey(ref) })
          }
          await storage.write(ops, { when: [{ key, equals: by }] })
        }
      return removed
    },
  }
}
