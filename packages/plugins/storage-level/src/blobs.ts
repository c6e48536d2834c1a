// Blobs on LevelDB and files: small ones in the database, large ones as files, owners as keys.
import {
  type Blobs,
  type BlobWriter,
  type Clock,
  disownOps,
  inlineKey,
  inlineRef,
  isInlineRef,
  type Log,
  type Op,
  ownOps,
  StorageError,
  silentLog,
  systemClock,
} from '@posthorn/core'
import { BlobFolder, parseFileRef, Slots } from './blob-files.ts'
import { readBlob, type Slice } from './blob-reader.ts'
import { LevelBlobWriter } from './blob-writer.ts'
import { Collector } from './collector.ts'
import type { LevelStorage } from './level.ts'
import { defaultReserve, Space } from './trouble.ts'

/** Files open at once, for writing and for reading each; who comes later waits. */
const openFiles = 1000

export interface BlobOptions {
  /** Where the blobs' records are. */
  readonly storage: LevelStorage
  /** The folder of the files. */
  readonly path: string
  /** Octets of its disk that are left free. */
  readonly free?: number
  readonly clock?: Clock
  readonly log?: Log
}

export class LevelBlobs implements Blobs {
  readonly collector: Collector
  readonly folder: BlobFolder
  readonly #storage: LevelStorage
  readonly #clock: Clock
  readonly #space: Space
  readonly #writing = new Slots(openFiles)
  readonly #reading = new Slots(openFiles)

  private constructor(options: BlobOptions, folder: BlobFolder) {
    this.folder = folder
    this.#storage = options.storage
    this.#clock = options.clock ?? systemClock
    this.#space = new Space(folder.root, options.free ?? defaultReserve, this.#clock)
    this.collector = new Collector({
      storage: options.storage,
      folder,
      clock: this.#clock,
      log: options.log ?? silentLog,
    })
  }

  /** Makes the folders and starts the collector. The store must be open, and by nobody else. */
  static async open(options: BlobOptions): Promise<LevelBlobs> {
    const folder = new BlobFolder(options.path)
    await folder.prepare()
    const blobs = new LevelBlobs(options, folder)
    await blobs.collector.start()
    return blobs
  }

  create(): BlobWriter {
    return new LevelBlobWriter({
      ...this.folder.draft(this.#clock.now()),
      folder: this.folder,
      space: this.#space,
      writing: this.#writing,
      reading: this.#reading,
    })
  }

  inline(bytes: Uint8Array): { ref: string; ops: readonly Op[] } {
    const ref = inlineRef(this.#clock.now())
    return { ref, ops: [{ type: 'put', key: inlineKey(ref), value: bytes }] }
  }

  own(ref: string, owner: string): readonly Op[] {
    return ownOps(ref, owner)
  }

  disown(ref: string, owner: string, sole = false): readonly Op[] {
    return disownOps(ref, owner, sole)
  }

  async *open(ref: string, range?: Slice): AsyncGenerator<Uint8Array> {
    if (isInlineRef(ref)) {
      const bytes = await this.read(ref)
      if (bytes === undefined) throw new StorageError('corrupt', `blob ${ref} is missing`)
      const wanted = bytes.subarray(range?.start ?? 0, range?.end)
      if (wanted.length > 0) yield wanted
      return
    }
    const file = parseFileRef(ref)
    if (file === undefined) throw new StorageError('corrupt', `not a blob: ${JSON.stringify(ref)}`)
    yield* readBlob(this.folder.path(ref), file, this.#reading, range)
  }

  async read(ref: string): Promise<Uint8Array | undefined> {
    return isInlineRef(ref) ? this.#storage.get(inlineKey(ref)) : undefined
  }

  /** Ends the collector's pass; the store may be closed after. */
  async close(): Promise<void> {
    await this.collector.stop()
  }
}
