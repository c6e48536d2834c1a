// A blob on its way to disk: gathered into large writes, synced as it grows, named when it is finished.
import { type FileHandle, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Awaitable, type BlobWriter, StorageError } from '@posthorn/core'
import { type BlobFolder, fileRef, type Slots } from './blob-files.ts'
import { closeSlot, openSlot, pieces, type Slice } from './blob-reader.ts'
import { syncFolder } from './database.ts'
import { type Space, troubleOf } from './trouble.ts'

/** Smaller chunks are gathered up to this. */
const gathered = 64 * 1024
/** A chunk of this size is written as it is. */
const worthwhile = 16 * 1024
/** Octets between syncs, so that finishing a large one does not wait for all of it. */
const syncEvery = 16 * 1024 * 1024

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
    const small = this.#buffered > 0 || chunk.length < worthwhile
    if (small && this.#buffered + chunk.length <= gathered) {
      this.#buffer ??= Buffer.allocUnsafeSlow(gathered)
      this.#buffer.set(chunk, this.#buffered)
      this.#buffered += chunk.length
      return
    }
    // Taken now, not when its turn comes: the order of octets is the order of calls.
    const parts = this.#gathered()
    parts.push(chunk)
    return this.#step(() => this.#put(parts))
  }

  async *open(range?: Slice): AsyncGenerator<Uint8Array> {
    if (this.#state === 'aborted') throw this.#over()
    const { size } = this
    if (size === 0) return
    const { reading } = this.#where
    const parts = this.#gathered()
    let file: FileHandle | undefined
    await this.#step(async () => {
      await this.#put(parts)
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
    const parts = this.#gathered()
    try {
      await this.#step(async () => {
        await this.#put(parts)
        const file = await this.#opened()
        await file.datasync()
        await this.#close()
        const shard = await folder.shard(ref)
        const named = join(shard, ref)
        await rename(path, named)
        this.#named = named
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

  #gathered(): Uint8Array[] {
    if (this.#buffer === undefined) return []
    const part = this.#buffer.subarray(0, this.#buffered)
    this.#buffer = undefined
    this.#buffered = 0
    return [part]
  }

  async #put(parts: Uint8Array[]): Promise<void> {
    if (parts.length === 0) return
    const file = await this.#opened()
    this.#written += await writeAll(file, parts, this.#written)
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

/** A write may take less than it was given, at the end of a disk say. */
async function writeAll(file: FileHandle, parts: Uint8Array[], position: number): Promise<number> {
  const total = parts.reduce((sum, part) => sum + part.length, 0)
  let done = 0
  while (done < total) {
    const { bytesWritten } = await file.writev(parts, position + done)
    done += bytesWritten
    let taken = bytesWritten
    while (parts.length > 0 && taken >= (parts[0] as Uint8Array).length) taken -= (parts.shift() as Uint8Array).length
    if (parts.length > 0 && taken > 0) parts[0] = (parts[0] as Uint8Array).subarray(taken)
  }
  return total
}
