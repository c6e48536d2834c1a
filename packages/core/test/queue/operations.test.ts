import { fakeClock, type MemoryStorage, memoryStorage } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import type { QueueProgress } from '../../src/control/contract.ts'
import { Agent, busy, day, delivered, hour, minute, office, queueKeys } from './post-office.ts'

async function withQueue() {
  const one = await office()
  one.agent.answer = () => busy()
  const ids = [
    await one.mail({ to: ['a@one.test'], from: 'x@origin.test' }),
    await one.mail({ to: ['b@one.test', 'c@two.test'], from: 'y@origin.test' }),
    await one.mail({ to: ['d@two.test'], from: 'y@elsewhere.test' }),
    await one.mail({ to: ['e@one.test'], from: null, hold: 'a filter was not sure' }),
  ]
  await one.clock.settle()
  return { ...one, ids, ops: one.queue.operations }
}

describe('queue list', () => {
  it('shows what waits, where, and why; with totals', async () => {
    const { ops, ids, clock } = await withQueue()
    const { messages, totals, more } = await ops.list()
    expect(messages.map(m => m.id)).toEqual([...ids].sort())
    expect(more).toBe(false)
    expect(messages.find(m => m.id === ids[0])).toMatchObject({
      from: 'x@origin.test',
      lane: 'test/one.test',
      state: 'deferred',
      reason: 'defer 451 4.7.1 try again later',
      next: clock.now() + 5 * minute,
      recipients: 1,
    })
    expect(messages.find(m => m.id === ids[1])?.recipients).toBe(2)
    expect(messages.find(m => m.id === ids[3])).toMatchObject({
      state: 'held',
      reason: 'a filter was not sure',
      from: '',
    })
    expect(totals).toMatchObject({ messages: 4, recipients: { due: 0, deferred: 4, held: 1, unrouted: 0 } })
    expect(totals.oldest).toBe(clock.now())
  })

  it('filters by lane, age, sender, recipient and state, and stops at its limit', async () => {
    const { ops, ids, clock } = await withQueue()
    const found = async (filter: Parameters<typeof ops.list>[0]) =>
      (await ops.list(filter)).messages.map(m => ids.indexOf(m.id)).sort()
    expect(await found({ lane: 'test/one.test' })).toEqual([0, 1])
    expect(await found({ lane: 'test/one.test', state: 'held' })).toEqual([3])
    expect(await found({ sender: '@origin.test' })).toEqual([0, 1])
    expect(await found({ sender: 'Y@Origin.Test' })).toEqual([1])
    expect(await found({ sender: '<>' })).toEqual([3])
    expect(await found({ recipient: 'two.test' })).toEqual([1, 2])
    expect(await found({ state: 'deferred' })).toEqual([0, 1, 2])
    expect(await found({ olderThan: minute })).toEqual([])
    expect(await found({ limit: 2 })).toHaveLength(2)
    expect((await ops.list({ limit: 2 })).more).toBe(true)
    await clock.advance(2 * minute)
    expect(await found({ olderThan: minute })).toEqual([0, 1, 2, 3])
  })
})

describe('queue show', () => {
  it('tells all that is known of a message, each attempt with it', async () => {
    const { ops, ids, clock } = await withQueue()
    await clock.advance(6 * minute)
    const shown = await ops.show(ids[1] ?? '')
    expect(shown).toMatchObject({ id: ids[1], from: 'y@origin.test', client: 'client.test [192.0.2.1]' })
    expect(shown.header).toContain('Subject: hello')
    expect(shown.recipients.map(r => r.address).sort()).toEqual(['b@one.test', 'c@two.test'])
    expect(shown.recipients[0]?.attempts).toHaveLength(2)
    expect(shown.recipients[0]?.expires).toBe(shown.received + 5 * day)
  })

  it('says what to do where there is none', async () => {
    const { ops } = await withQueue()
    await expect(ops.show('NOSUCHID')).rejects.toMatchObject({ code: 'POSTHORN_QUEUE_UNKNOWN' })
  })
})

describe('an operator', () => {
  it('retries one now, or all that match', async () => {
    const { ops, ids, agent, clock } = await withQueue()
    agent.answer = () => delivered
    agent.sent.length = 0
    expect(await ops.apply({ kind: 'retry' }, ids[0] ?? '')).toEqual({ messages: 1, recipients: 1 })
    await clock.settle()
    expect(agent.sent.map(s => s.message.id)).toEqual([ids[0]])
    expect(await ops.applyAll({ kind: 'retry' }, { recipient: 'two.test' })).toEqual({ messages: 2, recipients: 2 })
    await clock.settle()
    expect(agent.sent).toHaveLength(3)
  })

  it('holds, and releases; the time in hold does not count', async () => {
    const { ops, ids, agent, clock, reports } = await withQueue()
    const [id = ''] = ids
    await ops.apply({ kind: 'hold', reason: 'asked to wait' }, id)
    agent.sent.length = 0
    await clock.advance(10 * day)
    expect(agent.sent.filter(s => s.message.id === id)).toEqual([])
    expect((await ops.list({ state: 'held' })).messages.find(m => m.id === id)?.reason).toBe('asked to wait')
    await ops.apply({ kind: 'release' }, id)
    await clock.advance(minute)
    expect(agent.sent.filter(s => s.message.id === id)).toHaveLength(1)
    await clock.advance(4 * day)
    expect(reports.filter(r => r.id.startsWith(`dsn.${id}.`) && r.text.includes('Action: failed'))).toEqual([])
    await clock.advance(2 * day)
    expect(reports.filter(r => r.id.startsWith(`dsn.${id}.`) && r.text.includes('Action: failed'))).toHaveLength(1)
  })

  it('bounces: the sender is told in the words given', async () => {
    const { ops, ids, clock, reports, traces, storage } = await withQueue()
    await ops.apply({ kind: 'bounce', reason: 'we do not carry this' }, ids[1] ?? '')
    await clock.advance(11 * minute)
    expect(reports).toHaveLength(1)
    expect(reports[0]?.text).toContain('we do not carry this')
    expect(reports[0]?.text).toContain('b@one.test')
    expect(reports[0]?.text).toContain('c@two.test')
    expect(traces.get(ids[1] ?? '')?.some(t => t.stage === 'operator' && t.verdict === 'bounce')).toBe(true)
    expect(queueKeys(storage as MemoryStorage).some(key => key.includes(ids[1] ?? ''))).toBe(false)
  })

  it('deletes: nothing is left, nobody is told', async () => {
    const { ops, storage, clock, reports, queue } = await withQueue()
    expect(await ops.applyAll({ kind: 'delete' }, {})).toEqual({ messages: 4, recipients: 5 })
    await clock.advance(day)
    expect(queueKeys(storage as MemoryStorage)).toEqual([])
    expect(reports).toEqual([])
    expect(queue.tally).toMatchObject({ messages: 0, recipients: { due: 0, deferred: 0, held: 0, report: 0 } })
  })

  it('hears once a second how far a long one is, the whole at its end', async () => {
    const clock = fakeClock()
    let elapsed = 0
    // Each look at the clock takes a third of a second while the operation runs.
    const slow = { ...clock, monotonic: () => (elapsed += elapsed === 0 ? 0 : 333) }
    const { agent, mail, queue } = await office({ clock: slow })
    agent.answer = () => busy()
    for (let i = 0; i < 10; i++) {
      const to = Array.from({ length: 64 }, (_, j) => `u${i}@d${i}-${j}.test`)
      await mail({ from: `a@${i % 2 === 0 ? 'x' : 'y'}.test`, to })
    }
    // What was there at boot is counted by now.
    await clock.advance(minute)
    elapsed = 1
    const told: QueueProgress[] = []
    const done = await queue.operations.applyAll({ kind: 'hold' }, { sender: 'x.test' }, at => told.push(at))
    expect(done).toEqual({ messages: 5, recipients: 320 })
    expect(told.length).toBeGreaterThan(2)
    expect(told.length).toBeLessThan(10)
    for (const [i, { recipients, seen, of }] of told.entries()) {
      expect(of).toBe(640)
      expect(seen).toBeGreaterThan(told[i - 1]?.seen ?? 0)
      expect(recipients).toBeGreaterThanOrEqual(told[i - 1]?.recipients ?? 0)
      expect(recipients).toBeLessThanOrEqual(Math.min(seen, 320))
    }
  })

  it('reroutes: pinned to a plugin, whatever the route says, until it is taken back', async () => {
    const { ops, ids, agent, clock, reload } = await withQueue()
    const backup = new Agent(clock)
    backup.answer = () => busy()
    reload({
      agents: [
        { plugin: 'test', agent },
        { plugin: 'backup', agent: backup },
      ],
    })
    agent.sent.length = 0
    await ops.apply({ kind: 'reroute', to: { plugin: 'backup' } }, ids[0] ?? '')
    await clock.settle()
    expect(backup.sent.map(s => s.message.id)).toEqual([ids[0]])
    await ops.apply({ kind: 'reroute', to: { plugin: 'backup', lane: 'dark', data: { host: 'x' } } }, ids[0] ?? '')
    await clock.settle()
    expect(backup.sent.at(-1)?.lane).toBe('dark')
    await ops.apply({ kind: 'reroute' }, ids[0] ?? '')
    await clock.settle()
    expect(agent.sent.map(s => s.message.id)).toEqual([ids[0]])
  })

  it('waits for a delivery under way, and does not undo it', async () => {
    const { mail, agent, clock, queue, storage } = await office()
    let finish = () => {}
    agent.answer = () => () =>
      new Promise(resolve => {
        finish = () => resolve(delivered)
      })
    const id = await mail()
    await clock.settle()
    expect((await queue.operations.list()).messages[0]?.state).toBe('sending')
    const holding = queue.operations.apply({ kind: 'hold' }, id)
    await clock.settle()
    finish()
    expect(await holding).toEqual({ messages: 0, recipients: 0 })
    expect(queueKeys(storage as MemoryStorage)).toEqual([])
  })
})

describe('a damaged store', () => {
  it('gets back index keys that are missing, and tells of messages that are', async () => {
    const storage = memoryStorage()
    const first = await office({ storage })
    first.agent.answer = () => busy()
    const kept = await first.mail({ to: ['kept@one.test'] })
    const lost = await first.mail({ to: ['lost@two.test'] })
    const done = await first.mail({ to: ['done@three.test'] })
    await first.clock.settle()
    await first.queue.stop()
    const key = (prefix: string, id: string) =>
      storage.entries().find(([k]) => k.startsWith(prefix) && k.includes(id))?.[0] ?? ''
    await storage.write([
      { type: 'del', key: key('d/', kept) },
      { type: 'del', key: key('m/', lost) },
      { type: 'del', key: key('d/', done) },
      { type: 'del', key: key('r/', done) },
    ])
    const { queueCheck } = await import('../../src/queue/check.ts')
    const findings: string[] = []
    for await (const f of queueCheck.check(storage)) findings.push(`${f.severity} ${f.at.slice(0, 2)}`)
    expect(findings.sort()).toEqual(['damaged r/', 'lost r/', 'waste m/'])

    const { clock, blobs } = first
    const second = await office({ storage, clock, blobs, agent: new Agent(clock) })
    await clock.advance(hour)
    expect(second.agent.sent.map(s => s.message.id)).toEqual([kept])
    const errors = second.logs.filter(l => l.level === 'error')
    expect(errors.some(l => l.fields.id === lost)).toBe(true)
    expect((await second.queue.operations.list({ state: 'held' })).messages.map(m => m.id)).toEqual([lost])
    expect(key('m/', done)).toBe('')
    expect(second.queue.tally.complete).toBe(true)
  })

  it('with a record that cannot be read goes on with the rest', async () => {
    const storage = memoryStorage()
    const first = await office({ storage })
    first.agent.answer = () => busy()
    const bad = await first.mail({ to: ['bad@one.test'] })
    const good = await first.mail({ to: ['good@one.test'] })
    await first.clock.settle()
    await first.queue.stop()
    const [key = ''] = storage.entries().find(([k]) => k.startsWith(`r/${bad}`)) ?? []
    await storage.write([{ type: 'put', key, value: Buffer.from('\u0001{"nonsense"') }])
    const { clock, blobs } = first
    const second = await office({ storage, clock, blobs, agent: new Agent(clock) })
    await clock.advance(day)
    expect(second.agent.sent.map(s => s.message.id)).toEqual([good])
    expect(second.logs.some(l => l.level === 'error' && l.fields.key === key)).toBe(true)
    expect(storage.entries().some(([k]) => k === key)).toBe(true)
  })

  it('whose body is missing holds the mail for a person', async () => {
    const { agent, mail, clock, queue, storage } = await office()
    agent.answer = () => busy()
    const id = await mail()
    await clock.settle()
    const [key = ''] = (storage as MemoryStorage).entries().find(([k]) => k.startsWith('B/')) ?? []
    await storage.write([{ type: 'del', key }])
    await clock.advance(10 * minute)
    expect((await queue.operations.list({ state: 'held' })).messages).toMatchObject([{ id, state: 'held' }])
  })
})
