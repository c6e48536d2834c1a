// What `posthorn fsck` does: reads everything there is, says what is wrong and what to do; repairs when asked. Offline.
import { type Finding, type Op, PosthornError, type RecordCheck } from '@posthorn/core'
import { BlobFolder } from './blob-files.ts'
import {
  type Database,
  formatKey,
  formatOf,
  hasDatabase,
  openDatabase,
  salvage,
  stepEntries,
  stepOctets,
  writeFormat,
} from './database.ts'
import { checkBlobs } from './fsck-blobs.ts'
import { Quarantine, SoundRecords } from './fsck-records.ts'
import { flaw } from './value.ts'

export type { Finding, RecordCheck } from '@posthorn/core'

export interface FsckOptions {
  /** The folder of the database: `<data>/store`. */
  readonly path: string
  /** The folder of the blob files: `<data>/blobs`. */
  readonly blobs: string
  /** Checks of those who own records. */
  readonly checks?: readonly RecordCheck[]
  /** Quarantines what cannot be read, removes waste, writes what checks propose. Nothing is written otherwise. */
  readonly repair?: boolean
  /** Leaves out reading every octet of blob files. */
  readonly quick?: boolean
  /** Each finding as it is made; they are not kept. */
  report(finding: Finding): void
  progress?(at: { readonly phase: 'records' | 'blobs' | 'checks'; readonly done: number }): void
}

export interface FsckResult {
  readonly records: number
  /** Octets of keys and values. */
  readonly octets: number
  readonly blobs: number
  readonly blobOctets: number
  readonly lost: number
  readonly damaged: number
  readonly waste: number
  /** How many findings were repaired. */
  readonly repaired: number
  /** The file with what was taken out. */
  readonly quarantine?: string
}

/** Checks a store that nobody has open. Throws PosthornError POSTHORN_STORE_BUSY, _ABSENT, _NEWER or _OPEN. */
export async function fsck(options: FsckOptions): Promise<FsckResult> {
  const counts = { lost: 0, damaged: 0, waste: 0, repaired: 0 }
  const report = (finding: Finding, repaired = false) => {
    counts[finding.severity]++
    if (repaired) counts.repaired++
    options.report(finding)
  }
  const db = await openForCheck(options, report)
  const quarantine = new Quarantine(options.path)
  try {
    const records = await checkRecords(db, quarantine, options, report)
    const files = await checkBlobs({
      db,
      folder: new BlobFolder(options.blobs),
      repair: options.repair === true,
      quick: options.quick === true,
      report,
      progress: done => options.progress?.({ phase: 'blobs', done }),
    })
    for (const check of options.checks ?? []) await runCheck(db, check, options, report)
    return {
      ...records,
      ...files,
      ...counts,
      ...(quarantine.file === undefined ? {} : { quarantine: quarantine.file }),
    }
  } finally {
    await quarantine.close()
    await db.close()
  }
}

type Report = (finding: Finding, repaired?: boolean) => void

async function openForCheck({ path, repair = false }: FsckOptions, report: Report): Promise<Database> {
  if (!(await hasDatabase(path)))
    throw new PosthornError('POSTHORN_STORE_ABSENT', `there is no store at ${path}`, {
      fix: 'Check `data` in the configuration, and that the server has run once.',
    })
  let db: Database
  try {
    db = await openDatabase(path, { create: false, anyFormat: true })
  } catch (error) {
    if (!(error instanceof PosthornError) || error.code !== 'POSTHORN_STORE_DAMAGED' || !repair) throw error
    await salvage(path)
    report(
      {
        severity: 'lost',
        at: path,
        what: `LevelDB could not open its files (${error.message}), and saved what it could`,
        fix: 'Restore a backup if the findings below show that much is missing; removed mail may have come back.',
      },
      true,
    )
    db = await openDatabase(path, { create: false, anyFormat: true })
    // It takes a table of a higher number for a newer one, which is not so after a repair: reads by key would find old
    // values where ranges find the right ones. Merging all tables goes by sequence numbers, and ends that.
    await db.compactRange('\0', '\u{10ffff}')
  }
  try {
    await checkFormatRecord(db, path, repair, report)
  } catch (error) {
    await db.close()
    throw error
  }
  return db
}

async function checkFormatRecord(db: Database, path: string, repair: boolean, report: Report): Promise<void> {
  const stored = db.getSync(formatKey)
  const found = stored === undefined ? undefined : formatOf(stored)
  if (found === 1) return
  if (found !== undefined)
    throw new PosthornError('POSTHORN_STORE_NEWER', `${path} was written in format ${found}; this version knows 1`, {
      fix: 'Run the fsck of the version that wrote it: npm install posthorn@latest',
    })
  if (repair) await writeFormat(db)
  report(
    {
      severity: 'damaged',
      at: 'format',
      what: `the format record ${stored === undefined ? 'is missing' : 'cannot be read'}, so the server does not start`,
      fix: '--repair writes it again.',
    },
    repair,
  )
}

async function checkRecords(
  db: Database,
  quarantine: Quarantine,
  { repair = false, progress }: FsckOptions,
  report: Report,
): Promise<{ records: number; octets: number }> {
  let records = 0
  let octets = 0
  const iterator = db.iterator({ gte: '\u0001', highWaterMarkBytes: stepOctets })
  try {
    for (;;) {
      const step = (await iterator.nextv(stepEntries)) as [string, Uint8Array][]
      if (step.length === 0) break
      for (const [key, stored] of step) {
        octets += key.length + stored.length
        const why = flaw(stored)
        if (why === undefined) continue
        if (repair) await quarantine.take(db, key, stored, why)
        report(
          {
            severity: 'lost',
            at: key,
            what: `the value ${why}`,
            fix: `--repair moves it to ${quarantine.name}, for a person to look at.`,
          },
          repair,
        )
      }
      records += step.length
      progress?.({ phase: 'records', done: records })
    }
  } finally {
    await iterator.close()
  }
  return { records, octets }
}

async function runCheck(
  db: Database,
  check: RecordCheck,
  { repair = false, progress }: FsckOptions,
  report: Report,
): Promise<void> {
  let done = 0
  let ops: Op[] = []
  const flush = async () => {
    if (ops.length > 0) await new SoundRecords(db).write(ops)
    ops = []
  }
  for await (const finding of check.check(new SoundRecords(db))) {
    const repairs = repair && finding.repair !== undefined
    if (repairs) ops.push(...(finding.repair as readonly Op[]))
    report({ ...finding, what: `${check.name}: ${finding.what}` }, repairs)
    if (ops.length >= stepEntries) await flush()
    progress?.({ phase: 'checks', done: ++done })
  }
  await flush()
}
