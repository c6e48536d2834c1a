import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { blobsSuite } from '@posthorn/testing'
import { describe, it } from 'vitest'
import { LevelBlobs } from '../src/blobs.ts'
import { LevelStorage } from '../src/level.ts'

async function open(folder: string) {
  const storage = await LevelStorage.open({ path: join(folder, 'store') })
  const blobs = await LevelBlobs.open({ storage, path: join(folder, 'blobs') })
  return {
    storage,
    blobs,
    collect: () => blobs.collector.collect(),
    async close() {
      await blobs.close()
      await storage.close()
    },
  }
}

async function opened() {
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-blobs-'))
  const made = await open(folder)
  return {
    ...made,
    folder,
    async close() {
      await made.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

const files = async (folder: string) =>
  (await readdir(join(folder, 'blobs'), { recursive: true, withFileTypes: true }))
    .filter(e => e.isFile())
    .map(e => e.name)

async function octets(from: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of from) pieces.push(piece)
  return Buffer.concat(pieces)
}

describe('LevelBlobs', () => {
  blobsSuite({ describe, it }, opened)

  const stored = async ({ storage, blobs }: Awaited<ReturnType<typeof open>>, content: Buffer) => {
    const writer = blobs.create()
    await writer.write(content)
    const ref = await writer.finish()
    await storage.write(blobs.own(ref, 'm1'))
    return ref
  }

  it('leaves no file behind an aborted blob', async () => {
    const here = await opened()
    const writer = here.blobs.create()
    // Enough for a second write to the file, which waits for the first one.
    await writer.write(Buffer.alloc(400_000))
    assert.equal((await files(here.folder)).length, 1)
    await writer.abort()
    assert.deepEqual(await files(here.folder), [])
    await here.close()
  })

  it('never gives out all of a file that was changed, cut or lost', async () => {
    const here = await opened()
    const ref = await stored(here, Buffer.alloc(200_000, 'mail'))
    const path = here.blobs.folder.path(ref)
    const seen = async () => {
      let size = 0
      await assert.rejects(
        async () => {
          for await (const piece of here.blobs.open(ref)) size += piece.length
        },
        { name: 'StorageError', kind: 'corrupt', message: new RegExp(ref.replaceAll('.', '\\.')) },
      )
      return size
    }
    const changed = Buffer.alloc(200_000, 'mail')
    changed[5] = 0
    await writeFile(path, changed)
    assert.ok((await seen()) < 200_000)
    await writeFile(path, Buffer.alloc(200_000, 'mail'))
    assert.equal((await octets(here.blobs.open(ref))).length, 200_000)
    await truncate(path, 150_000)
    await assert.rejects(octets(here.blobs.open(ref)), { kind: 'corrupt' })
    await rm(path)
    assert.equal(await seen(), 0)
    await here.close()
  })

  it('refuses references that are none, whatever they try to reach', async () => {
    const here = await opened()
    for (const ref of ['', 'f', '../../etc/passwd', 'f0000000000000000/../..', 'fAAAAAAAAAAAAAAAAAA.00000000.1/..'])
      await assert.rejects(octets(here.blobs.open(ref)), { kind: 'corrupt' }, ref)
    await here.close()
  })

  it('clears away what a crash left: drafts at once, files without owner when they are an hour old', async () => {
    const here = await opened()
    const owned = await stored(here, Buffer.alloc(10))
    const old = here.blobs.create()
    await old.write(Buffer.alloc(100_000))
    const oldRef = await old.finish()
    const young = here.blobs.create()
    await young.write(Buffer.alloc(100_000))
    const youngRef = await young.finish()
    const long = new Date(Date.now() - 3_700_000)
    await utimes(here.blobs.folder.path(oldRef), long, long)
    await utimes(here.blobs.folder.path(owned), long, long)
    await writeFile(join(here.blobs.folder.tmp, 'DRAFT'), 'half a mess')
    await here.blobs.close()
    await here.storage.close()

    const again = await open(here.folder)
    await again.collect()
    assert.deepEqual((await files(here.folder)).sort(), [owned, youngRef].sort())
    await again.close()
    await rm(here.folder, { recursive: true })
  })

  it('removes nothing while somebody holds the collector', async () => {
    const here = await opened()
    const ref = await stored(here, Buffer.alloc(70_000))
    const held = await here.blobs.collector.hold()
    await here.storage.write(here.blobs.disown(ref, 'm1'))
    assert.equal(await here.collect(), 0)
    assert.equal((await octets(here.blobs.open(ref))).length, 70_000)
    held[Symbol.dispose]()
    assert.equal(await here.collect(), 1)
    await here.close()
  })

  it('writes 40 MB without holding them', async () => {
    const here = await opened()
    const chunk = Buffer.alloc(64 * 1024, 'x')
    const writer = here.blobs.create()
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 640; i++) await writer.write(chunk)
    assert.ok(process.memoryUsage().arrayBuffers - before < 4_000_000)
    const ref = await writer.finish()
    let size = 0
    for await (const piece of here.blobs.open(ref)) size += piece.length
    assert.equal(size, 640 * 64 * 1024)
    await here.close()
  })
})
