import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Maintenance, Place, type Storage } from '@posthorn/core'
import { conformance } from '@posthorn/testing'
import { afterAll, describe, it } from 'vitest'
import { backup } from '../src/backup.ts'
import { fsck } from '../src/fsck.ts'
import plugin, { closeStore, openStore } from '../src/index.ts'

const data = await mkdtemp(join(tmpdir(), 'posthorn-plugin-'))
afterAll(() => rm(data, { recursive: true, force: true }))

describe('storage-level', () => {
  for (const check of conformance(plugin, { services: [[Place, { data }]] })) it(check.name, check.run)

  it('takes its places and the reserve from the options, relative to the data folder', () => {
    const schema = plugin.schema
    assert.deepEqual(schema.parse({ path: '/fast/store', free: '1GB' }), { path: '/fast/store', free: 1_000_000_000 })
    assert.throws(() => schema.parse({ free: 'much' }), /size/)
    assert.ok(plugin.provides?.includes(Maintenance))
  })
})

describe('a backup', () => {
  const text = (value: Uint8Array | undefined) => value && Buffer.from(value).toString()
  const put = (storage: Storage, key: string) => storage.write([{ type: 'put', key, value: Buffer.from(key) }])

  it('is one moment of a store that is being written to, and can be run from', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'posthorn-backup-'))
    const opened = await openStore({ path: join(folder, 'store'), blobs: join(folder, 'blobs') })
    const { storage, blobs } = opened
    const writer = blobs.create()
    await writer.write(Buffer.alloc(80_000, 'x'))
    const ref = await writer.finish()
    await storage.write(blobs.own(ref, '1'))
    // Pairs written together: a backup has both or none.
    let n = 0
    let going = true
    const writing = (async () => {
      while (going) {
        await storage.write([
          { type: 'put', key: `a/${n}`, value: Buffer.from('x') },
          { type: 'put', key: `z/${n++}`, value: Buffer.from('x') },
        ])
      }
    })()
    for (let i = 0; i < 3000; i += 100)
      await Promise.all(Array.from({ length: 100 }, (_, k) => put(storage, `m/${i + k}`)))
    const phases = new Set<string>()
    const target = join(folder, 'copy')
    let leaving: Promise<unknown> | undefined
    const result = await backup({
      storage,
      blobs,
      target,
      progress({ phase }) {
        phases.add(phase)
        // The message goes while it is copied; the copy keeps it.
        leaving ??= storage.write(blobs.disown(ref, '1'))
      },
    })
    await leaving
    going = false
    await writing
    assert.equal(await blobs.collector.collect(), 1)
    assert.deepEqual([result.blobs, result.missing], [1, []])
    assert.ok(phases.has('records') && phases.has('sync'))
    assert.equal(JSON.parse(await readFile(join(target, 'backup.json'), 'utf8')).records, result.records)
    await closeStore(opened)

    const places = { path: join(target, 'store'), blobs: join(target, 'blobs') }
    const checked = await fsck({ ...places, report: finding => assert.fail(JSON.stringify(finding)) })
    assert.equal(checked.lost, 0)
    const copy = await openStore(places)
    assert.equal(text(await copy.storage.get('m/2999')), 'm/2999')
    let size = 0
    for await (const piece of copy.blobs.open(ref)) size += piece.length
    assert.equal(size, 80_000)
    const pairs = { a: 0, z: 0 }
    for (const kind of ['a', 'z'] as const)
      for await (const batch of copy.storage.range({ gte: `${kind}/`, lt: `${kind}0` })) pairs[kind] += batch.length
    assert.equal(pairs.a, pairs.z)
    assert.ok(pairs.a > 0)
    await closeStore(copy)
    await rm(folder, { recursive: true })
  })

  it('goes into an empty folder only', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'posthorn-backup-'))
    const opened = await openStore({ path: join(folder, 'store'), blobs: join(folder, 'blobs') })
    await assert.rejects(backup({ ...opened, target: folder }), { code: 'POSTHORN_BACKUP_TARGET' })
    await closeStore(opened)
    await rm(folder, { recursive: true })
  })
})

describe('compaction', () => {
  it('takes the room of removed mail back', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'posthorn-compact-'))
    const opened = await openStore({ path: join(folder, 'store'), blobs: join(folder, 'blobs') })
    const { storage } = opened
    const keys = Array.from({ length: 4000 }, (_, i) => `B/i${String(i).padStart(6, '0')}`)
    // Noise, because LevelDB compresses.
    const noise = crypto.getRandomValues(new Uint8Array(8000))
    for (let i = 0; i < keys.length; i += 200)
      await storage.write(keys.slice(i, i + 200).map((key, k) => ({ type: 'put', key, value: noise.subarray(k * 3) })))
    await storage.write(keys.map(key => ({ type: 'del', key })))
    const size = () => storage.database().approximateSize('B/', 'B0')
    await storage.compact('a', 'b')
    const before = await size()
    await storage.debt.settle(true)
    const after = await size()
    assert.ok(before > 5_000_000 && after < 100_000, `${before} → ${after}`)
    await closeStore(opened)
    await rm(folder, { recursive: true })
  })
})
