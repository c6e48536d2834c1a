// Under fsck: records as their owners' checks see them, without those that cannot be read; and where those go.
import { type FileHandle, open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Entry, Op, Range, Storage } from '@posthorn/core'
import { type Database, stepEntries, stepOctets, syncFolder } from './database.ts'
import { encode, flaw, payload } from './value.ts'

/** Values that cannot be trusted are absent here: they were reported before. */
export class SoundRecords implements Pick<Storage, 'get' | 'getMany' | 'range'> {
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
  }

  get(key: string): Uint8Array | undefined {
    const stored = this.#db.getSync(key)
    return stored === undefined || flaw(stored) !== undefined ? undefined : payload(stored)
  }

  async getMany(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]> {
    return keys.map(key => this.get(key))
  }

  async *range({ gte, lt, limit = Infinity, reverse = false }: Range): AsyncGenerator<readonly Entry[]> {
    const iterator = this.#db.iterator({
      gte: gte.charCodeAt(0) > 0 ? gte : '\u0001',
      lt,
      reverse,
      highWaterMarkBytes: stepOctets,
    })
    let left = limit
    try {
      while (left > 0) {
        const step = (await iterator.nextv(stepEntries)) as [string, Uint8Array][]
        if (step.length === 0) return
        const sound = step.filter(([, stored]) => flaw(stored) === undefined).slice(0, left)
        left -= sound.length
        if (sound.length > 0) yield sound.map(([key, stored]) => [key, payload(stored)] as const)
      }
    } finally {
      await iterator.close()
    }
  }

  /** Durable when it resolves. */
  async write(ops: readonly Op[]): Promise<void> {
    const batch = this.#db.batch()
    for (const op of ops) {
      if (op.type === 'put') batch.put(op.key, encode(op.value))
      else batch.del(op.key)
    }
    await batch.write({ sync: true })
  }
}

/** A file beside the store, one line of JSON for each value that was taken out: `key`, `why`, `value` in base 64. */
export class Quarantine {
  readonly #path: string
  #file: FileHandle | undefined

  constructor(store: string) {
    const day = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')
    this.#path = join(dirname(store), `quarantine-${day}.jsonl`)
  }

  get name(): string {
    return basename(this.#path)
  }

  /** Where it is, if anything is in it. */
  get file(): string | undefined {
    return this.#file === undefined ? undefined : this.#path
  }

  /** The value is durable in the file before it leaves the store. */
  async take(db: Database, key: string, stored: Uint8Array, why: string): Promise<void> {
    if (this.#file === undefined) {
      this.#file = await open(this.#path, 'a', 0o600)
      await syncFolder(dirname(this.#path))
    }
    const value = Buffer.from(stored).toString('base64')
    await this.#file.appendFile(`${JSON.stringify({ key, why, value })}\n`)
    await this.#file.datasync()
    await db.del(key, { sync: true })
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }
}
