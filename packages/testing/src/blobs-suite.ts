// What every back end of Blobs must do, together with the Storage that holds its records.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { Blobs, BlobWriter, Storage } from '@posthorn/core'
import { seeded } from './faulty-storage.ts'
import type { SuiteRunner } from './storage-suite.ts'

export interface OpenBlobs {
  readonly storage: Storage
  readonly blobs: Blobs
  /** Removes what is garbage; how many blobs went. */
  collect(): Promise<number>
  close(): Promise<void>
}

type Slice = { readonly start: number; readonly end: number }

async function octets(from: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of from) pieces.push(piece)
  return Buffer.concat(pieces)
}

function noise(size: number, seed = 1): Buffer {
  const random = seeded(seed)
  const made = Buffer.alloc(size)
  for (let i = 0; i < size; i++) made[i] = random() * 256
  return made
}

const gone = { name: 'StorageError', kind: 'corrupt' }

/** Declares the tests of the Blobs contract. */
export function blobsSuite({ describe, it }: SuiteRunner, open: () => Promise<OpenBlobs>): void {
  const test = (name: string, fn: (opened: OpenBlobs) => Promise<void>) =>
    it(name, async () => {
      const opened = await open()
      try {
        await fn(opened)
      } finally {
        await opened.close()
      }
    })

  const stream = async (writer: BlobWriter, content: Buffer, sizes: number) => {
    for (let at = 0; at < content.length; at += sizes) await writer.write(content.subarray(at, at + sizes))
  }
  const stored = async ({ storage, blobs }: OpenBlobs, content: Buffer, owner: string) => {
    const writer = blobs.create()
    await stream(writer, content, 50_000)
    const ref = await writer.finish()
    await storage.write(blobs.own(ref, owner))
    return ref
  }

  describe('streamed blobs', () => {
    for (const [size, sizes] of [
      [0, 1],
      [1, 1],
      [5_000, 7],
      [65_536, 65_536],
      [65_537, 1_000],
      [1_000_000, 333_333],
      [3_000_000, 64_000],
    ] as const)
      test(`of ${size} octets in chunks of ${sizes} come back as they were`, async opened => {
        const content = noise(size)
        const writer = opened.blobs.create()
        await stream(writer, content, sizes)
        assert.equal(writer.size, size)
        const ref = await writer.finish()
        await opened.storage.write(opened.blobs.own(ref, 'm1'))
        assert.ok((await octets(opened.blobs.open(ref))).equals(content))
        assert.equal(await opened.blobs.read(ref), undefined)
      })

    test('can be read in ranges, clamped to what there is', async opened => {
      const content = noise(200_000)
      const ref = await stored(opened, content, 'm1')
      const ranges: Slice[] = [
        { start: 0, end: 1 },
        { start: 65_530, end: 65_545 },
        { start: 10, end: 150_000 },
        { start: 199_999, end: 300_000 },
        { start: 200_000, end: 200_001 },
        { start: 5, end: 5 },
        { start: 0, end: 200_000 },
      ]
      for (const { start, end } of ranges)
        assert.ok(
          (await octets(opened.blobs.open(ref, { start, end }))).equals(content.subarray(start, end)),
          `${start}-${end}`,
        )
    })

    test('can be read back while they are written, and as often as wanted', async ({ blobs }) => {
      const content = noise(300_000)
      const writer = blobs.create()
      assert.equal((await octets(writer.open())).length, 0)
      for (let at = 0; at < content.length; at += 30_000) {
        await writer.write(content.subarray(at, at + 30_000))
        assert.ok((await octets(writer.open())).equals(content.subarray(0, at + 30_000)))
      }
      assert.ok((await octets(writer.open({ start: 1000, end: 70_000 }))).equals(content.subarray(1000, 70_000)))
      const ref = await writer.finish()
      assert.ok((await octets(writer.open())).equals(content))
      assert.ok((await octets(blobs.open(ref))).equals(content))
    })

    test('keep the lent chunk only until it settles', async ({ blobs }) => {
      const writer = blobs.create()
      const chunk = Buffer.alloc(40_000)
      for (let i = 0; i < 10; i++) {
        chunk.fill(i)
        await writer.write(chunk)
      }
      const content = await octets(blobs.open(await writer.finish()))
      for (let i = 0; i < 10; i++) assert.equal(content[i * 40_000 + 39_999], i)
    })

    test('have names of their own, fifty at once', async opened => {
      const contents = Array.from({ length: 50 }, (_, i) => noise(20_000 + i * 3000, i))
      const refs = await Promise.all(contents.map((content, i) => stored(opened, content, `m${i}`)))
      assert.equal(new Set(refs).size, 50)
      for (const [i, ref] of refs.entries())
        assert.ok((await octets(opened.blobs.open(ref))).equals(contents[i] as Buffer))
    })

    test('that were aborted or finished take no more', async ({ blobs }) => {
      const aborted = blobs.create()
      await aborted.write(noise(100_000))
      await aborted.abort()
      await aborted.abort()
      await assert.rejects(async () => aborted.write(noise(1)), { name: 'StorageError' })
      await assert.rejects(aborted.finish(), { name: 'StorageError' })
      const finished = blobs.create()
      await finished.write(noise(10))
      const ref = await finished.finish()
      await assert.rejects(async () => finished.write(noise(1)), { name: 'StorageError' })
      await assert.rejects(finished.finish(), { name: 'StorageError' })
      await finished.abort()
      assert.equal((await octets(blobs.open(ref))).length, 10)
    })
  })

  describe('inline blobs', () => {
    test('live in the batch of their owner', async ({ storage, blobs }) => {
      const content = noise(4096)
      const { ref, ops } = blobs.inline(content)
      await assert.rejects(octets(blobs.open(ref)), gone)
      assert.equal(await blobs.read(ref), undefined)
      await storage.write([...ops, ...blobs.own(ref, 'm1')])
      assert.ok(content.equals((await blobs.read(ref)) as Uint8Array))
      assert.ok((await octets(blobs.open(ref))).equals(content))
      assert.ok((await octets(blobs.open(ref, { start: 100, end: 200 }))).equals(content.subarray(100, 200)))
    })

    test('go with a sole owner, in the same batch', async ({ storage, blobs, collect }) => {
      const { ref, ops } = blobs.inline(noise(10))
      await storage.write([...ops, ...blobs.own(ref, 'm1')])
      await storage.write(blobs.disown(ref, 'm1', true), { relaxed: true })
      assert.equal(await blobs.read(ref), undefined)
      assert.equal(await collect(), 0)
      assert.equal((await storage.getMany([`B/${ref}`, `b/${ref}/m1`, `g/${ref}`])).filter(Boolean).length, 0)
    })
  })

  describe('owners', () => {
    for (const kind of ['inline', 'streamed'] as const)
      test(`keep ${kind} blobs alive, down to the last one`, async opened => {
        const { storage, blobs, collect } = opened
        const content = noise(1000)
        let ref: string
        if (kind === 'streamed') ref = await stored(opened, content, 'm1')
        else {
          const inline = blobs.inline(content)
          ref = inline.ref
          await storage.write([...inline.ops, ...blobs.own(ref, 'm1')])
        }
        await storage.write([...blobs.own(ref, 'm2'), ...blobs.own(ref, 'm3')])
        await storage.write(blobs.disown(ref, 'm1'))
        assert.equal(await collect(), 0)
        assert.ok((await octets(blobs.open(ref))).equals(content))
        // Moved from one owner to another in one batch.
        await storage.write([...blobs.disown(ref, 'm2'), ...blobs.own(ref, 'm4')])
        await storage.write(blobs.disown(ref, 'm3'))
        assert.equal(await collect(), 0)
        assert.ok((await octets(blobs.open(ref))).equals(content))
        await storage.write(blobs.disown(ref, 'm4'))
        assert.equal(await collect(), 1)
        await assert.rejects(octets(blobs.open(ref)), gone)
        assert.equal(await collect(), 0)
        for await (const left of storage.range({ gte: 'A', lt: 'z' })) assert.deepEqual(left, [])
      })

    test('that leave by the thousand leave nothing behind', async ({ storage, blobs, collect }) => {
      const refs: string[] = []
      for (let i = 0; i < 1200; i++) {
        const { ref, ops } = blobs.inline(Buffer.from(`${i}`))
        refs.push(ref)
        await storage.write([...ops, ...blobs.own(ref, 'a'), ...blobs.own(ref, 'b')], { relaxed: true })
      }
      await Promise.all(
        refs.flatMap(ref => [storage.write(blobs.disown(ref, 'a')), storage.write(blobs.disown(ref, 'b'))]),
      )
      await collect()
      for await (const left of storage.range({ gte: 'A', lt: 'z' })) assert.deepEqual(left, [])
    })

    test('of a name with another as its beginning are told apart', async opened => {
      const { storage, blobs, collect } = opened
      const one = await stored(opened, noise(10), 'm1')
      await storage.write([...blobs.own(one, 'm1/x'), ...blobs.disown(one, 'm1')])
      assert.equal(await collect(), 0)
      assert.equal((await octets(blobs.open(one))).length, 10)
    })
  })

  test('many writers and readers at once', async opened => {
    const sum = (content: Buffer) => createHash('sha256').update(content).digest('hex')
    await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const content = noise(5_000 * (1 + (i % 9)), i)
        const ref = await stored(opened, content, `m${i}`)
        for (let n = 0; n < 3; n++) assert.equal(sum(await octets(opened.blobs.open(ref))), sum(content))
        await opened.storage.write(opened.blobs.disown(ref, `m${i}`, true))
      }),
    )
    await opened.collect()
    for await (const left of opened.storage.range({ gte: 'A', lt: 'z' })) assert.deepEqual(left, [])
  })
}
