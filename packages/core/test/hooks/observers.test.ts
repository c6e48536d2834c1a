import { expect, test } from 'vitest'
import type { HookEntry, Plan } from '../../src/hooks/contract.ts'
import { Observers } from '../../src/hooks/observers.ts'
import { hookRuntime } from '../../src/hooks/run.ts'
import { hook, pending, stage, waves } from './stage.ts'

function observed(...entries: HookEntry[]) {
  const { scene, clock, logged } = stage()
  const line = (_fields: object, message = '') => void logged.push(message)
  const log = { debug: line, info: line, warn: line, error: line }
  const observers = new Observers(hookRuntime(clock), log)
  let holds = 0
  const generation = {
    plan: { stages: { closed: waves(entries) } } as unknown as Plan,
    hold() {
      holds++
      return () => {
        holds--
      }
    },
  }
  return { observers, logged, clock, tell: () => observers.tell(generation, 'closed', scene), holds: () => holds }
}

test('synchronous observers are told at once', () => {
  const heard: string[] = []
  const { tell, holds } = observed(hook('metrics', () => void heard.push('closed'), { stage: 'closed' }))
  tell()
  tell()
  expect(heard).toEqual(['closed', 'closed'])
  expect(holds()).toBe(0)
})

test('a slow one hears all in order, one at a time, delays nobody, and holds its generation', async () => {
  const heard: string[] = []
  const waits = [pending<void>(), pending<void>(), pending<void>()]
  let calls = 0
  const slow = hook(
    'webhook',
    async () => {
      const n = calls++
      heard.push(`begin ${n}`)
      await waits[n]?.promise
      heard.push(`end ${n}`)
    },
    { stage: 'closed' },
  )
  const { observers, tell, holds } = observed(
    slow,
    hook('metrics', () => void heard.push('metrics'), { stage: 'closed' }),
  )
  for (let i = 0; i < 3; i++) tell()
  expect(heard).toEqual(['begin 0', 'metrics', 'metrics', 'metrics'])
  expect(holds()).toBe(3)
  const idle = observers.idle()
  for (const { resolve } of waits) resolve()
  await idle
  expect(heard.slice(4)).toEqual(['end 0', 'begin 1', 'end 1', 'begin 2', 'end 2'])
  expect(holds()).toBe(0)
})

test('one that throws, rejects or hangs is logged and goes on hearing', async () => {
  let calls = 0
  const bad = hook(
    'bad',
    () => {
      calls++
      if (calls === 1) throw new Error('thrown')
      return calls === 2 ? Promise.reject(new Error('rejected')) : new Promise(() => {})
    },
    { stage: 'closed', timeout: 100 },
  )
  const { observers, tell, logged, clock, holds } = observed(bad)
  for (let i = 0; i < 4; i++) tell()
  await clock.advance(1000)
  await observers.idle()
  expect(calls).toBe(4)
  expect(holds()).toBe(0)
  expect(logged).toHaveLength(4)
})

test('the queue of a stuck one is bounded: the oldest go, counted and logged', async () => {
  let calls = 0
  const stuck = pending<void>()
  const { observers, tell, logged, holds } = observed(
    hook('webhook', () => (calls++ === 0 ? stuck.promise : undefined), { stage: 'closed' }),
  )
  for (let i = 0; i < 12_001; i++) tell()
  expect(observers.dropped.get('webhook')).toBe(2000)
  expect(holds()).toBe(10_001)
  expect(logged).toHaveLength(2)
  stuck.resolve()
  await observers.idle()
  expect(calls).toBe(10_001)
  expect(holds()).toBe(0)
})
