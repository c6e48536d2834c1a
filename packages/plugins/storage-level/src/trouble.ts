// What an error of the disk or of LevelDB means, and whether there is room left to write.
import { statfsSync } from 'node:fs'
import { type Clock, StorageError } from '@posthorn/core'

const fullCodes = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EFBIG', 'EACCES', 'EPERM'])
// LevelDB hands on strerror's text, not the code.
const fullText = /no space left|quota exceeded|read-only file system|file too large|permission denied|not permitted/i

/** A StorageError of the right kind. Its text may name files, never what is in them. */
export function troubleOf(error: unknown, what: string): StorageError {
  if (error instanceof StorageError) return error
  const { code, message, cause } = error as {
    code?: string
    message?: string
    cause?: { code?: string; message?: string }
  }
  const text = `${message ?? String(error)}${cause?.message === undefined ? '' : `: ${cause.message}`}`
  const full = (code !== undefined && fullCodes.has(code)) || fullText.test(text)
  return new StorageError(full ? 'full' : 'failed', `${what}: ${text}`, error)
}

/** Octets of a disk that stay free: three write buffers of 8 MiB, and room for compaction. */
export const defaultReserve = 3 * 8 * 1024 * 1024 + 64_000_000

/** How often the free space is looked at while writing, in milliseconds. */
const interval = 250

/**
 * Refuses writes while there is still room to recover: reopening LevelDB after an error writes a table first, and on a
 * disk that is really full it cannot.
 */
export class Space {
  readonly #folder: string
  readonly #reserve: number
  readonly #clock: Clock
  #looked = -Infinity
  #free = Infinity

  constructor(folder: string, reserve: number, clock: Clock) {
    this.#folder = folder
    this.#reserve = reserve
    this.#clock = clock
  }

  /** `shrinking`: the write frees more than it takes, and may use half of the reserve, or a full store could never empty. */
  refusal(shrinking = false): StorageError | undefined {
    const now = this.#clock.monotonic()
    if (now - this.#looked >= interval) this.look(now)
    const needed = shrinking ? this.#reserve / 2 : this.#reserve
    if (this.#free >= needed) return undefined
    return new StorageError(
      'full',
      `${mega(this.#free)} MB free at ${this.#folder}, ${mega(needed)} MB are kept in reserve`,
    )
  }

  look(now = this.#clock.monotonic()): void {
    this.#looked = now
    try {
      const { bavail, bsize } = statfsSync(this.#folder)
      this.#free = bavail * bsize
    } catch {
      // The write itself will tell what is wrong with the folder.
      this.#free = Infinity
    }
  }
}

const mega = (octets: number): number => Math.floor(octets / 1_000_000)
