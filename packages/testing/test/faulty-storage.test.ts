import assert from 'node:assert/strict'
import type { Op } from '@posthorn/core'
import { faultyStorage } from '@posthorn/testing'
import { describe, it } from 'vitest'

const put = (key: string): Op => ({ type: 'put', key, value: Buffer.from(key) })

describe('a faulty storage', () => {
  it('keeps what was acknowledged as durable, over 500 power cuts', async () => {
    for (let seed = 0; seed < 500; seed++) {
      const store = faultyStorage({ seed })
      for (let i = 0; i < 20; i++) await store.write([put(`k${i}`)], { relaxed: i % 3 === 0 })
      const after = store.powerCut()
      for (let i = 0; i < 20; i++) if (i % 3 !== 0) assert.ok(await after.get(`k${i}`), `k${i} at seed ${seed}`)
    }
  })

  it('loses relaxed writes sometimes, older ones than those it keeps too', async () => {
    let lost = 0
    let outOfOrder = 0
    for (let seed = 0; seed < 200; seed++) {
      const store = faultyStorage({ seed })
      await store.write([put('a')], { relaxed: true })
      await store.write([put('b')])
      await store.write([put('c')], { relaxed: true })
      const after = store.powerCut()
      if ((await after.get('c')) === undefined) lost++
      if ((await after.get('a')) === undefined) outOfOrder++
    }
    assert.ok(lost > 50 && lost < 150, `${lost}`)
    assert.ok(outOfOrder > 2 && outOfOrder < 40, `${outOfOrder}`)
  })

  it('keeps all of a batch or nothing of it', async () => {
    for (let seed = 0; seed < 100; seed++) {
      const store = faultyStorage({ seed, cutAt: 2 })
      await store.write([put('a')])
      void store.write([put('b'), put('c')]).catch(() => {})
      await store.cut
      const after = store.powerCut()
      assert.equal((await after.get('b')) === undefined, (await after.get('c')) === undefined)
      assert.ok(await after.get('a'))
    }
  })

  it('comes to the same end with the same seed', async () => {
    const ends = []
    for (let run = 0; run < 2; run++) {
      const store = faultyStorage({ seed: 7 })
      for (let i = 0; i < 50; i++) await store.write([put(`k${i}`)], { relaxed: i % 2 === 0 })
      ends.push(store.powerCut().entries())
    }
    assert.deepEqual(ends[0], ends[1])
  })

  it('loses nothing to a killed process but what was on its way', async () => {
    const store = faultyStorage({ cutAt: 3 })
    await store.write([put('a')], { relaxed: true })
    await store.write([put('b')])
    const third = store.write([put('c')])
    await store.cut
    const after = store.kill()
    await assert.rejects(third, { kind: 'closed' })
    assert.ok((await after.get('a')) && (await after.get('b')))
  })

  it('rejects writes on demand, stored or not', async () => {
    const store = faultyStorage()
    store.fail('full')
    await assert.rejects(store.write([put('a')]), { name: 'StorageError', kind: 'full' })
    assert.equal(await store.get('a'), undefined)
    store.fail('failed', 1, true)
    await assert.rejects(store.write([put('b')]), { kind: 'failed' })
    assert.ok(await store.get('b'))
    assert.equal(await store.write([put('c')]), true)
  })
})
