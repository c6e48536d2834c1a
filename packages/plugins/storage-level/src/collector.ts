// Removes blobs that nobody owns any more: those whose owner left (`g/<ref>`), at once and in bounded batches, and at
// boot the files that a crash left behind. A removal of an owner is synced before this sees it, so files may go.
import { readdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, inlineKey, isInlineRef, type Log, type Op, under } from '@posthorn/core'
import { type BlobFolder, parseFileRef } from './blob-files.ts'
import type { LevelStorage } from './level.ts'

const batchSize = 500
const pause = 200
const pauseAfterError = 30_000
/** A finished blob gets its owner within a message's deadline; an hour is far beyond. */
const orphanAge = 3_600_000

export interface CollectorOptions {
  readonly storage: LevelStorage
  readonly folder: BlobFolder
  readonly clock: Clock
  readonly log: Log
}

export class Collector {
  readonly #options: CollectorOptions
  #watch: Disposable | undefined
  #cancel: (() => void) | undefined
  #running: Promise<unknown> = Promise.resolve()
  #holds = 0
  #stopped = false
  /** Blobs and files removed since it was started. */
  removed = 0

  constructor(options: CollectorOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { storage, folder } = this.#options
    // What is unfinished now was unfinished when the process before died: this store has one owner.
    const drafts = await readdir(folder.tmp)
    this.#watch = storage.watch('g/', () => this.#soon(pause))
    this.#run(() => this.#tidy(drafts))
    this.#soon(pause)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#watch?.[Symbol.dispose]()
    this.#cancel?.()
    await this.#running
  }

  /** Nothing is removed until the result is disposed of: a backup links files meanwhile. */
  async hold(): Promise<Disposable> {
    this.#holds++
    await this.#running
    return {
      [Symbol.dispose]: () => {
        if (--this.#holds === 0) this.#soon(pause)
      },
    }
  }

  /** Removes all that is garbage now; how many blobs that were. */
  async collect(): Promise<number> {
    let removed = 0
    const pass = this.#running.then(async () => {
      for (let more = true; more && this.#free; ) {
        const step = await this.#step()
        removed += step.removed
        more = step.more
      }
    })
    this.#running = pass.catch(() => {})
    await pass
    return removed
  }

  get #free(): boolean {
    return !this.#stopped && this.#holds === 0
  }

  #soon(ms: number): void {
    if (this.#cancel !== undefined || !this.#free) return
    this.#cancel = this.#options.clock.after(ms, () => {
      this.#cancel = undefined
      this.#run(async () => {
        if (this.#free && (await this.#step()).more) this.#soon(0)
      })
    })
  }

  #run(fn: () => Promise<void>): void {
    this.#running = this.#running.then(fn).catch(error => {
      if (this.#stopped) return
      this.#options.log.warn({ err: error }, 'collecting blobs failed; it is tried again')
      this.#soon(pauseAfterError)
    })
  }

  async #step(): Promise<{ removed: number; more: boolean }> {
    const { storage, folder } = this.#options
    const ops: Op[] = []
    let removed = 0
    let seen = 0
    for await (const entries of storage.range({ ...under('g/'), limit: batchSize }))
      for (const [key, by] of entries) {
        const ref = key.slice(2)
        seen++
        if (await this.#owned(ref)) {
          // Unless the next owner leaves at this moment and marks it again.
          await storage.write([{ type: 'del', key }], { relaxed: true, when: [{ key, equals: by }] })
          continue
        }
        removed++
        if (isInlineRef(ref)) ops.push({ type: 'del', key: inlineKey(ref) })
        else if (parseFileRef(ref) !== undefined) await remove(folder.path(ref))
        ops.push({ type: 'del', key })
      }
    // Relaxed: what comes back after a power cut is collected again.
    if (ops.length > 0) await storage.write(ops, { relaxed: true })
    this.removed += removed
    return { removed, more: seen === batchSize }
  }

  async #owned(ref: string): Promise<boolean> {
    for await (const owners of this.#options.storage.range({ ...under(`b/${ref}/`), limit: 1 }))
      return owners.length > 0
    return false
  }

  /** Drafts of the process before, and finished files that no owner was written for. */
  async #tidy(drafts: readonly string[]): Promise<void> {
    const { folder, clock, log } = this.#options
    const before = this.removed
    for (const name of drafts) {
      if (!this.#free) return
      await remove(join(folder.tmp, name))
      this.removed++
    }
    for (const shard of await readdir(folder.root)) {
      if (shard.length !== 1) continue
      // This may take minutes: others' garbage goes meanwhile.
      await this.#step()
      for (const ref of await readdir(join(folder.root, shard))) {
        if (!this.#free) return
        if (parseFileRef(ref) === undefined || (await this.#owned(ref))) continue
        const { mtimeMs } = await stat(folder.path(ref))
        if (clock.now() - mtimeMs < orphanAge) continue
        await remove(folder.path(ref))
        this.removed++
      }
    }
    if (this.removed > before) log.info({ files: this.removed - before }, 'removed files that a crash had left behind')
  }
}

async function remove(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENOENT') throw error
  }
}
