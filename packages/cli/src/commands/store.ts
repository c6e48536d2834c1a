// Looking after the store: `fsck` while the server is stopped, `backup` while it runs.
import { join, resolve } from 'node:path'
import { PosthornError } from '@posthorn/core'
import { type BackupProgress, type BackupResult, formatSize, loadConfig, queueCheck } from '@posthorn/core/runtime'
import { type Finding, fsck } from '@posthorn/plugin-storage-level/fsck'
import { bases } from '../distribution.ts'
import { exit } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { progressOn } from '../progress.ts'
import { type Where, withServer } from '../remote.ts'
import { printable } from '../table.ts'

interface FsckCommand extends Common {
  readonly repair?: boolean
  readonly quick?: boolean
}

/** Exit 0: sound, or only waste was found; 1: something was wrong, repaired or not. */
export async function fsckStore(io: Io, options: FsckCommand): Promise<number> {
  const places = await storePlaces(io, options)
  const report = (finding: Finding) => {
    if (options.json) io.out(JSON.stringify(finding))
    else io.out(`${finding.severity}: ${printable(finding.at)}: ${printable(finding.what)}\n  → ${finding.fix}`)
  }
  const progress = options.json ? undefined : progressOn(io)
  const result = await fsck({
    ...places,
    checks: [queueCheck],
    repair: options.repair === true,
    quick: options.quick === true,
    report,
    progress: ({ phase, done }) => progress?.(`${phase}: ${done}`),
  })
  if (options.json) io.out(JSON.stringify(result))
  else {
    const { records, octets, blobs, blobOctets, lost, damaged, waste, repaired, quarantine } = result
    io.out(`${records} records (${formatSize(octets)}), ${blobs} blobs (${formatSize(blobOctets)})`)
    io.out(`${lost} lost, ${damaged} damaged, ${waste} waste; ${repaired} repaired`)
    if (quarantine !== undefined) io.out(`What was taken out is in ${quarantine}`)
  }
  return result.lost + result.damaged > 0 ? 1 : exit.ok
}

/** The folders of the store, from the configuration. */
async function storePlaces(io: Io, { config: file }: Common): Promise<{ path: string; blobs: string }> {
  const loaded = await loadConfig({ cwd: io.cwd, bases, ...(file === undefined ? {} : { file }) })
  const index = loaded.plugins.findIndex(({ plugin }) => plugin.name === 'storage-level')
  if (index < 0) {
    throw new PosthornError('POSTHORN_NO_STORAGE', 'the configuration has no storage-level, and only that is checked', {
      at: 'plugins',
    })
  }
  const { data } = loaded.config
  const { path = 'store', blobs = 'blobs' } = (loaded.config.plugins[index]?.options ?? {}) as {
    path?: string
    blobs?: string
  }
  return { path: resolve(data, path), blobs: resolve(data, blobs) }
}

export async function backupStore(io: Io, options: Common & Where, target: string): Promise<number> {
  const folder = join(resolve(io.cwd, target))
  const progress = options.json ? undefined : progressOn(io)
  const result = await withServer(io, options, client =>
    client.call<BackupResult>('backup', { target: folder }, event => {
      const { phase, done, of } = event as BackupProgress
      progress?.(`${phase}: ${done}${of === undefined ? '' : ` of ${of}`}`)
    }),
  )
  if (options.json) io.out(JSON.stringify(result))
  else {
    io.out(`${result.records} records and ${result.blobs} blobs (${formatSize(result.octets)}) in ${folder}`)
    for (const missing of result.missing) io.err(`missing: ${missing}`)
  }
  return exit.ok
}
