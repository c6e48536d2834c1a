import { expect, test } from 'vitest'
import { SharedRegistry } from '../../src/boot/shared.ts'

test('opens of the same time share one', async () => {
  const registry = new SharedRegistry()
  const opening = Promise.withResolvers<string>()
  let opened = 0
  let closed = 0
  const acquire = () =>
    registry.acquire(
      'a/x',
      null,
      () => {
        opened++
        return opening.promise
      },
      () => void closed++,
    )
  const shares = [acquire(), acquire()]
  opening.resolve('value')
  const [a, b] = await Promise.all(shares)
  expect([a?.value, b?.value, opened]).toEqual(['value', 'value', 1])
  await a?.release()
  await a?.release()
  expect(closed).toBe(0)
  await b?.release()
  expect(closed).toBe(1)
})

test('an open that fails fails for all who wait, and the next one tries again', async () => {
  const registry = new SharedRegistry()
  let tries = 0
  const acquire = () =>
    registry.acquire(
      'a/x',
      null,
      async () => {
        if (tries++ === 0) throw new Error('locked')
        return 1
      },
      () => {},
    )
  expect(await Promise.allSettled([acquire(), acquire()])).toMatchObject([
    { status: 'rejected' },
    { status: 'rejected' },
  ])
  expect(registry.keys).toEqual([])
  expect((await acquire()).value).toBe(1)
})

test('opened again while it closes: one after the other', async () => {
  const registry = new SharedRegistry()
  const events: string[] = []
  const closing = Promise.withResolvers<void>()
  const acquire = (config: string) =>
    registry.acquire(
      'a/x',
      config,
      () => void events.push(`open ${config}`),
      async () => {
        events.push(`closing ${config}`)
        await closing.promise
        events.push(`closed ${config}`)
      },
    )
  const first = await acquire('one')
  const released = first.release()
  const second = acquire('two')
  closing.resolve()
  await released
  await second
  expect(events).toEqual(['open one', 'closing one', 'closed one', 'open two'])
})

test('a close that fails is told to the last, and the key is free', async () => {
  const registry = new SharedRegistry()
  const close = () => {
    throw new Error('stuck')
  }
  const share = await registry.acquire('a/x', null, () => 1, close)
  await expect(share.release()).rejects.toThrow('stuck')
  expect(registry.keys).toEqual([])
})
