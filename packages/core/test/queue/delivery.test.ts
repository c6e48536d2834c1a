import { MemoryStorage } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import { Agent, busy, day, delivered, gone, hour, minute, office, queueKeys, textOf } from './post-office.ts'

const keysOf = (storage: unknown) => queueKeys(storage as MemoryStorage)

describe('the way of a message through the queue', () => {
  it('delivers what was committed, and leaves nothing behind', async () => {
    const { queue, agent, mail, clock, storage } = await office()
    await mail({ to: ['bob@dest.test', 'carol@dest.test'] })
    await clock.settle()
    expect(agent.sent).toHaveLength(1)
    expect(agent.sent[0]?.to.map(t => t.address.raw)).toEqual(['bob@dest.test', 'carol@dest.test'])
    expect(await textOf(agent.sent[0]?.message)).toBe(
      'Received: here\r\nSubject: hello\r\nFrom: alice@example.test\r\n\r\nHello, Bob.\r\n',
    )
    expect(keysOf(storage)).toEqual([])
    expect(queue.tally.messages).toBe(0)
    expect(queue.tally.done.delivered).toBe(2)
  })

  it('sends each lane its own recipients', async () => {
    const { agent, mail, clock, storage } = await office()
    await mail({ to: ['a@one.test', 'b@two.test', 'c@one.test'] })
    await clock.settle()
    expect(agent.sent.map(s => [s.lane, s.to.map(t => t.address.raw)])).toEqual([
      ['one.test', ['a@one.test', 'c@one.test']],
      ['two.test', ['b@two.test']],
    ])
    expect(keysOf(storage)).toEqual([])
  })

  it('tries again on the schedule for five days, then tells the sender', async () => {
    const { agent, mail, clock, storage, reports } = await office()
    agent.answer = () => busy()
    const begin = clock.now()
    await mail()
    await clock.advance(6 * day)
    const minutes = agent.sent.map(s => Math.round((s.at - begin) / minute))
    expect(minutes.slice(0, 8)).toEqual([0, 5, 15, 35, 75, 155, 315, 555])
    expect(minutes.at(-1)).toBe(5 * 24 * 60)
    expect(reports.map(r => r.to)).toEqual(['alice@example.test', 'alice@example.test'])
    expect(reports[0]?.text).toMatch(/^Action: delayed/m)
    expect(reports[1]?.text).toMatch(/^Action: failed/m)
    expect(reports[1]?.text).toMatch(/^Status: 5\.4\.7/m)
    expect(keysOf(storage)).toEqual([])
  })

  it('keeps what others of the same message still wait for', async () => {
    const { agent, mail, clock, storage } = await office()
    agent.answer = to => (to.address.local === 'bob' && agent.sent.length === 1 ? busy() : delivered)
    await mail({ to: ['bob@dest.test', 'carol@dest.test'] })
    await clock.settle()
    expect(keysOf(storage).filter(key => key.startsWith('r/'))).toHaveLength(1)
    await clock.advance(10 * minute)
    expect(agent.sent.map(s => s.to.map(t => t.address.local))).toEqual([['bob', 'carol'], ['bob']])
    expect(keysOf(storage)).toEqual([])
  })

  it('reports failures of one message together', async () => {
    const { agent, mail, clock, reports, storage } = await office()
    agent.answer = to => (to.address.local === 'ok' ? delivered : gone())
    await mail({ to: ['a@one.test', 'b@two.test', 'ok@three.test', 'c@one.test'] })
    await clock.settle()
    expect(reports).toHaveLength(1)
    for (const address of ['a@one.test', 'b@two.test', 'c@one.test']) {
      expect(reports[0]?.text).toContain(`Final-Recipient: rfc822; ${address}`)
    }
    expect(reports[0]?.text).not.toContain('ok@three.test')
    expect(keysOf(storage)).toEqual([])
  })

  it('waits ten minutes at most for others before it reports', async () => {
    const { agent, mail, clock, reports, storage } = await office()
    agent.answer = to => (to.address.local === 'a' ? gone() : busy())
    await mail({ to: ['a@one.test', 'b@two.test'] })
    await clock.advance(9 * minute)
    expect(reports).toHaveLength(0)
    await clock.advance(2 * minute)
    expect(reports).toHaveLength(1)
    expect(keysOf(storage).filter(key => key.startsWith('r/'))).toHaveLength(1)
  })

  it('holds a bounce that cannot be delivered, and never bounces it', async () => {
    const { agent, mail, clock, reports, storage, logs } = await office()
    agent.answer = () => gone()
    await mail({ from: null })
    await clock.advance(hour)
    expect(reports).toEqual([])
    expect(keysOf(storage).some(key => key.startsWith('h/b/'))).toBe(true)
    expect(logs.some(l => l.text === 'delivery failed' && l.fields.held === 1)).toBe(true)
  })

  it('defers what an agent forgets, throws at, or never settles', async () => {
    const { agent, mail, clock } = await office()
    agent.answer = to => {
      if (to.address.local === 'forgotten') return 'nothing'
      if (to.address.local === 'thrown') throw new Error('boom')
      return () => new Promise(() => {})
    }
    const ids = [
      await mail({ to: ['forgotten@a.test'] }),
      await mail({ to: ['thrown@b.test'] }),
      await mail({ to: ['hung@c.test'] }),
    ]
    await clock.advance(19 * minute + 30_000)
    const tries = (local: string) => agent.sent.filter(s => s.to[0]?.address.local === local).length
    expect([tries('forgotten'), tries('thrown'), tries('hung')]).toEqual([3, 3, 1])
    // It gets an hour, and then its next try.
    await clock.advance(40 * minute)
    expect(tries('hung')).toBe(1)
    await clock.advance(7 * minute)
    expect(tries('hung')).toBe(2)
    expect(ids).toHaveLength(3)
  })

  it('keeps mail without a route waiting, with an alarm, and delivers it when a reload brings the route back', async () => {
    const { agent, mail, clock, reports, logs, reload, queue } = await office()
    reload({ agents: [] })
    for (let i = 0; i < 50; i++) await mail({ to: [`u${i}@dest.test`] })
    await clock.advance(day)
    expect(reports.filter(r => r.text.includes('Action: failed'))).toEqual([])
    expect(logs.some(l => l.level === 'error' && l.fields.lane === 'unrouted')).toBe(true)
    expect((await queue.operations.totals()).recipients.unrouted).toBe(50)
    reload({ agents: [{ plugin: 'test', agent }] })
    await clock.advance(1000)
    expect(agent.sent).toHaveLength(50)
  })

  it('asks for the route again at each attempt', async () => {
    const { agent, mail, clock } = await office()
    agent.answer = () => busy()
    await mail()
    await clock.settle()
    agent.lane = () => 'elsewhere.test'
    agent.answer = () => delivered
    await clock.advance(6 * minute)
    expect(agent.sent.map(s => s.lane)).toEqual(['dest.test', 'elsewhere.test'])
  })
})

describe('a restart', () => {
  it('finds everything again, and delivers it once', async () => {
    const storage = new MemoryStorage()
    const first = await office({ storage })
    first.agent.answer = () => busy()
    for (let i = 0; i < 20; i++) await first.mail({ to: [`u${i}@d${i % 3}.test`] })
    await first.clock.settle()
    await first.queue.stop()
    const second = await office({ storage, blobs: first.blobs, clock: first.clock, agent: new Agent(first.clock) })
    await first.clock.advance(10 * minute)
    expect(second.agent.sent).toHaveLength(20)
    expect(await textOf(second.agent.sent[0]?.message)).toContain('Hello, Bob.')
    expect(keysOf(storage)).toEqual([])
  })
})
