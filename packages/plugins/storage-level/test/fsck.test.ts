import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Finding, inlineKey, type RecordCheck, under } from '@posthorn/core'
import { ClassicLevel } from 'classic-level'
import { describe, it } from 'vitest'
import { fsck } from '../src/fsck.ts'
import { closeStore, openStore } from '../src/index.ts'
import { encode } from '../src/value.ts'

interface Here {
  readonly data: string
  readonly path: string
  readonly blobs: string
  /** `severity at what`, file paths without the data folder. */
  check(options?: { repair?: boolean; quick?: boolean; checks?: readonly RecordCheck[] }): Promise<{
    found: string[]
    result: Awaited<ReturnType<typeof fsck>>
  }>
  raw(fn: (db: ClassicLevel<string, Uint8Array>) => Promise<void>): Promise<void>
}

const test = (name: string, fn: (here: Here) => Promise<void>) =>
  it(name, async () => {
    const data = await mkdtemp(join(tmpdir(), 'posthorn-fsck-'))
    const path = join(data, 'store')
    const blobs = join(data, 'blobs')
    try {
      await fn({
        data,
        path,
        blobs,
        async check(options = {}) {
          const found: string[] = []
          const report = ({ severity, at, what }: Finding) =>
            found.push(`${severity} ${at}: ${what}`.replaceAll(`${data}/`, ''))
          const result = await fsck({ path, blobs, report, ...options })
          return { found, result }
        },
        async raw(change) {
          const db = new ClassicLevel<string, Uint8Array>(path, { valueEncoding: 'view' })
          await change(db).finally(() => db.close())
        },
      })
    } finally {
      await rm(data, { recursive: true, force: true })
    }
  })

/** A store with one inline message `i`, and one with a file `f`. */
async function filled({ path, blobs: folder }: Here) {
  const opened = await openStore({ path, blobs: folder })
  const { storage, blobs } = opened
  const inline = blobs.inline(Buffer.from('small'))
  const writer = blobs.create()
  await writer.write(Buffer.alloc(100_000, 'large '))
  const file = await writer.finish()
  await storage.write([
    ...inline.ops,
    ...blobs.own(inline.ref, '1'),
    ...blobs.own(file, '2'),
    ...blobs.own(file, '3'),
    { type: 'put', key: 'm/1', value: Buffer.from('one') },
    { type: 'put', key: 'm/2', value: Buffer.from('two') },
  ])
  const place = blobs.folder.path(file)
  await closeStore(opened)
  return { inline: inline.ref, file, place }
}

describe('fsck', () => {
  test('finds nothing wrong with a sound store, and counts what is there', async here => {
    await filled(here)
    const { found, result } = await here.check({ repair: true })
    assert.deepEqual(found, [])
    assert.deepEqual(
      { ...result, octets: 0 },
      { records: 6, octets: 0, blobs: 2, blobOctets: 100_000, lost: 0, damaged: 0, waste: 0, repaired: 0 },
    )
  })

  test('quarantines what cannot be read, and the server runs again', async here => {
    const { inline } = await filled(here)
    const bad = encode(Buffer.from('bad'))
    bad.writeUInt8(bad.readUInt8(5) ^ 1, 5)
    await here.raw(db => db.put('m/2', bad))
    const first = await here.check()
    assert.deepEqual(first.found, ['lost m/2: the value does not match its checksum'])
    assert.equal(first.result.repaired, 0)
    const second = await here.check({ repair: true })
    assert.equal(second.result.repaired, 1)
    const lines = (await readFile(second.result.quarantine as string, 'utf8')).trim().split('\n')
    assert.deepEqual(
      lines.map(line => JSON.parse(line)),
      [{ key: 'm/2', why: 'does not match its checksum', value: bad.toString('base64') }],
    )
    assert.deepEqual((await here.check()).found, [])
    const opened = await openStore(here)
    assert.equal(await opened.storage.get('m/2'), undefined)
    assert.equal(Buffer.from((await opened.blobs.read(inline)) as Uint8Array).toString(), 'small')
    await closeStore(opened)
  })

  test('finds lost and changed bodies, and says whose they were', async here => {
    const { inline, file, place } = await filled(here)
    await writeFile(place, Buffer.alloc(100_000, 'larg3 '))
    await here.raw(db => db.del(inlineKey(inline)))
    const findings: Finding[] = []
    await fsck({ ...here, report: finding => findings.push(finding) })
    assert.deepEqual(
      findings.map(({ severity, at, fix }) => `${severity} ${at}: ${fix}`),
      [
        `lost ${file}: Restore it from a backup: its owner is 2.`,
        `lost ${inline}: Restore it from a backup: its owner is 1.`,
      ],
    )
    assert.equal((await here.check({ quick: true })).result.lost, 1)
    await writeFile(place, 'short')
    assert.match((await here.check({ quick: true })).found[0] as string, /has 5 octets instead of 100000/)
    await rm(place)
    assert.match((await here.check({ repair: true })).found[0] as string, /is missing/)
  })

  test('finds waste, and removes it when told to', async here => {
    const { place } = await filled(here)
    const opened = await openStore(here)
    const orphan = opened.blobs.create()
    await orphan.write(Buffer.alloc(20_000))
    const ref = await orphan.finish()
    await closeStore(opened)
    await writeFile(join(here.blobs, 'tmp', 'DRAFT'), 'half')
    await mkdir(join(here.blobs, 'zz'), { recursive: true })
    await writeFile(join(here.blobs, 'zz', 'note.txt'), 'somebody’s own')
    await here.raw(db => db.put('B/iNOBODYS', encode(Buffer.from('x'))))
    const expected = [
      'waste B/iNOBODYS: nobody owns these octets',
      `waste blobs/${ref.slice(18, 19)}/${ref}: nobody owns this file`,
      'waste blobs/tmp/DRAFT: a file that was never finished',
      'waste blobs/zz/note.txt: this is not a blob file',
    ]
    assert.deepEqual((await here.check()).found.sort(), expected.sort())
    const { found, result } = await here.check({ repair: true })
    assert.deepEqual(found.sort(), expected.sort())
    assert.equal(result.repaired, 3)
    assert.deepEqual((await here.check()).found, ['waste blobs/zz/note.txt: this is not a blob file'])
    assert.ok((await readFile(place)).length === 100_000)
  })

  test('lets owners of records check theirs, past values that cannot be read, and writes what they propose', async here => {
    await filled(here)
    await here.raw(db => db.put('m/15', Buffer.from('garbage')))
    const queue: RecordCheck = {
      name: 'queue',
      async *check(storage) {
        for await (const batch of storage.range(under('m/')))
          for (const [key] of batch)
            yield {
              severity: 'damaged',
              at: key,
              what: 'has no index',
              fix: '--repair makes it.',
              repair: [{ type: 'put', key: `d/${key}`, value: Buffer.from('made') }],
            }
      },
    }
    const { found } = await here.check({ checks: [queue] })
    assert.deepEqual(found.slice(1), ['damaged m/1: queue: has no index', 'damaged m/2: queue: has no index'])
    const { result } = await here.check({ checks: [queue], repair: true })
    assert.equal(result.repaired, 3)
    const opened = await openStore(here)
    assert.equal(String(Buffer.from((await opened.storage.get('d/m/2')) as Uint8Array)), 'made')
    await closeStore(opened)
  })

  test('mends the format record, without which the server does not start', async here => {
    await filled(here)
    await here.raw(db => db.del('\0format'))
    await assert.rejects(openStore(here), { code: 'POSTHORN_STORE_FOREIGN' })
    assert.equal((await here.check({ repair: true })).found.length, 1)
    await closeStore(await openStore(here))
  })

  test('saves what it can of database files that cannot be opened', async here => {
    await filled(here)
    for (const name of await readdir(here.path))
      if (name.startsWith('MANIFEST')) await writeFile(join(here.path, name), 'not a manifest')
    await assert.rejects(openStore(here), { code: 'POSTHORN_STORE_DAMAGED', fix: /fsck --repair/ })
    await assert.rejects(here.check(), { code: 'POSTHORN_STORE_DAMAGED' })
    assert.match((await here.check({ repair: true })).found[0] as string, /saved what it could/)
    const opened = await openStore(here)
    assert.equal(String(Buffer.from((await opened.storage.get('m/1')) as Uint8Array)), 'one')
    await closeStore(opened)
  })

  test('finds the newest value after such a saving, where a log was left that had become a table', async here => {
    await filled(here)
    const log = (await readdir(here.path)).find(name => name.endsWith('.log')) as string
    const old = await readFile(join(here.path, log))
    // Each opening makes a table of the log before.
    const changed = await openStore(here)
    await changed.storage.write([{ type: 'put', key: 'm/1', value: Buffer.from('newest') }])
    await closeStore(changed)
    await closeStore(await openStore(here))
    await writeFile(join(here.path, log), old)
    for (const name of await readdir(here.path))
      if (name.startsWith('MANIFEST')) await writeFile(join(here.path, name), 'not a manifest')
    await here.check({ repair: true })
    const { storage, blobs } = await openStore(here)
    assert.equal(String(Buffer.from((await storage.get('m/1')) as Uint8Array)), 'newest')
    await closeStore({ storage, blobs })
  })

  test('needs a store, and needs it alone', async here => {
    await assert.rejects(here.check(), { code: 'POSTHORN_STORE_ABSENT' })
    const opened = await openStore(here)
    await assert.rejects(here.check(), { code: 'POSTHORN_STORE_BUSY' })
    await closeStore(opened)
  })
})
