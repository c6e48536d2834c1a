// The embedded store as a plugin: one LevelDB folder and one folder of blob files in the data folder.
import { join, resolve } from 'node:path'
import {
  Blobs,
  definePlugin,
  type Log,
  Maintenance,
  type Meter,
  MeterToken,
  Place,
  Storage,
  size,
} from '@posthorn/core'
import { z } from 'zod'
import { backup } from './backup.ts'
import { LevelBlobs } from './blobs.ts'
import { warnOfFileSystem } from './database.ts'
import { LevelStorage } from './level.ts'

export { LevelBlobs } from './blobs.ts'
export { LevelStorage } from './level.ts'

const schema = z.strictObject({
  path: z.string().min(1).optional().describe('Folder of the database. Default: `store` in the data folder.'),
  blobs: z.string().min(1).optional().describe('Folder of large messages. Default: `blobs` in the data folder.'),
  free: size()
    .optional()
    .describe('Octets of the disk that stay free: below it mail is refused with 452. Default 89MB.'),
})

interface Opened {
  readonly storage: LevelStorage
  readonly blobs: LevelBlobs
}

export interface StoreOptions {
  /** The folders of the database and of blob files. */
  readonly path: string
  readonly blobs: string
  readonly free?: number
  readonly log?: Log
  readonly synced?: (ms: number) => void
}

/** Opens both halves; the folders are made where they are absent. Throws PosthornError POSTHORN_STORE_*. */
export async function openStore(options: StoreOptions): Promise<Opened> {
  const { blobs, log, ...rest } = options
  const logged = log === undefined ? {} : { log }
  const storage = await LevelStorage.open({ ...rest, ...logged })
  try {
    return {
      storage,
      blobs: await LevelBlobs.open({
        storage,
        path: blobs,
        ...logged,
        ...(options.free === undefined ? {} : { free: options.free }),
      }),
    }
  } catch (error) {
    await storage.close()
    throw error
  }
}

export async function closeStore({ storage, blobs }: Opened): Promise<void> {
  await blobs.close()
  await storage.close()
}

export default definePlugin({
  name: 'storage-level',
  schema,
  inject: { place: Place, meter: MeterToken },
  provides: [Storage, Blobs, Maintenance],
  async setup(ctx, options) {
    const { data } = ctx.services.place
    const { meter } = ctx.services
    const place = {
      path: options.path === undefined ? join(data, 'store') : resolve(data, options.path),
      blobs: options.blobs === undefined ? join(data, 'blobs') : resolve(data, options.blobs),
      ...(options.free === undefined ? {} : { free: options.free }),
    }
    // One handle for the life of the process: LevelDB's lock does not change hands.
    const open = () => openStore({ ...place, log: ctx.log, synced: syncTimes(meter) })
    const opened = await ctx.shared('store', place, open, closeStore)
    await warnOfFileSystem(place.path, ctx.log)
    ctx.provide(Storage, opened.storage)
    ctx.provide(Blobs, opened.blobs)
    const care = maintenance(opened)
    ctx.provide(Maintenance, care)
    meter.gauge('posthorn_store', 'Counters of the embedded store', ['name'], () =>
      Object.entries(care.stats()).map(([name, value]) => ({ labels: [name], value })),
    )
    return {}
  },
})

function syncTimes(meter: Meter): (ms: number) => void {
  const bounds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5]
  const observe = meter.histogram('posthorn_store_sync_seconds', 'Time of group commits', [], bounds)
  return ms => observe([], ms / 1000)
}

function maintenance({ storage, blobs }: Opened): Maintenance {
  return {
    backup: (target, progress) =>
      backup({ storage, blobs, target: resolve(target), ...(progress === undefined ? {} : { progress }) }),
    async compact() {
      await blobs.collector.collect()
      await storage.compact('\u0001', '\u{10ffff}')
    },
    stats: () => ({ ...storage.stats, collected: blobs.collector.removed }),
  }
}
