import { type FaultyStorage, fakeClock, faultyStorage, memoryBlobs, seeded } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import type { Outcome } from '../../src/delivery.ts'
import { Agent, busy, day, delivered, gone, minute, office, queueKeys } from './post-office.ts'

/** Who got what, counted over all lives of the server. */
interface Ledger {
  readonly accepted: Map<string, readonly string[]>
  readonly delivered: Map<string, number>
}

function agentFor(clock: ReturnType<typeof fakeClock>, ledger: Ledger, random: () => number): Agent {
  const agent = new Agent(clock)
  agent.answer = (to, message): Outcome => {
    const { local } = to.address
    if (local.startsWith('bad')) return gone()
    if (random() < 0.3) return busy(random() < 0.2 ? 'lane' : 'recipient')
    const key = `${message.id} ${to.address.raw}`
    ledger.delivered.set(key, (ledger.delivered.get(key) ?? 0) + 1)
    return delivered
  }
  return agent
}

/** One run: mail goes in, the power goes at the n-th write, and again; in the end everybody got theirs or was told. */
async function run(seed: number, cutAt: number, how: 'powerCut' | 'kill') {
  const random = seeded(seed)
  const clock = fakeClock()
  const ledger: Ledger = { accepted: new Map(), delivered: new Map() }
  let storage: FaultyStorage = faultyStorage({ seed, cutAt })
  const reports: { id: string; text: string }[] = []
  let sent = 0
  const files = new Map<string, Uint8Array>()
  for (let life = 0; life < 4; life++) {
    const blobs = memoryBlobs(storage, files)
    const agent = agentFor(clock, ledger, random)
    let alive = true
    const mine = await office({
      storage,
      blobs,
      clock,
      agent,
      random,
      deliverReports: true,
      start: false,
      alive: () => alive,
    })
    void mine.queue.start().catch(() => {})
    await clock.settle()
    const mails = Array.from({ length: 6 }, async () => {
      const n = sent++
      const to = [`u${n}@one.test`, `v${n}@two.test`, `bad${n}@one.test`].slice(0, 1 + (n % 3))
      try {
        const id = await mine.mail({ to, from: `s${n}@origin.test`, file: n % 4 === 0 })
        ledger.accepted.set(id, to)
      } catch {
        // Not acknowledged: the client tries again, here it does not.
      }
    })
    const last = life === 3
    if (last) {
      await Promise.all(mails)
      await clock.advance(6 * day)
      reports.push(...mine.reports)
      await mine.queue.stop()
      break
    }
    await clock.advance(Math.floor(random() * 20 * minute))
    reports.push(...mine.reports)
    alive = false
    storage = storage[how]()
    await Promise.all(mails)
    await clock.settle()
  }
  return { ledger, reports, left: queueKeys(storage) }
}

describe('a crash at any write', () => {
  for (const how of ['powerCut', 'kill'] as const) {
    it(`loses nobody's mail: ${how}`, async () => {
      const lost: string[] = []
      let accepted = 0
      for (let cutAt = 2; cutAt <= 100; cutAt += how === 'kill' ? 4 : 2) {
        const { ledger, reports, left } = await run(cutAt * 7, cutAt, how)
        for (const [id, to] of ledger.accepted) {
          for (const address of to) {
            const got = ledger.delivered.get(`${id} ${address}`) ?? 0
            const told = reports.some(r => r.id.startsWith(`dsn.${id}.`) && r.text.includes(address))
            accepted++
            if (got === 0 && !told) lost.push(`${cutAt}: ${id} ${address}`)
          }
        }
        expect(
          left.filter(key => !key.startsWith('h/')),
          `cut at ${cutAt}`,
        ).toEqual([])
      }
      expect(lost).toEqual([])
      expect(accepted).toBeGreaterThan(500)
    })
  }

  it('of the store keeps outcomes until it takes writes again, and delivers nothing twice', async () => {
    const storage = faultyStorage()
    const clock = fakeClock()
    const { agent, mail, queue, logs } = await office({ storage, blobs: memoryBlobs(storage), clock })
    await mail()
    storage.fail('full', 3)
    await clock.settle()
    expect(agent.sent).toHaveLength(1)
    expect(queue.stats.blocked).toBe(true)
    await clock.advance(minute)
    expect(queue.stats.blocked).toBe(false)
    expect(agent.sent).toHaveLength(1)
    expect(queueKeys(storage)).toEqual([])
    expect(logs.some(l => l.text?.includes('cannot be stored'))).toBe(true)
  })

  it('refuses a commit that the store refuses, and keeps nothing of it', async () => {
    const storage = faultyStorage()
    const { agent, mail, clock } = await office({ storage, blobs: memoryBlobs(storage) })
    storage.fail('full')
    await expect(mail()).rejects.toMatchObject({ name: 'StorageError', kind: 'full' })
    await clock.advance(minute)
    expect(agent.sent).toEqual([])
    expect(queueKeys(storage)).toEqual([])
  })
})
