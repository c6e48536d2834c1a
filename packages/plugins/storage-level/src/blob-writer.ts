// A blob on its way to disk: gathered into large writes, one of them under way while the next fills; synced as it grows,
// named when it is finished.
import { type FileHandle, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Awaitable, type BlobWriter, StorageError } from '@posthorn/core'
import { type BlobFolder, fileRef, type Slots } from './blob-files.ts'
import { closeSlot, openSlot, pieces, type Slice } from './blob-reader.ts'
import { syncFolder } from './database.ts'
import { type Space, troubleOf } from './trouble.ts'

/** Octets of a write. Crossing to a thread costs more than copying what comes from a socket into one of these. */
const gathered = 128 * 1024
/** Octets between syncs, so that finishing a large one does not wait for all of it. */
const syncEvery = 16 * 1024 * 1024

const nothing = Buffer.alloc(0)

interface Where {
  readonly folder: BlobFolder
  readonly space: Space
  /** Files open for writing, and for reading: two pools, so that who writes and reads back cannot lock itself out. */
  readonly writing: Slots
  readonly reading: Slots
  readonly name: string
  readonly path: string
}

export class LevelBlobWriter implements BlobWriter {
  readonly #where: Where
  size = 0
  #crc = 0
  #file: FileHandle | undefined
  #buffer: Buffer | undefined
  #buffered = 0
  /** Was written, and can be filled again. */
  #spare: Buffer | undefined
  /** The last full buffer on its way. */
  #flush: Promise<void> = Promise.resolve()
  /** Octets in the file, and how many of them were synced. */
  #written = 0
  #synced = 0
  #state: 'open' | 'finishing' | 'finished' | 'aborted' = 'open'
  /** Its place, once it has one. */
  #named: string | undefined
  #fault: StorageError | undefined
  /** The last step; steps follow each other. */
  #tail: Promise<void> = Promise.resolve()

  constructor(where: Where) {
    this.#where = where
  }

  write(chunk: Uint8Array): Awaitable<void> {
    this.#assertOpen()
    this.#crc = crc32(chunk, this.#crc)
    this.size += chunk.length
    let wait: Promise<void> | undefined
    for (let at = 0; at < chunk.length; ) {
      if (this.#buffer === undefined) {
        this.#buffer = this.#spare ?? Buffer.allocUnsafeSlow(gathered)
        this.#spare = undefined
      }
      const part = chunk.subarray(at, at + gathered - this.#buffered)
      this.#buffer.set(part, this.#buffered)
      this.#buffered += part.length
      at += part.length
      if (this.#buffered === gathered) wait = this.#flushed()
    }
    return wait
  }

  /** Hands the full buffer to the disk; who calls waits for the one before it. */
  #flushed(): Promise<void> {
    const full = this.#gathered()
    const before = this.#flush
    this.#flush = this.#step(() => this.#put(full)).then(() => {
      this.#spare = full
    })
    // The next write, or finish, meets the fault again.
    this.#flush.catch(() => {})
    return before
  }

  async *open(range?: Slice): AsyncGenerator<Uint8Array> {
    if (this.#state === 'aborted') throw this.#over()
    const { size } = this
    if (size === 0) return
    const { reading } = this.#where
    const rest = this.#gathered()
    let file: FileHandle | undefined
    await this.#step(async () => {
      await this.#put(rest)
      file = await openSlot(this.#named ?? this.#where.path, reading)
    })
    try {
      yield* pieces(file as unknown as FileHandle, size, range)
    } finally {
      await closeSlot(file as unknown as FileHandle, reading)
    }
  }

  async finish(): Promise<string> {
    this.#assertOpen()
    this.#state = 'finishing'
    const { folder, name, path } = this.#where
    const ref = fileRef(name, this.#crc, this.size)
    const rest = this.#gathered()
    try {
      await this.#step(async () => {
        await this.#put(rest)
        const file = await this.#opened()
        const shard = await folder.shard(ref)
        const named = join(shard, ref)
        // Named before it is synced: a journal then commits both at once. What a power cut leaves of it has no owner.
        await rename(path, named)
        this.#named = named
        await file.datasync()
        await this.#close()
        await syncFolder(shard)
      })
      if (this.#state !== 'finishing') throw this.#over()
    } catch (error) {
      await this.abort()
      throw error
    }
    this.#state = 'finished'
    return ref
  }

  async abort(): Promise<void> {
    if (this.#state === 'finished' || this.#state === 'aborted') return
    this.#state = 'aborted'
    this.#buffer = undefined
    await this.#tail.catch(() => {})
    await this.#close().catch(() => {})
    // What cannot be removed now goes at the next start.
    await unlink(this.#named ?? this.#where.path).catch(() => {})
  }

  #step(fn: () => Promise<void>): Promise<void> {
    const step = this.#tail.then(async () => {
      if (this.#fault !== undefined) throw this.#fault
      try {
        await fn()
      } catch (error) {
        // A failed write or sync is never tried again: the blob is refused.
        this.#fault = troubleOf(error, `writing a blob in ${this.#where.folder.root}`)
        throw this.#fault
      }
    })
    this.#tail = step.catch(() => {})
    return step
  }

  /** What has been gathered and is no longer ours to fill. */
  #gathered(): Buffer {
    const part = this.#buffer?.subarray(0, this.#buffered) ?? nothing
    this.#buffer = undefined
    this.#buffered = 0
    return part
  }

  async #put(part: Buffer): Promise<void> {
    if (part.length === 0) return
    const file = await this.#opened()
    // A write may take less than it was given, at the end of a disk say.
    for (let done = 0; done < part.length; ) {
      const { bytesWritten } = await file.write(part, done, part.length - done, this.#written)
      done += bytesWritten
      this.#written += bytesWritten
    }
    if (this.#written - this.#synced < syncEvery) return
    this.#assertRoom()
    await file.datasync()
    this.#synced = this.#written
  }

  async #opened(): Promise<FileHandle> {
    if (this.#file !== undefined) return this.#file
    this.#assertRoom()
    await this.#where.writing.take()
    try {
      this.#file = await this.#where.folder.create(this.#where.path)
    } catch (error) {
      this.#where.writing.give()
      throw error
    }
    return this.#file
  }

  async #close(): Promise<void> {
    const file = this.#file
    if (file === undefined) return
    this.#file = undefined
    this.#where.writing.give()
    await file.close()
  }

  #assertRoom(): void {
    const refusal = this.#where.space.refusal()
    if (refusal !== undefined) throw refusal
  }

  #assertOpen(): void {
    if (this.#fault !== undefined) throw this.#fault
    if (this.#state !== 'open') throw this.#over()
  }

  #over(): StorageError {
    return new StorageError('closed', `this blob is ${this.#state}`)
  }
}
