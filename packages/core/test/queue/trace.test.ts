import { fakeClock, memoryStorage } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { Traces } from '../../src/queue/trace.ts'
import { day, hour } from './post-office.ts'

const entry = (at: number, verdict = 'accept') => ({ at, stage: 'rcpt', verdict })

function traces(limits = { keep: 7 * day, max: 1e9 }) {
  const clock = fakeClock()
  const storage = memoryStorage()
  let writes = 0
  const write = storage.write.bind(storage)
  storage.write = (ops, options) => {
    writes++
    return write(ops, options)
  }
  const sink = new Traces({ storage, clock, log: silentLog, limits: () => limits })
  return { clock, storage, sink, writes: () => writes }
}

describe('traces', () => {
  it('are one write for all that came within a quarter of a second, one value a message', async () => {
    const { clock, sink, storage, writes } = traces()
    for (let i = 0; i < 50; i++) {
      sink.append(`M${i}`, [entry(clock.now())])
      sink.append(`M${i}`, [entry(clock.now(), 'delivered')])
    }
    await clock.advance(300)
    expect(writes()).toBe(1)
    expect(storage.entries().filter(([key]) => key.startsWith('t/'))).toHaveLength(50)
    expect((await sink.read('M7')).map(e => e.verdict)).toEqual(['accept', 'delivered'])
    expect(await sink.read('M')).toEqual([])
  })

  it('of one message are found over days and restarts, in order', async () => {
    const { clock, sink, storage } = traces()
    for (const verdict of ['accept', 'defer', 'delivered']) {
      sink.append('M', [entry(clock.now(), verdict)])
      await clock.advance(20 * hour)
    }
    const again = new Traces({ storage, clock, log: silentLog, limits: () => ({ keep: 7 * day, max: 1e9 }) })
    expect((await again.read('M')).map(e => e.verdict)).toEqual(['accept', 'defer', 'delivered'])
  })

  it('go after their time', async () => {
    const { clock, sink } = traces({ keep: 2 * day, max: 1e9 })
    sink.append('OLD', [entry(clock.now())])
    await clock.advance(3 * day)
    sink.append('NEW', [entry(clock.now())])
    await clock.advance(hour)
    expect(await sink.read('OLD')).toEqual([])
    expect(await sink.read('NEW')).toHaveLength(1)
  })

  it('keep to their size, the oldest go first', async () => {
    const { clock, sink, storage } = traces({ keep: 365 * day, max: 20_000 })
    for (let i = 0; i < 50; i++) {
      for (let j = 0; j < 20; j++) sink.append(`M${i}.${j}`, [entry(clock.now(), 'x'.repeat(50))])
      await clock.advance(hour)
    }
    const octets = storage.entries().reduce((sum, [key, value]) => sum + (key.startsWith('t/') ? value.length : 0), 0)
    expect(octets).toBeLessThan(25_000)
    expect(octets).toBeGreaterThan(10_000)
    expect(await sink.read('M0.0')).toEqual([])
    expect(await sink.read('M49.0')).toHaveLength(1)
  })

  it('that are no JSON, since a plugin said something odd, are left out, and nothing else is', async () => {
    const { clock, sink } = traces()
    sink.append('M', [entry(clock.now())])
    sink.append('M', [{ ...entry(clock.now()), via: 1n as unknown as string }])
    sink.append('M', [entry(clock.now(), 'delivered')])
    expect((await sink.read('M')).map(e => e.verdict)).toEqual(['accept', 'delivered'])
  })

  it('of one message are cut at 64 KiB, and say so', async () => {
    const { sink } = traces()
    sink.append(
      'M',
      Array.from({ length: 5000 }, (_, i) => entry(i, 'y'.repeat(100))),
    )
    const read = await sink.read('M')
    expect(read.length).toBeLessThan(700)
    expect(read.at(-1)).toMatchObject({ stage: 'trace', verdict: 'cut' })
  })
})
