import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { ClassicLevel } from 'classic-level'
import fc from 'fast-check'
import { describe, it } from 'vitest'
import { warnOfFileSystem } from '../src/database.ts'
import { LevelStorage } from '../src/level.ts'
import { encode, flaw, lendEncoded, payload } from '../src/value.ts'

/** A store with these raw values under its keys. */
async function withRaw(raw: Record<string, Uint8Array>, fn: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-corrupt-'))
  const path = join(folder, 'store')
  await (await LevelStorage.open({ path })).close()
  const db = new ClassicLevel<string, Uint8Array>(path, { valueEncoding: 'view' })
  for (const [key, value] of Object.entries(raw)) await db.put(key, value)
  await db.close()
  await fn(path).finally(() => rm(folder, { recursive: true }))
}

const good = encode(Buffer.from('good'))
const flipped = Buffer.from(good)
flipped.writeUInt8(flipped.readUInt8(6) ^ 4, 6)

describe('a stored value', () => {
  it('comes back as it was, and no changed bit goes unseen', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(), fc.nat(7), (octets, at, bit) => {
        const stored = encode(octets)
        assert.deepEqual(Buffer.from(lendEncoded(octets)), stored)
        assert.equal(flaw(stored), undefined)
        assert.ok(Buffer.from(octets).equals(payload(stored)))
        stored.writeUInt8(stored.readUInt8(at % stored.length) ^ (1 << bit), at % stored.length)
        assert.notEqual(flaw(stored), undefined)
        assert.notEqual(flaw(stored.subarray(0, at % stored.length)), undefined)
      }),
    )
  })

  it('is a version, a CRC-32 and the payload', () => {
    const expected = Buffer.alloc(9)
    expected.writeUInt8(1, 0)
    expected.writeUInt32LE(crc32('mail'), 1)
    expected.write('mail', 5)
    assert.deepEqual(encode(Buffer.from('mail')), expected)
  })

  it('may be of any size', () => {
    for (const size of [0, 1, 65_530, 65_531, 65_536, 200_000, 1_100_000, 3_000_000, 10]) {
      const stored = lendEncoded(Buffer.alloc(size, 'x'))
      assert.equal(stored.length, size + 5)
      assert.equal(flaw(stored), undefined)
    }
  })
})

describe('a damaged value', () => {
  it('is an error that names key and store, never data', () =>
    withRaw({ 'm/1': flipped, 'm/2': Buffer.from([9, 1, 2, 3, 4, 5]), 'm/3': Buffer.alloc(2) }, async path => {
      const storage = await LevelStorage.open({ path })
      for (const [key, what] of [
        ['m/1', 'does not match its checksum'],
        ['m/2', 'has the unknown format 9'],
        ['m/3', 'is too short'],
      ] as const) {
        const expected = {
          name: 'StorageError',
          kind: 'corrupt',
          key,
          message: `the value of "${key}" in ${path} ${what}`,
        }
        await assert.rejects(async () => storage.get(key), expected)
        await assert.rejects(storage.getMany([key]), expected)
        await assert.rejects(
          storage.transact('x', tx => tx.get(key)),
          expected,
        )
      }
      await storage.close()
    }))

  it('ends a range behind the entries before it, and the range can go on behind it', () =>
    withRaw({ a: good, b: good, c: flipped, d: good }, async path => {
      const storage = await LevelStorage.open({ path })
      const seen: string[] = []
      let gte = 'a'
      for (let rounds = 0; gte !== '' && rounds < 3; rounds++) {
        const from = gte
        gte = ''
        try {
          for await (const batch of storage.range({ gte: from, lt: 'z' })) for (const [key] of batch) seen.push(key)
        } catch (error) {
          const { kind, key } = error as { kind: string; key: string }
          assert.equal(kind, 'corrupt')
          gte = `${key}\0`
        }
      }
      assert.deepEqual(seen, ['a', 'b', 'd'])
      await storage.close()
    }))
})

describe('a store', () => {
  it('of a newer format is refused with what to run', () =>
    withRaw({ '\0format': encode(Buffer.from('2')) }, async path => {
      await assert.rejects(LevelStorage.open({ path }), {
        code: 'POSTHORN_STORE_NEWER',
        fix: /npm install posthorn@latest/,
      })
    }))

  it('whose format cannot be read is sent to fsck', () =>
    withRaw({ '\0format': Buffer.from('?') }, async path => {
      await assert.rejects(LevelStorage.open({ path }), { code: 'POSTHORN_STORE_DAMAGED', fix: /posthorn fsck/ })
    }))

  it('of somebody else is left alone', async () => {
    const path = await mkdtemp(join(tmpdir(), 'posthorn-foreign-'))
    const db = new ClassicLevel(path)
    await db.put('their', 'data')
    await db.close()
    await assert.rejects(LevelStorage.open({ path }), { code: 'POSTHORN_STORE_FOREIGN' })
    await db.open()
    assert.equal(await db.get('their'), 'data')
    await db.close()
    await rm(path, { recursive: true })
  })

  it('warns of file systems that may forget a new file', async () => {
    const warnings: object[] = []
    const log = { debug() {}, info() {}, error() {}, warn: (fields: object) => warnings.push(fields) }
    await warnOfFileSystem('/data', log, 0xef53)
    assert.deepEqual(warnings, [])
    await warnOfFileSystem('/data', log, 0x6969)
    assert.deepEqual(warnings, [{ path: '/data', fs: '0x6969' }])
  })
})
