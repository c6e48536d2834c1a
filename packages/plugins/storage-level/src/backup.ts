// A consistent copy of a running store: a snapshot of the records, then the files they name, linked where that works.
import { copyFile, link, mkdir, open, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type BackupProgress, type BackupResult, PosthornError } from '@posthorn/core'
import { BlobFolder, parseFileRef } from './blob-files.ts'
import type { LevelBlobs } from './blobs.ts'
import { type Database, openDatabase, stepEntries, stepOctets, syncFolder } from './database.ts'
import type { LevelStorage } from './level.ts'
import { troubleOf } from './trouble.ts'
import { flaw } from './value.ts'

export interface BackupOptions {
  readonly storage: LevelStorage
  readonly blobs: LevelBlobs
  /** An empty or absent folder; `store`, `blobs` and at last `backup.json` are made in it. */
  readonly target: string
  readonly progress?: (at: BackupProgress) => void
}

/** Complete and durable when it resolves. Without `backup.json` in it, a target is not a backup. */
export async function backup({ storage, blobs, target, progress = () => {} }: BackupOptions): Promise<BackupResult> {
  await claim(target)
  using _ = await blobs.collector.hold()
  try {
    const path = join(target, 'store')
    const copy = await openDatabase(path)
    let records: { records: number; octets: number; refs: string[]; damaged: string[] }
    try {
      records = await copyRecords(storage.database(), copy, progress)
    } finally {
      await copy.close()
    }
    const files = await copyFiles(blobs.folder, new BlobFolder(join(target, 'blobs')), records.refs, progress)
    progress({ phase: 'sync', done: 0 })
    const result = {
      records: records.records,
      blobs: records.refs.length - files.missing.length,
      octets: records.octets + files.octets,
      missing: [...records.damaged, ...files.missing],
    }
    await seal(target, result)
    return result
  } catch (error) {
    throw troubleOf(error, `the backup to ${target} is not complete`)
  }
}

async function claim(target: string): Promise<void> {
  await mkdir(target, { recursive: true, mode: 0o700 })
  if ((await readdir(target)).length === 0) return
  throw new PosthornError('POSTHORN_BACKUP_TARGET', `${target} is not empty`, {
    fix: 'Name a folder that is empty or does not exist.',
  })
}

async function copyRecords(from: Database, to: Database, progress: (at: BackupProgress) => void) {
  let records = 0
  let octets = 0
  const refs: string[] = []
  const damaged: string[] = []
  const snapshot = from.snapshot()
  try {
    const iterator = from.iterator({ snapshot, highWaterMarkBytes: stepOctets })
    try {
      for (;;) {
        const step = (await iterator.nextv(stepEntries)) as [string, Uint8Array][]
        if (step.length === 0) break
        const batch = to.batch()
        for (const [key, stored] of step) {
          // As it is: what is damaged stays visible to fsck.
          batch.put(key, stored)
          octets += key.length + stored.length
          if (flaw(stored) !== undefined) damaged.push(key)
          if (!key.startsWith('b/f')) continue
          const ref = key.slice(2, key.indexOf('/', 2))
          if (refs.at(-1) !== ref) refs.push(ref)
        }
        // Each one synced: a log that LevelDB rotates is closed without.
        await batch.write({ sync: true })
        records += step.length
        progress({ phase: 'records', done: records })
      }
    } finally {
      await iterator.close()
    }
  } finally {
    await snapshot.close()
  }
  return { records, octets, refs, damaged }
}

async function copyFiles(
  from: BlobFolder,
  to: BlobFolder,
  refs: readonly string[],
  progress: (at: BackupProgress) => void,
): Promise<{ octets: number; missing: string[] }> {
  await to.prepare()
  let octets = 0
  const missing: string[] = []
  const shards = new Set<string>()
  for (const [done, ref] of refs.entries()) {
    shards.add(await to.shard(ref))
    try {
      await linkOrCopy(from.path(ref), to.path(ref))
      octets += parseFileRef(ref)?.size ?? 0
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOENT') throw error
      missing.push(from.path(ref))
    }
    if (done % 100 === 99) progress({ phase: 'blobs', done: done + 1, of: refs.length })
  }
  for (const shard of shards) await syncFolder(shard)
  return { octets, missing }
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    // Blob files never change, so a second name is as good as a copy, and durable already.
    await link(from, to)
  } catch (error) {
    if (!['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP'].includes((error as { code?: string }).code ?? '')) throw error
    await copyFile(from, to)
    const file = await open(to, 'r+')
    try {
      await file.datasync()
    } finally {
      await file.close()
    }
  }
}

async function seal(target: string, result: BackupResult): Promise<void> {
  const file = await open(join(target, 'backup.json'), 'wx', 0o600)
  try {
    await file.writeFile(`${JSON.stringify({ made: new Date().toISOString(), ...result }, null, 2)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await syncFolder(target)
  await syncFolder(dirname(target))
}
