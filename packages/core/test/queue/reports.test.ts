import type { Notify } from '@posthorn/mail'
import { type MemoryStorage, memoryStorage } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import type { Outcome } from '../../src/delivery.ts'
import { Agent, box, busy, day, delivered, gone, hour, minute, office, queueKeys } from './post-office.ts'

/** The fields of the delivery-status part: those of the message, then those of each recipient. */
function statusOf(report: string | undefined): Record<string, string>[] {
  const part = report
    ?.split(/\r\n--[^\r\n]+\r\n/)
    .find(text => /^Content-Type: message\/(global-)?delivery-status/im.test(text))
  const [, ...groups] = (part ?? '').replace(/\r\n[ \t]+/g, ' ').split('\r\n\r\n')
  return groups
    .map(group =>
      Object.fromEntries(
        group
          .split('\r\n')
          .filter(Boolean)
          .map(line => line.split(/: (.*)/s).slice(0, 2)),
      ),
    )
    .filter(fields => Object.keys(fields).length > 0)
}

const contentTypes = (report: string) => [...report.matchAll(/^Content-Type: ([^;\r\n]+)/gim)].map(m => m[1])

const remote = {
  host: 'mx.dest.test',
  phase: 'rcpt' as const,
  code: 550,
  enhanced: '5.1.1',
  lines: ['No such user here'],
}
const ends: Record<string, Outcome> = {
  delivered,
  relayed: { kind: 'relayed', by: 'mx.dest.test' },
  expanded: { kind: 'expanded', by: 'list.test' },
  failed: gone({ remote }),
}

/** RFC 3461 §4.1: who is told of what. Absent NOTIFY: of failures. */
const told: readonly (readonly [Notify[] | undefined, readonly string[]])[] = [
  [undefined, ['failed']],
  [['never'], []],
  [['failure'], ['failed']],
  [['delay'], []],
  [['success'], ['delivered', 'relayed', 'expanded']],
  [
    ['success', 'failure'],
    ['delivered', 'relayed', 'expanded', 'failed'],
  ],
  [
    ['success', 'failure', 'delay'],
    ['delivered', 'relayed', 'expanded', 'failed'],
  ],
]

describe('reports', () => {
  for (const [notify, reported] of told) {
    for (const ret of [undefined, 'full', 'hdrs'] as const) {
      for (const [end, outcome] of Object.entries(ends)) {
        it(`NOTIFY=${notify ?? '(absent)'} RET=${ret ?? '(absent)'}: ${end}`, async () => {
          const { agent, mail, clock, reports, storage } = await office()
          agent.answer = () => outcome
          await mail({
            params: { envid: 'QQ314159', ...(ret && { ret }) },
            target: () => ({ ...(notify && { notify }), orcpt: 'rfc822;Bob@Dest.Test' }),
          })
          await clock.advance(minute)
          expect(queueKeys(storage as MemoryStorage)).toEqual([])
          if (!reported.includes(end)) {
            expect(reports).toEqual([])
            return
          }
          expect(reports).toHaveLength(1)
          const text = reports[0]?.text ?? ''
          expect(reports[0]).toMatchObject({ to: 'alice@example.test' })
          const [message, recipient] = statusOf(text)
          expect(message).toMatchObject({
            'Original-Envelope-Id': 'QQ314159',
            'Reporting-MTA': 'dns; mail.example.test',
            'Received-From-MTA': 'dns; client.test ([192.0.2.1])',
          })
          expect(message?.['Arrival-Date']).toMatch(/^Mon, 0?5 Jan 2026 09:00:00 \+0000$/)
          expect(recipient).toMatchObject({
            'Original-Recipient': 'rfc822; Bob@Dest.Test',
            'Final-Recipient': 'rfc822; bob@dest.test',
            Action: end,
            Status: end === 'failed' ? '5.1.1' : expect.stringMatching(/^2\.\d+\.\d+$/),
          })
          expect(recipient?.['Diagnostic-Code']).toBe(
            end === 'failed' ? 'smtp; 550 5.1.1 No such user here' : undefined,
          )
          expect(recipient?.['Remote-MTA']).toBe(end === 'failed' ? 'dns; mx.dest.test' : undefined)
          const full = end === 'failed' && ret === 'full'
          expect(text.includes('Hello, Bob.')).toBe(full)
          expect(contentTypes(text)).toContain(full ? 'message/rfc822' : 'text/rfc822-headers')
          expect(text).toContain('Subject: hello')
        })
      }
    }
  }

  it('are not made where the peer took over to make them', async () => {
    const { agent, mail, clock, reports } = await office()
    agent.answer = () => ({ kind: 'relayed', by: 'mx', noReport: true })
    await mail({ target: () => ({ notify: ['success'] }) })
    await clock.advance(minute)
    expect(reports).toEqual([])
  })

  it('go to the reverse-path of each variant', async () => {
    const { agent, queue, blobs, clock, reports } = await office()
    agent.answer = () => gone()
    const { accepted } = await import('./post-office.ts')
    const message = accepted(blobs, clock)
    const [variant] = message.variants
    if (variant === undefined) return
    const other = {
      ...variant,
      from: box('srs0=x@forward.test'),
      targets: [{ id: 't1', address: box('x@far.test'), state: {} }],
    }
    await queue.commit({ ...message, variants: [variant, other] })
    await clock.advance(minute)
    expect(reports.map(r => r.to).sort()).toEqual(['alice@example.test', 'srs0=x@forward.test'])
  })

  it('of delay name when it ends, are made once, and only for whom wants them', async () => {
    const { agent, mail, clock, reports } = await office()
    agent.answer = () => busy()
    await mail({
      to: ['a@dest.test', 'b@dest.test', 'c@dest.test'],
      target: (_, i) => ({ ...(i === 0 ? {} : { notify: i === 1 ? (['delay'] as const) : (['failure'] as const) }) }),
    })
    await clock.advance(4 * hour - minute)
    expect(reports).toHaveLength(0)
    await clock.advance(2 * minute)
    expect(reports).toHaveLength(1)
    const [, ...recipients] = statusOf(reports[0]?.text)
    expect(recipients.map(r => [r['Final-Recipient'], r.Action])).toEqual([
      ['rfc822; a@dest.test', 'delayed'],
      ['rfc822; b@dest.test', 'delayed'],
    ])
    expect(recipients[0]?.['Will-Retry-Until']).toMatch(/10 Jan 2026/)
    await clock.advance(3 * day)
    expect(reports).toHaveLength(1)
  })

  it('name a hundred of fifty thousand failures, count the rest, and clear all in one batch', async () => {
    const { agent, mail, clock, reports, storage } = await office()
    agent.answer = () => gone()
    await mail({ to: Array.from({ length: 3000 }, (_, i) => `u${i}@d${i % 7}.test`), params: { ret: 'full' } })
    await clock.advance(30 * minute)
    expect(reports).toHaveLength(1)
    expect(statusOf(reports[0]?.text)).toHaveLength(101)
    expect(reports[0]?.text).toMatch(/2900/)
    expect(queueKeys(storage as MemoryStorage)).toEqual([])
  })

  it('are sent header only where the message is large or must not leave TLS', async () => {
    const big = `Subject: big\r\n\r\n${'x'.repeat(60_000)}\r\n`
    for (const options of [{ body: big }, { params: { requireTls: true } }]) {
      const { agent, mail, clock, reports } = await office()
      agent.answer = () => gone()
      await mail({ ...options, params: { ...options.params, ret: 'full' } })
      await clock.advance(minute)
      expect(contentTypes(reports[0]?.text ?? '')).toContain('text/rfc822-headers')
      expect(reports[0]?.text.length).toBeLessThan(8000)
    }
  })

  it('that nobody takes are held, and never reported on', async () => {
    const { agent, mail, clock, reports, storage, queue } = await office({ deliverReports: true })
    agent.answer = () => gone()
    await mail()
    await clock.advance(day)
    expect(reports).toHaveLength(1)
    expect(queueKeys(storage as MemoryStorage).filter(key => key.startsWith('h/b/'))).toHaveLength(1)
    expect((await queue.operations.list({ state: 'held' })).messages).toMatchObject([{ from: '', state: 'held' }])
  })

  it('are tried again while they cannot be submitted; the failure waits', async () => {
    let broken = true
    const storage = memoryStorage()
    const first = await office({ storage })
    const { clock } = first
    let submitted = 0
    const second = await office({ storage, clock, blobs: first.blobs, agent: new Agent(clock) })
    await first.queue.stop()
    second.agent.answer = () => gone()
    const { Queue } = await import('../../src/queue/queue.ts')
    await second.queue.stop()
    const { makeGeneration, queueConfig } = await import('./post-office.ts')
    const { silentLog } = await import('../../src/log.ts')
    const queue = new Queue({
      storage,
      blobs: first.blobs,
      clock,
      log: silentLog,
      lease: hour,
      generation: () => makeGeneration(1, [{ plugin: 'test', agent: second.agent }], queueConfig),
      trace: { append() {} },
      submission: () => ({
        async submit(_draft, options) {
          submitted++
          if (broken) throw new Error('disk full')
          await storage.write(options?.with ?? [])
          return 'queued'
        },
      }),
    })
    await queue.start()
    const { accepted } = await import('./post-office.ts')
    await queue.commit(accepted(first.blobs, clock))
    await clock.advance(hour)
    expect(submitted).toBeGreaterThan(3)
    expect(submitted).toBeLessThan(40)
    expect(queueKeys(storage).filter(key => key.startsWith('u/'))).toHaveLength(1)
    broken = false
    await clock.advance(hour)
    expect(queueKeys(storage)).toEqual([])
  })

  it('tell of what was refused at the dot while others were accepted', async () => {
    const { mail, clock, reports, agent } = await office()
    const { reject } = await import('../../src/verdict.ts')
    await mail({
      to: ['ok@dest.test', 'full@dest.test'],
      target: (_, i) => (i === 1 ? { ended: reject(552, '5.2.2', 'mailbox full') } : {}),
    })
    await clock.advance(minute)
    expect(agent.sent.flatMap(s => s.to.map(t => t.address.local))).toEqual(['ok'])
    expect(statusOf(reports[0]?.text)[1]).toMatchObject({
      'Final-Recipient': 'rfc822; full@dest.test',
      Status: '5.2.2',
    })
  })

  it('a message with one block is marked so, whether that is delivered or reported on', async () => {
    const { mail, storage } = await office()
    const { reject } = await import('../../src/verdict.ts')
    const full = { ended: reject(552, '5.2.2', 'mailbox full') }
    const solo = (id: string) =>
      (storage as MemoryStorage)
        .entries()
        .filter(([key]) => key.startsWith(`r/${id}/`))
        .map(([, value]) => JSON.parse(Buffer.from(value).toString('utf8', 1)).solo)
    expect(solo(await mail({ to: ['full@dest.test'], target: () => full }))).toEqual([true])
    expect(solo(await mail({ to: ['ok@dest.test'] }))).toEqual([true])
    const both = await mail({ to: ['ok@dest.test', 'full@dest.test'], target: (_, i) => (i === 1 ? full : {}) })
    expect(solo(both)).toEqual([false, false])
  })
})

describe('held reports', () => {
  it('go after their time, and the oldest of too many, told in log and trace; other held mail stays', async () => {
    const { agent, mail, clock, storage, logs, traces, queue } = await office({
      config: { held: { keep: 2 * day, max: 5 } },
    })
    const heldKeys = () => queueKeys(storage as MemoryStorage).filter(key => key.startsWith('h/'))
    agent.answer = () => gone()
    await mail({ hold: 'a filter said so', from: 'alice@example.test' })
    const ids: string[] = []
    for (let i = 0; i < 8; i++) {
      ids.push(await mail({ from: null }))
      await clock.advance(1000)
    }
    expect(heldKeys().filter(key => key.startsWith('h/b/'))).toHaveLength(5)
    expect(heldKeys().some(key => key.includes(ids[0] ?? ''))).toBe(false)
    expect(logs.filter(l => l.text?.startsWith('removed held mail'))).toHaveLength(3)
    expect(traces.get(ids[0] ?? '')?.at(-1)).toMatchObject({ stage: 'held', verdict: 'removed' })
    await clock.advance(3 * day)
    expect(heldKeys()).toHaveLength(1)
    expect(queue.stats.heldBounces).toBe(0)
    await clock.advance(60 * day)
    expect(heldKeys()).toHaveLength(1)
    expect(queueKeys(storage as MemoryStorage)).toHaveLength(5)
  })
})
