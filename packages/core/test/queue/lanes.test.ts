import { faultyStorage, memoryBlobs, memoryStorage } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import type { DeliveryAgent } from '../../src/delivery.ts'
import { Discovery } from '../../src/queue/discovery.ts'
import { Lanes } from '../../src/queue/lanes.ts'
import { Agent, accepted, busy, day, delivered, hour, minute, office } from './post-office.ts'

/** An agent whose deliveries end when told. */
function slow(agent: Agent) {
  const open: (() => void)[] = []
  agent.answer = () => () =>
    new Promise(resolve => {
      open.push(() => resolve(delivered))
    })
  return {
    open,
    finish(n = Infinity) {
      for (const end of open.splice(0, n)) end()
    },
  }
}

/** A queue that finds messages in so many lanes when it starts, with an agent as by {@link slow}. */
async function restarted(messages: number, lanes: number) {
  const storage = memoryStorage()
  const { mail, blobs, clock } = await office({ storage, start: false })
  for (let i = 0; i < messages; i++) await mail({ to: [`u@d${i % lanes}.test`] })
  const agent = new Agent(clock)
  return { gate: slow(agent), ...(await office({ storage, blobs, clock, agent })) }
}

describe('lanes', () => {
  it('are served in turn: a lane with a thousand messages does not keep another waiting', async () => {
    const { agent, mail, clock } = await office({ sends: 4 })
    const gate = slow(agent)
    for (let i = 0; i < 100; i++) await mail({ to: [`u${i}@full.test`] })
    await mail({ to: ['one@other.test'] })
    for (let i = 0; i < 3; i++) {
      gate.finish(4)
      await clock.settle()
    }
    expect(agent.sent.findIndex(s => s.lane === 'other.test')).toBeLessThan(10)
  })

  it('start slowly, and open up with each success to what the agent allows', async () => {
    const { agent, mail, clock } = await office()
    agent.limits = () => ({ concurrency: 8 })
    const gate = slow(agent)
    for (let i = 0; i < 60; i++) await mail({ to: [`u${i}@dest.test`] })
    await clock.settle()
    expect(gate.open).toHaveLength(5)
    gate.finish(2)
    await clock.settle()
    expect(gate.open).toHaveLength(7)
    gate.finish()
    await clock.settle()
    gate.finish()
    await clock.settle()
    expect(gate.open).toHaveLength(8)
  })

  it('do no more a minute than the agent allows', async () => {
    const { agent, mail, clock } = await office()
    agent.limits = () => ({ perMinute: 60 })
    for (let i = 0; i < 100; i++) await mail({ to: [`u${i}@dest.test`] })
    await clock.advance(30_000)
    expect(agent.sent.length).toBeGreaterThanOrEqual(38)
    expect(agent.sent.length).toBeLessThanOrEqual(42)
  })

  it('back off when the destination fails, probe with one delivery, and recover', async () => {
    const { agent, mail, clock, queue } = await office()
    agent.answer = () => busy('lane')
    for (let i = 0; i < 50; i++) await mail({ to: [`u${i}@dead.test`] })
    await clock.settle()
    const first = agent.sent.length
    expect(first).toBeLessThanOrEqual(5)
    expect(queue.operations.lanes()[0]).toMatchObject({ state: 'backing off', reason: 'try again later', slots: 1 })
    await clock.advance(31_000)
    expect(agent.sent.length).toBe(first + 1)
    await clock.advance(58_000)
    expect(agent.sent.length).toBe(first + 1)
    agent.answer = () => delivered
    await clock.advance(10 * minute)
    expect(agent.sent.length).toBe(first + 1 + 50)
    expect(queue.tally.messages).toBe(0)
  })

  it('that stay dead still let mail grow old: delay report, then failure', async () => {
    const { agent, mail, clock, reports, queue } = await office()
    agent.answer = () => busy('lane')
    for (let i = 0; i < 40; i++) await mail({ to: [`u${i}@dead.test`] })
    await clock.advance(5 * hour)
    expect(reports.filter(r => r.text.includes('Action: delayed'))).toHaveLength(40)
    await clock.advance(5 * day)
    expect(reports.filter(r => r.text.includes('Action: failed'))).toHaveLength(40)
    expect(queue.tally.messages).toBe(0)
    // A dead host is not hammered: forty messages over five days, one probe at a time.
    expect(agent.sent.length).toBeLessThan(600)
  })

  it('do not learn from a recipient that fails: greylisting one is no reason to leave all alone', async () => {
    const { agent, mail, clock } = await office()
    agent.answer = to => (to.address.local === 'u0' ? busy() : delivered)
    for (let i = 0; i < 30; i++) await mail({ to: [`u${i}@dest.test`] })
    await clock.advance(100)
    expect(agent.sent).toHaveLength(30)
  })

  it('stand still when paused, over a restart, and go on when resumed', async () => {
    const storage = memoryStorage()
    const first = await office({ storage })
    await first.queue.operations.pauseLane('test/dest.test', 'they asked us to')
    await first.mail()
    await first.clock.advance(hour)
    expect(first.agent.sent).toHaveLength(0)
    await first.queue.stop()
    const { clock, blobs } = first
    const second = await office({ storage, clock, blobs, agent: new Agent(clock) })
    await clock.advance(hour)
    expect(second.agent.sent).toHaveLength(0)
    expect(second.queue.operations.lanes()[0]).toMatchObject({ state: 'paused', reason: 'they asked us to' })
    await second.queue.operations.resumeLane('test/dest.test')
    await clock.settle()
    expect(second.agent.sent).toHaveLength(1)
  })

  it('keep RFC 6710 priorities: what is urgent goes first', async () => {
    const { agent, mail, clock, queue } = await office()
    await queue.operations.pauseLane('test/dest.test', 'to line them up')
    for (const [priority, local] of [
      ['-4', 'low'],
      ['0', 'normal'],
      ['4', 'high'],
    ] as const) {
      await mail({ to: [`${local}@dest.test`], params: { other: { 'MT-PRIORITY': priority } } })
    }
    agent.limits = () => ({ concurrency: 1 })
    await queue.operations.resumeLane('test/dest.test')
    await clock.settle()
    expect(agent.sent.map(s => s.to[0]?.address.local)).toEqual(['high', 'normal', 'low'])
  })
})

describe('inside a lane', () => {
  it('senders take turns: a letter passes a newsletter', async () => {
    const { agent, mail, clock } = await office()
    agent.limits = () => ({ concurrency: 1, maxRecipients: 100 })
    const list = Array.from({ length: 2000 }, (_, i) => `u${i}@dest.test`)
    await mail({ to: list, from: 'news@origin.test' })
    await mail({ to: ['friend@dest.test'], from: 'alice@origin.test' })
    for (let i = 0; i < 20; i++) await clock.advance(100)
    const at = agent.sent.findIndex(s => s.to[0]?.address.local === 'friend')
    expect(at).toBeGreaterThanOrEqual(0)
    expect(at).toBeLessThan(4)
    expect(agent.sent.flatMap(s => s.to)).toHaveLength(2001)
    expect(Math.max(...agent.sent.map(s => s.to.length))).toBe(100)
  })

  it('what was too many for one transaction goes at once in the next', async () => {
    const { agent, mail, clock } = await office()
    agent.answer = to =>
      agent.sent.length === 1 && to.address.local !== 'u0' ? busy('recipient', { retryAfter: 0 }) : delivered
    await mail({ to: ['u0@dest.test', 'u1@dest.test', 'u2@dest.test'] })
    await clock.advance(1000)
    expect(agent.sent.map(s => s.to.length)).toEqual([3, 2])
  })

  it('a retry that the peer asked for is kept', async () => {
    const { agent, mail, clock } = await office()
    agent.answer = () => (agent.sent.length === 1 ? busy('recipient', { retryAfter: 90_000 }) : delivered)
    await mail()
    await clock.advance(89_000)
    expect(agent.sent).toHaveLength(1)
    await clock.advance(2000)
    expect(agent.sent).toHaveLength(2)
  })
})

describe('keys that lanes share', () => {
  it('hold deliveries of many lanes to one limit', async () => {
    const { agent, mail, clock, queue } = await office({ config: { concurrency: 3 } })
    let now = 0
    let most = 0
    const provider: DeliveryAgent = {
      route: to => ({ lane: to.address.domain, data: null }),
      async send(_message, to, _route, call) {
        using _slot = await call.throttle('mx:provider.test')
        most = Math.max(most, ++now)
        await new Promise<void>(resolve => setImmediate(resolve))
        now--
        for (const target of to) call.report(target.id, delivered)
      },
    }
    agent.send = provider.send
    for (let i = 0; i < 100; i++) await mail({ to: [`u@d${i}.test`] })
    for (let i = 0; i < 20; i++) await clock.settle()
    expect(most).toBe(3)
    expect(queue.tally.done.delivered).toBe(100)
  })

  it('back off together, and what found no slot was not tried', async () => {
    const { agent, mail, clock, queue } = await office()
    let down = true
    agent.send = async (_message, to, _route, call) => {
      using _slot = await (call as Parameters<DeliveryAgent['send']>[3]).throttle('mx:provider.test')
      agent.sent.push({} as never)
      for (const target of to) call.report(target.id, down ? busy('lane') : delivered)
    }
    for (let i = 0; i < 30; i++) await mail({ to: [`u@d${i}.test`] })
    await clock.settle()
    expect(agent.sent.length).toBeLessThanOrEqual(5)
    down = false
    await clock.advance(20 * minute)
    expect(queue.tally.done.delivered).toBe(30)
  })
})

describe('memory', () => {
  it('holds what was handed over up to its limit; the rest is found through the index', async () => {
    const { agent, mail, clock, queue } = await office({ config: { handover: { messages: 10, bytes: 1e6 } } })
    const gate = slow(agent)
    for (let i = 0; i < 500; i++) await mail({ to: [`u${i}@dest.test`] })
    await clock.settle()
    expect(queue.stats.handed).toBeLessThanOrEqual(10)
    expect(queue.stats.active).toBeLessThanOrEqual(10 + 256)
    for (let i = 0; i < 200 && queue.tally.messages > 0; i++) {
      gate.finish()
      await clock.settle()
    }
    expect(new Set(agent.sent.map(s => s.message.id)).size).toBe(500)
    expect(agent.sent).toHaveLength(500)
  })

  it('after a restart, reads little of the index ahead of deliveries, and keeps up with them by no clock', async () => {
    const { agent, gate, clock, queue } = await restarted(4000, 4000)
    for (let i = 0; i < 5; i++) await clock.settle()
    expect(queue.stats.indexed).toBeLessThanOrEqual(2000)
    for (let i = 0; i < 100 && queue.tally.done.delivered < 4000; i++) {
      gate.finish()
      await clock.settle()
    }
    expect(new Set(agent.sent.map(s => s.message.id)).size).toBe(4000)
    expect(agent.sent).toHaveLength(4000)
  })

  it('after a restart, knows a hundred long lanes within seconds, though none of them moves', async () => {
    const { clock, queue } = await restarted(20_000, 100)
    await clock.advance(6000)
    expect(queue.stats.lanes).toBe(100)
    expect(queue.stats.indexed).toBeLessThanOrEqual(6000)
  })

  it('two looks for lanes at a time both come to their end, though nothing moves', async () => {
    const { storage, clock, mail } = await office({ start: false })
    for (let i = 0; i < 3000; i++) await mail({ to: [`u@d${i}.test`] })
    const lanes = new Lanes(16)
    const finder = { take: () => {}, arouse: () => {} }
    const discovery = new Discovery({ storage, clock }, { indexed: 5000 }, lanes, finder)
    const first = discovery.run(undefined)
    await clock.advance(100)
    const second = discovery.run(undefined)
    await clock.advance(1000)
    await Promise.all([first, second])
    expect(lanes.size).toBe(3000)
  })

  it('forgets lanes that have nothing to do', async () => {
    const { mail, clock, queue } = await office()
    for (let i = 0; i < 200; i++) await mail({ to: [`u@d${i}.test`] })
    for (let i = 0; i < 3; i++) await clock.settle()
    expect(queue.tally.done.delivered).toBe(200)
    expect(queue.stats).toMatchObject({ lanes: 0, active: 0, handed: 0, handedBytes: 0, indexed: 0 })
  })

  it('takes 50,000 recipients in one message without losing sight of a neighbour', async () => {
    const { agent, mail, clock, queue } = await office()
    const to = Array.from({ length: 50_000 }, (_, i) => `u${i}@d${i % 300}.test`)
    await mail({ to, from: 'news@origin.test' })
    await mail({ to: ['neighbour@d0.test'], from: 'alice@origin.test' })
    await clock.settle()
    for (let i = 0; i < 100 && queue.tally.messages > 0; i++) await clock.settle()
    expect(agent.sent.reduce((n, s) => n + s.to.length, 0)).toBe(50_001)
    const near = agent.sent.filter(s => s.lane === 'd0.test').findIndex(s => s.to[0]?.address.local === 'neighbour')
    expect(near).toBeLessThan(4)
    expect(queue.tally.messages).toBe(0)
  })
})

describe('two nodes on one store', () => {
  it('share the lanes, and deliver everything once', async () => {
    const storage = memoryStorage()
    const a = await office({ storage, node: 'a', shared: true, lease: 30_000 })
    const { clock, blobs } = a
    const b = await office({ storage, node: 'b', shared: true, lease: 30_000, clock, blobs, agent: new Agent(clock) })
    await clock.advance(minute)
    for (let i = 0; i < 200; i++) await (i % 2 === 0 ? a : b).mail({ to: [`u@d${i}.test`] })
    await clock.advance(minute)
    const ids = [...a.agent.sent, ...b.agent.sent].map(s => s.message.id)
    expect(ids).toHaveLength(200)
    expect(new Set(ids).size).toBe(200)
    expect(a.agent.sent.length).toBeGreaterThan(30)
    expect(b.agent.sent.length).toBeGreaterThan(30)
    const lanes = new Set(a.agent.sent.map(s => s.lane))
    expect(b.agent.sent.some(s => lanes.has(s.lane))).toBe(false)
  })

  it('one that stalls in a delivery is succeeded, and cannot overwrite what its successor did', async () => {
    const storage = memoryStorage()
    let awake = true
    const a = await office({ storage, node: 'a', shared: true, lease: 30_000, alive: () => awake })
    const { clock, blobs } = a
    let wake = () => {}
    a.agent.answer = () => () =>
      new Promise(resolve => {
        wake = () => resolve(busy())
      })
    await a.mail()
    await clock.settle()
    expect(a.agent.sent).toHaveLength(1)
    awake = false
    const b = await office({ storage, node: 'b', shared: true, lease: 30_000, clock, blobs, agent: new Agent(clock) })
    await clock.advance(20_000)
    expect(b.agent.sent).toHaveLength(0)
    await clock.advance(20_000)
    expect(b.agent.sent).toHaveLength(1)
    wake()
    await clock.settle()
    // It says "deferred", of mail that its successor delivered: fenced off.
    expect(storage.entries().filter(([key]) => /^[mrd]\//.test(key))).toEqual([])
    expect(await b.queue.knows(a.agent.sent[0]?.message.id ?? '')).toBe(false)
  })

  it('a node that cannot renew its leases delivers nothing after their end, and goes on when it can', async () => {
    const storage = faultyStorage()
    const { agent, mail, clock } = await office({ storage, blobs: memoryBlobs(storage), lease: 30_000 })
    storage.fail('full', 4)
    await clock.advance(45_000)
    await mail()
    await clock.settle()
    expect(agent.sent).toHaveLength(0)
    await clock.advance(10_000)
    expect(agent.sent).toHaveLength(1)
  })

  it('a node that comes back by its own name goes on at once', async () => {
    const storage = memoryStorage()
    let alive = true
    const a = await office({ storage, alive: () => alive })
    a.agent.answer = () => () => new Promise(() => {})
    await a.mail()
    await a.clock.settle()
    alive = false
    const { clock, blobs } = a
    const again = await office({ storage, clock, blobs, agent: new Agent(clock) })
    await clock.settle()
    expect(again.agent.sent).toHaveLength(1)
  })
})

it('a message in a lane of a retired configuration is sent by the agents of the new one', async () => {
  const { agent, mail, clock, reload, queue } = await office()
  await queue.operations.pauseLane('test/dest.test', 'wait')
  await mail()
  const other = new Agent(clock)
  reload({ agents: [{ plugin: 'test', agent: other }] })
  await queue.operations.resumeLane('test/dest.test')
  await clock.settle()
  expect([agent.sent.length, other.sent.length]).toEqual([0, 1])
})

it('refuses ids that cannot stand in a key', async () => {
  const { queue, blobs, clock } = await office()
  for (const id of ['', 'a/b', 'ä', 'x'.repeat(201), '../etc']) {
    await expect(queue.commit(accepted(blobs, clock, { id }))).rejects.toMatchObject({ code: 'POSTHORN_QUEUE_ID' })
  }
})
