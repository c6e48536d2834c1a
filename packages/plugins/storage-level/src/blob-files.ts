// Where blob files are, and what their names say: `blobs/x/<ref>`, unfinished ones in `blobs/tmp`. A reference is
// `f<name>.<CRC-32, hex>.<octets, base 36>`, so that a file can be checked with nothing but its name.
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { newBlobName } from '@posthorn/core'
import { syncFolder } from './database.ts'

const pattern = /^f[0-9A-Z]{18}\.([0-9a-f]{8})\.([0-9a-z]{1,11})$/

export interface FileRef {
  readonly crc: number
  readonly size: number
}

export const fileRef = (name: string, crc: number, size: number): string =>
  `f${name}.${crc.toString(16).padStart(8, '0')}.${size.toString(36)}`

/** What the reference says; undefined where it is none. */
export function parseFileRef(ref: string): FileRef | undefined {
  const match = pattern.exec(ref)
  if (match === null) return undefined
  return { crc: Number.parseInt(match[1] as string, 16), size: Number.parseInt(match[2] as string, 36) }
}

/** At most `limit` at a time; the others wait in line. */
export class Slots {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(limit: number) {
    this.#free = limit
  }

  async take(): Promise<void> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>(resolve => this.#waiting.push(resolve))
  }

  give(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next()
  }
}

/** The folder of blob files. */
export class BlobFolder {
  readonly root: string
  readonly tmp: string
  readonly #shards = new Map<string, Promise<string>>()

  constructor(root: string) {
    this.root = root
    this.tmp = join(root, 'tmp')
  }

  /** Makes the folders that must be there. */
  async prepare(): Promise<void> {
    await mkdir(this.tmp, { recursive: true, mode: 0o700 })
    await syncFolder(this.root)
    await syncFolder(join(this.root, '..'))
  }

  /** A name for a new blob, and the file it is written to. */
  draft(now: number): { name: string; path: string } {
    const name = newBlobName(now)
    return { name, path: join(this.tmp, name) }
  }

  /** The last character of the name counts up, so files spread evenly over 32 folders, each made and synced once. */
  folder(ref: string): string {
    return join(this.root, ref.slice(18, 19))
  }

  path(ref: string): string {
    return join(this.folder(ref), ref)
  }

  /** The folder of a blob, made and durable. */
  async shard(ref: string): Promise<string> {
    const folder = this.folder(ref)
    let made = this.#shards.get(folder)
    if (made === undefined) {
      made = this.#make(folder)
      this.#shards.set(folder, made)
      made.catch(() => this.#shards.delete(folder))
    }
    return made
  }

  async #make(folder: string): Promise<string> {
    const created = await mkdir(folder, { recursive: true, mode: 0o700 })
    if (created !== undefined) await syncFolder(this.root)
    return folder
  }

  create(path: string) {
    return open(path, 'wx+', 0o600)
  }
}
