// Opens the LevelDB folder: lock, format version, file system. The only file that imports classic-level.
import { mkdir, open, readdir, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Log, PosthornError } from '@posthorn/core'
import { ClassicLevel } from 'classic-level'
import { encode, flaw, payload } from './value.ts'

export type Database = ClassicLevel<string, Uint8Array>

/** LevelDB's log in memory. Larger stalls longer when it is turned into a table: 80 ms at 64 MiB against 16 at 4. */
export const writeBufferSize = 8 * 1024 * 1024

/**
 * Tables that LevelDB keeps open, each mapped into memory: with its default of 1,000 a queue of a million messages adds
 * up to 200 MB to the resident set. Reopening one costs 50 µs.
 */
const maxOpenFiles = 80

/** Below every key of others, which may not begin with NUL. */
export const formatKey = '\0format'
const format = 1

/** Entries per step of a range, and octets after which a step ends early. */
export const stepEntries = 1000
export const stepOctets = 512 * 1024

/** Opens or creates the database. Throws PosthornError POSTHORN_STORE_BUSY, _NEWER, _FOREIGN or _OPEN. */
export async function openDatabase(
  path: string,
  options: { readonly create?: boolean; readonly anyFormat?: boolean } = {},
): Promise<Database> {
  const createIfMissing = options.create !== false
  let db: Database
  try {
    if (createIfMissing) await mkdir(path, { recursive: true, mode: 0o700 })
    // `multithreading` stays off: one opener's close frees the cache of the others (use after free in 3.0.0).
    db = new ClassicLevel(path, {
      keyEncoding: 'utf8',
      valueEncoding: 'view',
      writeBufferSize,
      maxOpenFiles,
      createIfMissing,
    })
    await db.open()
  } catch (error) {
    throw openError(path, error)
  }
  try {
    // LevelDB renames CURRENT and does not sync that: where it is lost, so is all that the new log acknowledges.
    await syncFolder(path).catch(error => {
      throw openError(path, error)
    })
    if (options.anyFormat !== true) await checkFormat(db, path)
  } catch (error) {
    await db.close()
    throw error
  }
  return db
}

/** LevelDB syncs its own folder, not the entry of that folder in the one above. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

async function checkFormat(db: Database, path: string): Promise<void> {
  const stored = db.getSync(formatKey)
  if (stored === undefined) {
    for await (const key of db.keys({ limit: 1 }))
      throw new PosthornError(
        'POSTHORN_STORE_FOREIGN',
        `${path} holds a LevelDB database that is not Posthorn's (${key.length} octets of key)`,
        {
          fix: 'Point `storage-level.path` to an empty folder, or move this one away.',
        },
      )
    await writeFormat(db)
    await syncFolder(dirname(path))
    return
  }
  const found = formatOf(stored)
  if (found === format) return
  throw found === undefined
    ? new PosthornError('POSTHORN_STORE_DAMAGED', `the format record of ${path} cannot be read`, {
        fix: 'Run: posthorn fsck --repair',
      })
    : new PosthornError(
        'POSTHORN_STORE_NEWER',
        `${path} was written in format ${found}; this version knows ${format}`,
        {
          fix: 'Start the version that wrote it: npm install posthorn@latest',
        },
      )
}

/** The format that a record names; undefined where it cannot be trusted. */
export function formatOf(stored: Uint8Array): number | undefined {
  if (flaw(stored) !== undefined) return undefined
  const found = Number(Buffer.from(payload(stored)).toString())
  return Number.isInteger(found) && found >= format ? found : undefined
}

export const writeFormat = (db: Database): Promise<void> =>
  db.put(formatKey, encode(Buffer.from(String(format))), { sync: true })

/** What LevelDB can save of a folder that it does not open. Removed keys may come back. */
export const salvage = (path: string): Promise<void> => ClassicLevel.repair(path)

function openError(path: string, error: unknown): PosthornError {
  const cause = ((error as Error).cause ?? error) as { code?: string; message?: string }
  if (cause.code === 'LEVEL_LOCKED')
    return new PosthornError('POSTHORN_STORE_BUSY', `store busy: another process has ${path} open`, {
      fix: 'Stop the other server (`posthorn status` shows it), or give this one a data folder of its own.',
      cause: error,
    })
  const damaged = cause.code === 'LEVEL_CORRUPTION'
  return new PosthornError(
    damaged ? 'POSTHORN_STORE_DAMAGED' : 'POSTHORN_STORE_OPEN',
    `cannot open the store ${path}: ${cause.message ?? String(error)}`,
    {
      fix: damaged
        ? 'Run: posthorn fsck --repair'
        : 'Check that the folder belongs to the user that Posthorn runs as, and that the disk has room.',
      cause: error,
    },
  )
}

// linux/magic.h: file systems that persist a new file's entry with the file's own fsync.
const trusted = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
])

/** LevelDB does not sync its folder for a new log; warns where the file system does not make up for it. */
export async function warnOfFileSystem(path: string, log: Log, type?: number): Promise<void> {
  const found = type ?? (await statfs(path)).type
  if (trusted.has(found)) return
  log.warn(
    { path, fs: `0x${found.toString(16)}` },
    `this file system is not known to keep a new file after a power cut; use one of ${[...trusted.values()].join(', ')}`,
  )
}

/** Whether there is a database at `path`. */
export async function hasDatabase(path: string): Promise<boolean> {
  try {
    return (await readdir(path)).includes('CURRENT')
  } catch {
    return false
  }
}
