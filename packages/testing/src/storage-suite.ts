// What every back end of Storage must do: one suite, run by each back end's own tests. Needs no test framework of its own.
import assert from 'node:assert/strict'
import { type Op, type Range, type Storage, under } from '@posthorn/core'
import { seeded } from './faulty-storage.ts'

export interface SuiteRunner {
  describe(name: string, fn: () => void): void
  it(name: string, fn: () => Promise<void>): void
}

/** An empty store of its own for each test. */
export interface OpenStorage {
  readonly storage: Storage
  /** Closes and opens again; absent where nothing outlives the process. */
  reopen?(): Promise<Storage>
  close(): Promise<void>
}

const put = (key: string, value = key): Op => ({ type: 'put', key, value: Buffer.from(value) })
const del = (key: string): Op => ({ type: 'del', key })
const text = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString()

async function all(storage: Pick<Storage, 'range'>, range: Range): Promise<[string, string][]> {
  const found: [string, string][] = []
  for await (const batch of storage.range(range)) {
    assert.ok(batch.length > 0, 'a range gives no empty batch')
    for (const [key, value] of batch) found.push([key, text(value) as string])
  }
  return found
}
const keys = async (storage: Pick<Storage, 'range'>, range: Range) => (await all(storage, range)).map(([key]) => key)
const everything: Range = { gte: '', lt: '\u{10ffff}' }

/** Declares the tests of the Storage contract. */
export function storageSuite({ describe, it }: SuiteRunner, open: () => Promise<OpenStorage>): void {
  const test = (name: string, fn: (storage: Storage, opened: OpenStorage) => Promise<void>) =>
    it(name, async () => {
      const opened = await open()
      try {
        await fn(opened.storage, opened)
      } finally {
        await opened.close()
      }
    })

  describe('reads and writes', () => {
    test('gives back what was put, octet by octet', async storage => {
      const octets = Uint8Array.from({ length: 256 }, (_, i) => i)
      await storage.write([{ type: 'put', key: 'octets', value: octets }, put('empty', '')])
      assert.deepEqual(Buffer.from((await storage.get('octets')) as Uint8Array), Buffer.from(octets))
      assert.equal(text(await storage.get('empty')), '')
      assert.equal(await storage.get('absent'), undefined)
      assert.equal(await storage.write([]), true)
    })

    test('keeps large values, and views into larger buffers', async storage => {
      const large = Buffer.alloc(3_000_000, 'abcdefg')
      await storage.write([
        { type: 'put', key: 'large', value: large },
        { type: 'put', key: 'view', value: large.subarray(7, 14) },
      ])
      assert.ok(large.equals((await storage.get('large')) as Uint8Array))
      assert.equal(text(await storage.get('view')), 'abcdefg')
    })

    test('a value that was read is the reader’s own', async storage => {
      await storage.write([put('k', 'value')])
      ;((await storage.get('k')) as Uint8Array).fill(0)
      assert.equal(text(await storage.get('k')), 'value')
    })

    test('the last op on a key in a batch wins', async storage => {
      await storage.write([put('a', '1'), put('a', '2'), put('b'), del('b'), del('c'), put('c')])
      assert.deepEqual(await all(storage, everything), [
        ['a', '2'],
        ['c', 'c'],
      ])
    })

    test('getMany answers in the order of the question', async storage => {
      await storage.write([put('a'), put('b'), put('c')])
      assert.deepEqual((await storage.getMany(['c', 'x', 'a'])).map(text), ['c', undefined, 'a'])
      assert.deepEqual(await storage.getMany([]), [])
    })

    test('writes are visible in the order in which they were made', async storage => {
      await Promise.all(
        Array.from({ length: 300 }, (_, i) => storage.write([put('k', `${i}`)], { relaxed: i % 3 === 0 })),
      )
      assert.equal(text(await storage.get('k')), '299')
    })

    test('refuses keys that nobody could store, and the whole batch with them', async storage => {
      for (const bad of ['', '\0', '\0format', '\ud800', 'a\udc00b'])
        await assert.rejects(storage.write([put('good'), put(bad)]), TypeError, JSON.stringify(bad))
      assert.equal(await storage.get('good'), undefined)
      await storage.write([put('nul \0 within')])
      assert.deepEqual(await keys(storage, everything), ['nul \0 within'])
    })
  })

  describe('ranges', () => {
    test('are ordered by the octets of UTF-8, not by UTF-16', async storage => {
      const random = seeded(42)
      const alphabet = [
        'a',
        'b',
        '/',
        '\u0001',
        '\0',
        '~',
        '\u007f',
        'ä',
        '\u0800',
        '\uffee',
        '\u{1f600}',
        '\u{10fffe}',
      ]
      const made = new Set<string>()
      for (let i = 0; i < 500; i++) {
        let key = 'k'
        for (let n = Math.floor(random() * 6); n > 0; n--) key += alphabet[Math.floor(random() * alphabet.length)]
        made.add(key)
      }
      await storage.write([...made].map(key => put(key)))
      const sorted = [...made].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      assert.deepEqual(await keys(storage, everything), sorted)
      assert.deepEqual(await keys(storage, { ...everything, reverse: true }), sorted.toReversed())
      for (let i = 0; i < 30; i++) {
        const from = Math.floor(random() * sorted.length)
        const to = Math.floor(random() * sorted.length)
        const range = { gte: sorted[from] as string, lt: sorted[to] as string }
        assert.deepEqual(await keys(storage, range), sorted.slice(from, to))
        assert.deepEqual(
          await keys(storage, { ...range, limit: 3, reverse: true }),
          sorted.slice(from, to).toReversed().slice(0, 3),
        )
      }
    })

    test('hold gte, leave lt out, and respect the limit', async storage => {
      await storage.write(['a', 'b', 'c', 'd'].map(key => put(key)))
      assert.deepEqual(await keys(storage, { gte: 'b', lt: 'd' }), ['b', 'c'])
      assert.deepEqual(await keys(storage, { gte: 'b', lt: 'b' }), [])
      assert.deepEqual(await keys(storage, { gte: 'c', lt: 'a' }), [])
      assert.deepEqual(await keys(storage, { gte: 'a', lt: 'd', limit: 2 }), ['a', 'b'])
      assert.deepEqual(await keys(storage, { gte: 'a', lt: 'd', limit: 2, reverse: true }), ['c', 'b'])
      assert.deepEqual(await keys(storage, { gte: 'a', lt: 'd', limit: 0 }), [])
      assert.deepEqual(await keys(storage, under('c')), ['c'])
    })

    test('of many keys come in batches, and see nothing that was written after they began', async storage => {
      const many = Array.from({ length: 2500 }, (_, i) => `k/${String(i).padStart(5, '0')}`)
      await storage.write(many.map(key => put(key)))
      const seen: string[] = []
      let batches = 0
      for await (const batch of storage.range(under('k/'))) {
        if (batches++ === 0) await storage.write([del('k/02400'), put('k/99999'), put('k/02401', 'changed')])
        for (const [key, value] of batch) {
          seen.push(key)
          assert.equal(text(value), key)
        }
      }
      assert.deepEqual(seen, many)
      assert.ok(batches >= 2)
    })

    test('can be left early', async storage => {
      await storage.write(Array.from({ length: 1500 }, (_, i) => put(`k${i}`)))
      for (let i = 0; i < 50; i++) for await (const _ of storage.range(everything)) break
      assert.equal((await keys(storage, everything)).length, 1500)
    })
  })

  describe('conditions', () => {
    test('hold for the value named, and for absence', async storage => {
      const value = Buffer.from('1')
      assert.equal(await storage.write([put('a', '1')], { when: [{ key: 'a', equals: null }] }), true)
      assert.equal(await storage.write([put('a', '2'), put('b')], { when: [{ key: 'a', equals: null }] }), false)
      assert.equal(
        await storage.write([put('a', '3')], {
          when: [
            { key: 'a', equals: value },
            { key: 'b', equals: value },
          ],
        }),
        false,
      )
      assert.deepEqual(await all(storage, everything), [['a', '1']])
      assert.equal(
        await storage.write([del('a')], {
          when: [
            { key: 'a', equals: value },
            { key: 'b', equals: null },
          ],
        }),
        true,
      )
      assert.deepEqual(await all(storage, everything), [])
    })

    test('let exactly one of many rivals win, in each round', async storage => {
      for (let round = 0; round < 20; round++) {
        const equals = round === 0 ? null : ((await storage.get('lease')) as Uint8Array)
        const won = await Promise.all(
          Array.from({ length: 25 }, (_, i) =>
            storage.write([put('lease', `${round}.${i}`)], { when: [{ key: 'lease', equals }] }),
          ),
        )
        assert.equal(won.filter(Boolean).length, 1)
      }
    })

    test('see writes that are still on their way', async storage => {
      const [, second, third] = await Promise.all([
        storage.write([put('epoch', '2')]),
        storage.write([put('late')], { when: [{ key: 'epoch', equals: Buffer.from('1') }] }),
        storage.write([put('fine')], { when: [{ key: 'epoch', equals: Buffer.from('2') }] }),
      ])
      assert.deepEqual([second, third], [false, true])
      assert.equal(await storage.get('late'), undefined)
    })
  })

  describe('transactions', () => {
    const increment = (storage: Storage, scope: string, key: string) =>
      storage.transact(scope, async tx => {
        const next = Number(text(await tx.get(key)) ?? 0) + 1
        tx.put(key, Buffer.from(String(next)))
        return next
      })

    test('of one scope run one after another, each on top of the one before', async storage => {
      const results = await Promise.all(Array.from({ length: 200 }, () => increment(storage, 'box', 'uidnext')))
      assert.deepEqual(
        results,
        Array.from({ length: 200 }, (_, i) => i + 1),
      )
      assert.equal(text(await storage.get('uidnext')), '200')
    })

    test('of different scopes do not wait for each other', async storage => {
      const first = Promise.withResolvers<void>()
      const slow = storage.transact('a', async tx => {
        await first.promise
        tx.put('a', Buffer.from('done'))
      })
      assert.equal(await increment(storage, 'b', 'n'), 1)
      first.resolve()
      await slow
      assert.equal(text(await storage.get('a')), 'done')
    })

    test('see their own writes, in ranges too, and nobody else does before the end', async storage => {
      await storage.write([put('r/1'), put('r/3'), put('r/5'), put('s')])
      await storage.transact('x', async tx => {
        tx.put('r/2', Buffer.from('two'))
        tx.del('r/3')
        tx.put('r/5', Buffer.from('five'))
        tx.put('r/6', Buffer.from('six'))
        tx.put('q', Buffer.from('outside'))
        assert.equal(text(await tx.get('r/2')), 'two')
        assert.equal(await tx.get('r/3'), undefined)
        const expected = [
          ['r/1', 'r/1'],
          ['r/2', 'two'],
          ['r/5', 'five'],
          ['r/6', 'six'],
        ]
        assert.deepEqual(await all(tx, under('r/')), expected)
        assert.deepEqual(await all(tx, { ...under('r/'), reverse: true }), expected.toReversed())
        assert.deepEqual(await all(tx, { ...under('r/'), limit: 2 }), expected.slice(0, 2))
        assert.deepEqual(await all(tx, { ...under('r/'), limit: 3, reverse: true }), expected.toReversed().slice(0, 3))
        assert.equal(await storage.get('r/2'), undefined)
      })
      assert.deepEqual(await keys(storage, under('r/')), ['r/1', 'r/2', 'r/5', 'r/6'])
    })

    test('that follow at once see the ranges of those before', async storage => {
      const add = (key: string) =>
        storage.transact('list', async tx => {
          const before = (await keys(tx, under('l/'))).length
          tx.put(`l/${key}`, Buffer.from(String(before)))
          return before
        })
      assert.deepEqual(await Promise.all(['a', 'b', 'c', 'd'].map(add)), [0, 1, 2, 3])
    })

    test('that throw write nothing, and the next one goes on', async storage => {
      const failing = storage.transact('x', async tx => {
        tx.put('half', Buffer.from('half'))
        throw new Error('changed my mind')
      })
      const next = increment(storage, 'x', 'n')
      await assert.rejects(failing, /changed my mind/)
      assert.equal(await next, 1)
      assert.equal(await storage.get('half'), undefined)
    })

    test('are over when they are over', async storage => {
      const kept = await storage.transact('x', tx => tx)
      assert.throws(() => kept.put('late', Buffer.from('late')), { name: 'StorageError' })
      await assert.rejects(kept.get('late'), { name: 'StorageError' })
    })

    test('that only read wait for what they saw to be durable, and return it', async storage => {
      const write = increment(storage, 'x', 'n')
      assert.equal(text(await storage.transact('x', tx => tx.get('n'))), '1')
      assert.equal(await write, 1)
    })
  })

  describe('watching', () => {
    test('tells of writes under the prefix once they can be read', async storage => {
      const seen: string[] = []
      const check = async (key: string) => assert.ok(await storage.get(key))
      const checks: Promise<void>[] = []
      using _ = storage.watch('d/', key => {
        seen.push(key)
        checks.push(check(key))
      })
      await storage.write([put('d/1'), put('e/1')])
      await storage.write([put('d/2')], { relaxed: true })
      await storage.transact('x', tx => tx.put('d/3', Buffer.from('3')))
      await storage.write([put('d/4')], { when: [{ key: 'd/1', equals: null }] })
      await Promise.all(checks)
      assert.deepEqual(seen, ['d/1', 'd/2', 'd/3'])
    })

    test('ends when it is disposed of', async storage => {
      let calls = 0
      const first = storage.watch('d/', () => calls++)
      const second = storage.watch('d/', () => calls++)
      await storage.write([put('d/1')])
      first[Symbol.dispose]()
      await storage.write([put('d/2')])
      second[Symbol.dispose]()
      await storage.write([put('d/3')])
      assert.equal(calls, 3)
    })
  })

  describe('as a whole', () => {
    test('agrees with a plain map after a thousand random batches, also when opened again', async (storage, opened) => {
      const random = seeded(7)
      const model = new Map<string, string>()
      const pick = () => `${'abc'[Math.floor(random() * 3)]}/${Math.floor(random() * 60)}`
      const writes: Promise<unknown>[] = []
      for (let i = 0; i < 1000; i++) {
        const ops: Op[] = []
        for (let n = 1 + Math.floor(random() * 5); n > 0; n--) {
          const key = pick()
          if (random() < 0.35) {
            ops.push(del(key))
            model.delete(key)
          } else {
            ops.push(put(key, `${i}.${n}`))
            model.set(key, `${i}.${n}`)
          }
        }
        writes.push(storage.write(ops, { relaxed: random() < 0.3 }))
        if (random() < 0.05) await writes.at(-1)
      }
      await Promise.all(writes)
      const expected = [...model].sort(([a], [b]) => (a < b ? -1 : 1))
      assert.deepEqual(await all(storage, everything), expected)
      const again = await opened.reopen?.()
      if (again !== undefined) assert.deepEqual(await all(again, everything), expected)
    })

    test('is closed to everybody once closed', async (storage, opened) => {
      await storage.write([put('a')])
      const last = storage.write([put('b')])
      last.catch(() => {})
      await opened.close()
      await assert.rejects(storage.write([put('c')]), { name: 'StorageError', kind: 'closed' })
      await assert.rejects(async () => storage.get('a'), { name: 'StorageError', kind: 'closed' })
      await assert.rejects(all(storage, everything), { name: 'StorageError', kind: 'closed' })
      await assert.rejects(
        storage.transact('x', tx => tx.put('d', Buffer.from('d'))),
        { name: 'StorageError', kind: 'closed' },
      )
    })
  })
}
