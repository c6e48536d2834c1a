import { expect, test } from 'vitest'
import type { Json } from '../../src/json.ts'
import type { Setup } from '../../src/plugin.ts'
import { drain, loaded, plugin, server, wrong } from './build.ts'

/** A plugin that writes down its life. */
const life = (events: string[], name: string, more: (ctx: Setup<any>) => unknown = () => {}) =>
  plugin(name, async ctx => {
    events.push(`${name} up`)
    ctx.signal.addEventListener('abort', () => events.push(`${name} signal`))
    ctx.onDispose(() => void events.push(`${name} down`))
    await more(ctx)
    return { drain: () => void events.push(`${name} drain`) }
  })

test('a reload adds and removes plugins; new sessions see the new list, old ones keep theirs', async () => {
  const events: string[] = []
  const { generations, clock, logged } = server()
  const first = await generations.start(loaded(life(events, 'a'), life(events, 'b')))
  const release = first.hold()
  const second = await generations.reload(loaded(life(events, 'a'), life(events, 'c')))
  expect(generations.current).toBe(second)
  expect([first.number, second.number]).toEqual([1, 2])
  await clock.settle()
  expect(events).toEqual(['a up', 'b up', 'a up', 'c up', 'a drain', 'b drain'])
  release()
  release()
  await clock.settle()
  expect(events.slice(6)).toEqual(['a signal', 'b signal', 'b down', 'a down'])
  expect(logged.find(({ message }) => message === 'configuration was replaced')).toMatchObject({
    generation: 2,
    added: ['c'],
    removed: ['b'],
  })
})

test('a reload that fails leaves the old generation untouched, and its own nowhere', async () => {
  const events: string[] = []
  const { generations, clock } = server()
  const first = await generations.start(loaded(life(events, 'a')))
  const fails = life(events, 'b', () => {
    throw new Error('no')
  })
  await wrong(generations.reload(loaded(life(events, 'c'), fails)))
  await clock.advance(2 * drain)
  expect(generations.current).toBe(first)
  expect(first.retired.reason).toBeUndefined()
  expect(events).toEqual(['a up', 'c up', 'b up', 'c signal', 'b signal', 'b down', 'c down'])
})

test('what `activate` throws ends the reload too', async () => {
  const events: string[] = []
  let refuse = false
  const { generations } = server({
    activate(next, previous) {
      events.push(`activate ${next.number} after ${previous?.number}`)
      if (refuse) throw new Error('port 25 is taken')
    },
  })
  const first = await generations.start(loaded(life(events, 'a')))
  refuse = true
  await expect(generations.reload(loaded(life(events, 'b')))).rejects.toThrow('port 25 is taken')
  expect(generations.current).toBe(first)
  expect(events).toEqual([
    'a up',
    'activate 1 after undefined',
    'b up',
    'activate 2 after 1',
    'b drain',
    'b signal',
    'b down',
  ])
})

test('reloads wait for each other', async () => {
  const events: string[] = []
  const gate = Promise.withResolvers<void>()
  const { generations } = server()
  await generations.start(loaded())
  const slow = generations.reload(loaded(life(events, 'slow', () => gate.promise)))
  const quick = generations.reload(loaded(life(events, 'quick')))
  gate.resolve()
  expect((await slow).number).toBe(2)
  expect((await quick).number).toBe(3)
  expect(events.slice(0, 2)).toEqual(['slow up', 'quick up'])
})

test('after `drain` sessions are asked to end; after the grace it is closed under them, and logged', async () => {
  const events: string[] = []
  const { generations, clock, logged } = server({ grace: 60_000 })
  const first = await generations.start(loaded(life(events, 'a')))
  first.hold()
  await generations.reload(loaded())
  await clock.advance(drain - 1)
  expect(first.retired.reason).toBeUndefined()
  await clock.advance(1)
  expect(first.retired.reason).toBeDefined()
  expect(events).toEqual(['a up', 'a drain'])
  await clock.advance(60_000)
  expect(events.slice(2)).toEqual(['a signal', 'a down'])
  expect(logged.filter(({ level }) => level === 'error')).toMatchObject([{ generation: 1, holds: 1 }])
  expect(() => first.hold()).toThrow('configuration 1 has ended')
})

test('a message in flight after `drain` ends before its plugins do', async () => {
  const events: string[] = []
  const { generations, clock } = server()
  const first = await generations.start(loaded(life(events, 'a')))
  const release = first.hold()
  await generations.reload(loaded())
  await clock.advance(drain + 30_000)
  events.push('sent')
  release()
  await clock.settle()
  expect(events).toEqual(['a up', 'a drain', 'sent', 'a signal', 'a down'])
})

test('close drains, ends every generation, and refuses what comes later', async () => {
  const events: string[] = []
  const { generations, clock } = server()
  const first = await generations.start(loaded(life(events, 'a')))
  first.hold()
  const second = await generations.reload(loaded(life(events, 'b')))
  const release = second.hold()
  let closed = false
  const closing = generations.close(5_000, 1_000).then(() => {
    closed = true
  })
  await expect(generations.reload(loaded())).rejects.toThrow('shutting down')
  await clock.settle()
  expect(events).toEqual(['a up', 'b up', 'a drain', 'b drain'])
  release()
  await clock.advance(5_000)
  expect(events).toContain('b down')
  expect(first.retired.reason).toBeDefined()
  await clock.advance(1_000)
  await closing
  expect(closed).toBe(true)
  expect(events).toContain('a down')
  expect(await generations.close()).toBeUndefined()
})

test('close shortens the end of what is still telling its plugins to drain', async () => {
  const events: string[] = []
  const draining = Promise.withResolvers<void>()
  const { generations, clock } = server()
  const first = await generations.start(loaded(plugin('a', () => ({ drain: () => draining.promise }))))
  first.hold()
  await generations.reload(loaded(life(events, 'b')))
  const closing = generations.close(1_000, 0)
  await clock.settle()
  draining.resolve()
  await clock.settle()
  await clock.advance(1_000)
  await closing
  expect(first.retired.reason).toBeDefined()
  expect(events.at(-1)).toBe('b down')
})

const store = (events: string[], config: Json, name = 'store') =>
  plugin(name, async ctx => {
    const value = await ctx.shared(
      'db',
      config,
      async () => {
        events.push('open')
        return { config }
      },
      () => void events.push('close'),
    )
    events.push(`uses ${JSON.stringify(value)}`)
  })

test('what is shared survives reloads, and is closed by the last that lets go', async () => {
  const events: string[] = []
  const { generations, clock } = server()
  await generations.start(loaded(store(events, { path: '/a', sync: true })))
  await generations.reload(loaded(store(events, { sync: true, path: '/a' })))
  await clock.settle()
  expect(events).toEqual([
    'open',
    'uses {"config":{"path":"/a","sync":true}}',
    'uses {"config":{"path":"/a","sync":true}}',
  ])
  await generations.reload(loaded())
  await clock.settle()
  expect(events.at(-1)).toBe('close')
  expect(generations.shared.keys).toEqual([])
  await generations.reload(loaded(store(events, { path: '/b' })))
  expect(events.at(-1)).toBe('uses {"config":{"path":"/b"}}')
})

test('another configuration under a held key says: restart', async () => {
  const events: string[] = []
  const { generations } = server()
  await generations.start(loaded(store(events, { path: '/a' })))
  const attempt = generations.reload(loaded(store(events, { path: '/b' })))
  await expect(attempt).rejects.toMatchObject({ errors: [{ code: 'POSTHORN_RELOAD_RESTART' }] })
  expect(await wrong(generations.reload(loaded(store(events, { path: '/b' }))))).toEqual([
    'plugins[0]: plugin store could not be set up: "store/db" is open with another configuration | Restart Posthorn to change it; a reload keeps what is open.',
  ])
  expect(events).toHaveLength(2)
})

test('instances do not share with each other', async () => {
  const events: string[] = []
  const { generations } = server()
  await generations.start(loaded(store(events, 1), { plugin: store(events, 2), as: 'store-2' }))
  expect(generations.shared.keys).toEqual(['store/db', 'store-2/db'])
})

test('a thousand sessions over a hundred reloads: each generation ends once, the last lives', async () => {
  const up: number[] = []
  const down: number[] = []
  let n = 0
  const counted = () =>
    plugin('counted', ctx => {
      const id = n++
      up.push(id)
      ctx.onDispose(() => void down.push(id))
    })
  const { generations, clock } = server()
  await generations.start(loaded(counted()))
  const held: (() => void)[] = []
  for (let i = 0; i < 100; i++) {
    for (let j = 0; j < 10; j++) held.push(generations.current.hold())
    await generations.reload(loaded(counted()))
    if (i % 2 === 0) for (const release of held.splice(0)) release()
  }
  for (const release of held) release()
  await clock.settle()
  expect(up).toHaveLength(101)
  expect(down.toSorted((a, b) => a - b)).toEqual(up.slice(0, 100))
})
