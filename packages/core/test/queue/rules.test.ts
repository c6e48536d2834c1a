// What a rule makes of queued mail: held, dropped or refused before anybody is dialled.
import type { MemoryStorage } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import type { DeliveryAgent, Outcome } from '../../src/delivery.ts'
import { reject } from '../../src/verdict.ts'
import { type Agent, day, delivered, hour, minute, type Office, office, queueKeys } from './post-office.ts'

type Answer = Awaited<ReturnType<DeliveryAgent['route']>>

/** An office whose `route` answers as `rule` says, and goes to the domain where it says nothing. */
async function withRule(rule: (address: string) => Answer | 'as usual'): Promise<Office & { rule: typeof rule }> {
  const made = await office()
  const usual = made.agent.route.bind(made.agent)
  const with_ = Object.assign(made, { rule })
  Object.assign(made.agent, {
    route(to: Parameters<Agent['route']>[0]) {
      const said = with_.rule(`${to.address.local}@${to.address.domain}`)
      return said === 'as usual' ? usual(to) : said
    },
  })
  return with_
}

const held = async ({ queue }: Office) => (await queue.operations.list({ state: 'held' })).messages

describe('hold', () => {
  it('keeps it for good, past every expiry, and nobody is told or dialled', async () => {
    const o = await withRule(() => ({ kind: 'hold', reason: 'moving house' }))
    const id = await o.mail({ to: ['a@one.test'] })
    await o.clock.advance(60 * day)
    expect(await held(o)).toMatchObject([{ id, reason: 'moving house' }])
    expect(o.agent.sent).toEqual([])
    expect(o.reports).toEqual([])
    expect(o.traces.get(id)).toMatchObject([
      { stage: 'deliver', plugin: 'test', verdict: 'held hold', reason: 'moving house' },
    ])
    expect(o.logs.filter(({ text }) => text === 'held by a rule')).toHaveLength(1)
  })

  it('released while the rule stands it is held again; without the rule it goes', async () => {
    const o = await withRule(() => ({ kind: 'hold', reason: 'moving house' }))
    const id = await o.mail({ to: ['a@one.test'] })
    await o.clock.settle()
    await o.queue.operations.apply({ kind: 'release' }, id)
    await o.clock.settle()
    expect(await held(o)).toHaveLength(1)
    o.rule = () => 'as usual'
    await o.queue.operations.apply({ kind: 'release' }, id)
    await o.clock.settle()
    expect(o.agent.sent).toHaveLength(1)
    expect(queueKeys(o.storage as MemoryStorage)).toEqual([])
  })

  it('one of several recipients; the others go, and a crash forgets none', async () => {
    const o = await withRule(address =>
      address.startsWith('h') ? { kind: 'hold', reason: `for ${address}` } : 'as usual',
    )
    const id = await o.mail({ to: ['a@one.test', 'h1@one.test', 'h2@one.test', 'b@two.test'] })
    await o.clock.settle()
    expect(o.agent.sent.flatMap(({ to }) => to.map(({ address }) => address.local)).sort()).toEqual(['a', 'b'])
    expect(o.queue.tally.recipients).toMatchObject({ held: 2, due: 0, deferred: 0 })
    // Another process on the same store.
    const again = await office({ storage: o.storage, blobs: o.blobs })
    expect((await held(again)).map(m => m.id)).toEqual([id])
  })
})

it('discard drops it: log and trace know, the sender does not, even if he asked', async () => {
  const o = await withRule(() => ({ kind: 'discard', reason: 'robots' }))
  const notify = ['success', 'failure'] as const
  const id = await o.mail({ to: ['a@one.test'], target: () => ({ notify }) })
  await o.clock.advance(day)
  expect(queueKeys(o.storage as MemoryStorage)).toEqual([])
  expect([o.agent.sent, o.reports]).toEqual([[], []])
  expect(o.traces.get(id)).toMatchObject([{ verdict: 'dropped discard', reason: 'robots' }])
  expect(o.queue.tally.done).toMatchObject({ dropped: 1, failed: 0 })
})

it('reject returns it', async () => {
  const o = await withRule(() => reject(550, '5.1.6', 'She has moved'))
  const id = await o.mail({ to: ['a@one.test'] })
  await o.clock.advance(day)
  expect(o.agent.sent).toEqual([])
  expect(o.reports).toHaveLength(1)
  expect(o.reports[0]?.text).toMatch(/Status: 5\.1\.6/)
  expect(o.traces.get(id)?.[0]).toMatchObject({ plugin: 'test', verdict: expect.stringContaining('550 5.1.6') })
})

it.each<Outcome>([
  { kind: 'hold', reason: 'odd' },
  { kind: 'discard', reason: 'odd' },
])('an agent may say so of what it was given to send: $kind', async said => {
  const o = await office()
  o.agent.answer = to => (to.address.local === 'x' ? said : delivered)
  await o.mail({ to: ['a@one.test', 'x@one.test'] })
  await o.clock.settle()
  expect((await held(o)).length).toBe(said.kind === 'hold' ? 1 : 0)
  expect(o.queue.tally.done).toMatchObject({ delivered: 1, [said.kind === 'hold' ? 'held' : 'dropped']: 1 })
  expect(o.reports).toEqual([])
})

it('a rule without a reason is nonsense: the mail waits', async () => {
  const o = await withRule(() => ({ kind: 'discard' }) as never)
  const id = await o.mail({ to: ['a@one.test'] })
  await o.clock.settle()
  expect((await o.queue.operations.show(id)).recipients?.[0]?.state ?? 'kept').not.toBe('gone')
  expect(o.traces.get(id)?.[0]).toMatchObject({ verdict: expect.stringContaining('defer 451 4.3.0') })
})

it('a reload looks once at all that has no route, however much it is, and counts no attempt where it finds none', async () => {
  const o = await office({ config: { retry: [hour] } })
  const entries = [{ plugin: 'test', agent: o.agent }]
  o.reload({ agents: [] })
  const ids: string[] = []
  for (let i = 0; i < 1000; i++) ids.push(await o.mail({ to: ['a@one.test'] }))
  await o.clock.advance(minute)
  expect(o.queue.tally.done.deferred).toBe(1000)
  const idle = async () => {
    for (let i = 0; i < 100; i++) await o.clock.settle()
  }
  o.reload({ agents: [] })
  await idle()
  expect(o.queue.tally.done.deferred).toBe(1000)
  o.reload({ agents: entries })
  await idle()
  expect(new Set(o.agent.sent.map(({ message }) => message.id))).toEqual(new Set(ids))
  expect(o.agent.sent).toHaveLength(1000)
  expect(queueKeys(o.storage as MemoryStorage)).toEqual([])
})
