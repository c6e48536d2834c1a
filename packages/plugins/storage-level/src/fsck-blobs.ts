// Under fsck: owners, inline blobs and blob files, against each other.
import { readdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type Finding, inlineKey, isInlineRef } from '@posthorn/core'
import { type BlobFolder, parseFileRef, Slots } from './blob-files.ts'
import { readBlob } from './blob-reader.ts'
import { type Database, stepEntries } from './database.ts'

interface BlobCheck {
  readonly db: Database
  readonly folder: BlobFolder
  readonly repair: boolean
  readonly quick: boolean
  report(finding: Finding, repaired?: boolean): void
  progress(done: number): void
}

/** Counts blobs of both kinds; their octets are those of files. */
export async function checkBlobs(check: BlobCheck): Promise<{ blobs: number; blobOctets: number }> {
  const owned = await checkOwned(check)
  await checkInline(check)
  await checkFiles(check)
  return owned
}

async function* keysUnder(db: Database, prefix: string): AsyncGenerator<string> {
  const iterator = db.keys({ gte: prefix, lt: `${prefix}\u{10ffff}` })
  try {
    for (;;) {
      const step = await iterator.nextv(stepEntries)
      if (step.length === 0) return
      yield* step
    }
  } finally {
    await iterator.close()
  }
}

async function hasOwner(db: Database, ref: string): Promise<boolean> {
  for await (const _ of keysUnder(db, `b/${ref}/`)) return true
  return false
}

async function checkOwned(check: BlobCheck): Promise<{ blobs: number; blobOctets: number }> {
  let blobs = 0
  let blobOctets = 0
  let last = ''
  for await (const key of keysUnder(check.db, 'b/')) {
    const ref = key.slice(2, key.indexOf('/', 2))
    if (ref === last) continue
    last = ref
    blobs++
    const what = isInlineRef(ref) ? missingInline(check.db, ref) : await flawOfFile(check, ref)
    if (what !== undefined)
      check.report({
        severity: 'lost',
        at: ref,
        what,
        fix: `Restore it from a backup: its owner is ${key.slice(3 + ref.length)}.`,
      })
    blobOctets += parseFileRef(ref)?.size ?? 0
    if (blobs % 1000 === 0) check.progress(blobs)
  }
  return { blobs, blobOctets }
}

const missingInline = (db: Database, ref: string): string | undefined =>
  db.getSync(inlineKey(ref)) === undefined ? 'the octets of this message are missing' : undefined

async function flawOfFile({ folder, quick }: BlobCheck, ref: string): Promise<string | undefined> {
  const named = parseFileRef(ref)
  if (named === undefined) return 'this is not a reference of a blob'
  const path = folder.path(ref)
  try {
    const { size } = await stat(path)
    if (size !== named.size) return `the file ${path} has ${size} octets instead of ${named.size}`
    if (!quick) for await (const _ of readBlob(path, named, new Slots(1)));
    return undefined
  } catch (error) {
    return (error as { code?: string }).code === 'ENOENT' ? `the file ${path} is missing` : (error as Error).message
  }
}

async function checkInline({ db, repair, report }: BlobCheck): Promise<void> {
  for await (const key of keysUnder(db, 'B/')) {
    const ref = key.slice(2)
    if (await hasOwner(db, ref)) continue
    if (repair) await db.del(key, { sync: true })
    report({ severity: 'waste', at: key, what: 'nobody owns these octets', fix: '--repair removes them.' }, repair)
  }
}

async function checkFiles({ db, folder, repair, report }: BlobCheck): Promise<void> {
  const waste = async (path: string, what: string) => {
    if (repair) await unlink(path)
    report(
      {
        severity: 'waste',
        at: path,
        what,
        fix: '--repair removes it; the server does too, an hour after it was made.',
      },
      repair,
    )
  }
  for (const shard of await list(folder.root)) {
    for (const name of await list(join(folder.root, shard))) {
      const path = join(folder.root, shard, name)
      if (shard === 'tmp') await waste(path, 'a file that was never finished')
      else if (parseFileRef(name) === undefined)
        report({
          severity: 'waste',
          at: path,
          what: 'this is not a blob file',
          fix: 'Remove it if you know where it comes from.',
        })
      else if (!(await hasOwner(db, name))) await waste(path, 'nobody owns this file')
    }
  }
}

/** Names in a folder; none where it is absent or no folder. */
async function list(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as { code?: string }).code ?? '')) return []
    throw error
  }
}
