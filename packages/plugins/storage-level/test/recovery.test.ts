import assert from 'node:assert/strict'
import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { type Op, type StorageError, silentLog } from '@posthorn/core'
import { fakeClock, seeded } from '@posthorn/testing'
import { describe, it } from 'vitest'
import { LevelStorage } from '../src/level.ts'

const put = (key: string, value = key): Op => ({ type: 'put', key, value: Buffer.from(value) })
const text = (value: Uint8Array | undefined) => value && Buffer.from(value).toString()

interface Here {
  readonly storage: LevelStorage
  readonly path: string
  readonly clock: ReturnType<typeof fakeClock>
  /** What was logged as information. */
  readonly told: string[]
  /** LevelDB rejects its next write, after storing it or not, when `hold` resolves. `begun` says that it is at it. */
  fault(message: string, options?: { stored?: boolean; hold?: Promise<void> }): { begun: Promise<void> }
}

const test = (name: string, fn: (here: Here) => Promise<void>) =>
  it(name, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'posthorn-recovery-'))
    const path = join(folder, 'store')
    const clock = fakeClock()
    const told: string[] = []
    const log = { ...silentLog, info: (_: object, message = '') => told.push(message) }
    const storage = await LevelStorage.open({ path, clock, log })
    const fault: Here['fault'] = (message, { stored = false, hold } = {}) => {
      const db = storage.database()
      const begun = Promise.withResolvers<void>()
      const batch = db.batch.bind(db) as () => ReturnType<typeof db.batch>
      Object.assign(db, {
        batch() {
          const made = batch()
          const write = made.write.bind(made)
          made.write = async (options?: object) => {
            begun.resolve()
            await hold
            if (stored) await write(options as { sync: boolean })
            else await made.close()
            throw Object.assign(new Error(`IO error: ${path}/000003.log: ${message}`), { code: 'LEVEL_IO_ERROR' })
          }
          return made
        },
      })
      return { begun: begun.promise }
    }
    try {
      await fn({ storage, path, clock, told, fault })
    } finally {
      await storage.close()
      await rm(folder, { recursive: true, force: true })
    }
  })

const full = { name: 'StorageError', kind: 'full' }

describe('after a rejected write', () => {
  for (const [message, kind] of [
    ['No space left on device', 'full'],
    ['Disk quota exceeded', 'full'],
    ['Read-only file system', 'full'],
    ['File too large', 'full'],
    ['Input/output error', 'failed'],
  ] as const)
    test(`"${message}" is "${kind}", and the store goes on`, async ({ storage, fault }) => {
      await storage.write([put('before')])
      fault(message)
      await assert.rejects(storage.write([put('lost')]), (error: StorageError) => {
        assert.equal(error.kind, kind)
        assert.match(error.message, new RegExp(message))
        return true
      })
      assert.equal(text(await storage.get('before')), 'before')
      assert.equal(await storage.get('lost'), undefined)
      assert.equal(await storage.write([put('after')]), true)
      assert.equal(storage.stats.recoveries, 1)
    })

  test('all that waited behind it is refused, and so is what comes before the store is open again', async ({
    storage,
    fault,
  }) => {
    const hold = Promise.withResolvers<void>()
    const { begun } = fault('No space left on device', { hold: hold.promise })
    const first = storage.write([put('first')])
    await begun
    const behind = [
      storage.write([put('a')]),
      storage.write([put('b')], { relaxed: true }),
      storage.transact('s', tx => tx.put('c', Buffer.from('c'))),
    ]
    const all = Promise.allSettled([first, ...behind])
    await turn()
    hold.resolve()
    for (const end of await all) assert.equal(end.status, 'rejected')
    for (const key of ['first', 'a', 'b', 'c']) assert.equal(await storage.get(key), undefined)
    assert.equal(await storage.write([put('d')]), true)
  })

  test('what LevelDB had stored all the same is acknowledged, and watchers hear of it', async ({ storage, fault }) => {
    const seen: string[] = []
    using _ = storage.watch('k', key => seen.push(key))
    fault('Input/output error', { stored: true })
    assert.equal(await storage.write([put('k1'), { type: 'del', key: 'k0' }]), true)
    assert.equal(text(await storage.get('k1')), 'k1')
    assert.deepEqual(seen, ['k1', 'k0'])
  })

  test('a transaction that read what was lost is lost too', async ({ storage, fault }) => {
    const hold = Promise.withResolvers<void>()
    const { begun } = fault('No space left on device', { hold: hold.promise })
    const first = storage.transact('box', tx => tx.put('uidnext', Buffer.from('2')))
    first.catch(() => {})
    await begun
    const read = Promise.withResolvers<void>()
    const second = storage.transact('box', async tx => {
      assert.equal(text(await tx.get('uidnext')), '2')
      read.resolve()
      await first.catch(() => {})
      tx.put('uidnext', Buffer.from('3'))
    })
    second.catch(() => {})
    await read.promise
    hold.resolve()
    await assert.rejects(first, full)
    await assert.rejects(second, { name: 'StorageError' })
    assert.equal(await storage.get('uidnext'), undefined)
  })

  test('reads wait for the first try to reopen', async ({ storage, fault }) => {
    await storage.write([put('k')])
    fault('No space left on device')
    await assert.rejects(async () => {
      const written = storage.write([put('x')])
      written.catch(() => {})
      await turn()
      await turn()
      assert.equal(text(await storage.get('k')), 'k')
      assert.deepEqual((await storage.getMany(['k'])).map(text), ['k'])
      await written
    }, full)
  })

  test('that cannot be mended at once, writes and reads are refused until it is', async ({
    storage,
    fault,
    path,
    clock,
    told,
  }) => {
    await storage.write([put('before')])
    const hold = Promise.withResolvers<void>()
    const { begun } = fault('Input/output error', { hold: hold.promise })
    const lost = storage.write([put('lost')])
    lost.catch(() => {})
    await begun
    await rename(path, `${path}.away`)
    hold.resolve()
    await assert.rejects(lost, { kind: 'failed' })
    await assert.rejects(storage.write([put('x')]), { kind: 'failed' })
    await assert.rejects(async () => storage.get('before'), { kind: 'failed' })
    await clock.advance(250)
    await assert.rejects(storage.write([put('x')]), { kind: 'failed' })
    await rm(path, { recursive: true, force: true })
    await rename(`${path}.away`, path)
    while (!told.includes('the store is open again')) {
      await clock.advance(1_000)
      await turn()
    }
    assert.equal(await storage.write([put('after')]), true)
    assert.equal(text(await storage.get('before')), 'before')
    assert.equal(text(await storage.get('after')), 'after')
  })

  test('time and again among random writes, what resolved is there and what was rejected is not', async ({
    storage,
    fault,
  }) => {
    const random = seeded(3)
    const expected = new Map<string, string>()
    for (let round = 0; round < 25; round++) {
      fault('No space left on device', { stored: random() < 0.5 })
      const writes = Array.from({ length: 1 + Math.floor(random() * 8) }, (_, i) => {
        const key = `k${Math.floor(random() * 40)}`
        const value = `${round}.${i}`
        const op: Op = random() < 0.3 ? { type: 'del', key } : put(key, value)
        return {
          key,
          value: op.type === 'put' ? value : undefined,
          done: storage.write([op], { relaxed: random() < 0.3 }),
        }
      })
      const ends = await Promise.allSettled(writes.map(({ done }) => done))
      for (const [i, { key, value }] of writes.entries()) {
        if (ends[i]?.status === 'rejected') continue
        if (value === undefined) expected.delete(key)
        else expected.set(key, value)
      }
      for (let k = 0; k < 40; k++)
        assert.equal(text(await storage.get(`k${k}`)), expected.get(`k${k}`), `k${k} in round ${round}`)
    }
    assert.equal(storage.stats.recoveries, 25)
  })

  test('it can be closed while it is at fault', async ({ storage, fault, path }) => {
    fault('Input/output error')
    await rename(path, `${path}.away`)
    await assert.rejects(storage.write([put('lost')]), { kind: 'failed' })
    await storage.close()
    await assert.rejects(storage.write([put('x')]), { kind: 'closed' })
    await rm(path, { recursive: true, force: true })
    await rename(`${path}.away`, path)
  })
})

describe('when space is low', () => {
  it('refuses before it writes, but lets the store shrink', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'posthorn-low-'))
    const path = join(folder, 'store')
    const roomy = await LevelStorage.open({ path })
    await roomy.write([put('old')])
    await roomy.close()
    // Half of the reserve is free, and a little more: the disk's free octets are asked for, so that the test fits any.
    const { bavail, bsize } = await import('node:fs/promises').then(fs => fs.statfs(folder))
    const storage = await LevelStorage.open({ path, free: bavail * bsize * 1.5 })
    await assert.rejects(storage.write([put('new')]), full)
    assert.equal(await storage.write([{ type: 'del', key: 'old' }]), true)
    assert.equal(storage.stats.recoveries, 0)
    assert.equal(storage.stats.refused, 1)
    await storage.close()
    const none = await LevelStorage.open({ path, free: bavail * bsize * 3 })
    await assert.rejects(none.write([{ type: 'del', key: 'old' }]), full)
    await none.close()
    await rm(folder, { recursive: true })
  })
})
