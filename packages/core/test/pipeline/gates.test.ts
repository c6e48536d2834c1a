import { defer, definePlugin, discard, messageState, reject } from '@posthorn/core'
import { harness } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'

const schema = z.strictObject({})
const accepting = definePlugin({ name: 'accepting', schema, setup: () => ({ rcpt: () => 'accept' }) })
const eml = 'From: a@client.test\r\nSubject: hello\r\n\r\nbody\r\n'

describe('recipients', () => {
  it('that no plugin accepts are refused: no open relay by omission', async () => {
    await using h = await harness([])
    expect(await h.gate('rcpt')).toMatchObject({ code: 550, enhanced: '5.7.1' })
  })

  it('are refused when one accepts and another objects', async () => {
    const objecting = definePlugin({
      name: 'objecting',
      schema,
      setup: () => ({ rcpt: () => reject(550, '5.1.1', 'No such recipient') }),
    })
    await using h = await harness([accepting, objecting])
    expect(await h.gate('rcpt')).toMatchObject({ code: 550, enhanced: '5.1.1', lines: ['No such recipient'] })
  })

  it('that are discarded get 250 and nothing is kept of them', async () => {
    const dropping = definePlugin({
      name: 'dropping',
      schema,
      setup: () => ({ rcpt: (_tx, to) => (to.address.local === 'spam' ? discard('spamtrap') : undefined) }),
    })
    await using h = await harness([accepting, dropping])
    const both = await h.message(eml, { to: ['spam@example.test', 'anna@example.test'] })
    expect(both.replies[0]?.code).toBe(250)
    expect(both.variants[0]?.targets.map(t => t.address.local)).toEqual(['anna'])
    const only = await h.message(eml, { to: ['spam@example.test'] })
    expect(only.replies[0]?.code).toBe(250)
    expect(only.variants).toEqual([])
  })

  it('named twice are delivered to once', async () => {
    await using h = await harness([accepting])
    const { variants } = await h.message(eml, { to: ['anna@example.test', 'ANNA@example.test', 'anna@EXAMPLE.test'] })
    expect(variants[0]?.targets.map(t => t.address.local)).toEqual(['anna', 'ANNA'])
  })
})

describe('a hook that fails', () => {
  const failing = (how: () => never | Promise<never>) =>
    definePlugin({ name: 'failing', schema, setup: () => ({ connect: how, mail: how, rcpt: how }) })

  it('makes a greeting 421 4.3.2 and everything else 451 4.3.0, and is named in log and trace', async () => {
    const throws = definePlugin({
      name: 'throws',
      schema,
      setup: () => ({
        mail() {
          throw new Error('secret path /etc/x')
        },
      }),
    })
    await using h = await harness([accepting, throws])
    const { refused, trace } = await h.message(eml)
    expect(refused).toMatchObject({ code: 451, enhanced: '4.3.0' })
    expect(refused?.lines.join()).not.toContain('secret')
    expect(trace).toContainEqual(expect.objectContaining({ stage: 'mail', plugin: 'throws', verdict: 'error' }))
    expect(h.log).toContainEqual(
      expect.objectContaining({ level: 'error', fields: expect.objectContaining({ plugin: 'throws' }) }),
    )
    await using g = await harness([failing(async () => Promise.reject(new Error('x')))])
    expect(await g.gate('connect')).toMatchObject({ code: 421, enhanced: '4.3.2' })
  })

  it('by never settling is cut off by its timeout, and what it does later changes nothing', async () => {
    let late: (() => void) | undefined
    let thrown: unknown
    const stalls = definePlugin({
      name: 'stalls',
      schema,
      setup: () => ({
        mail: {
          timeout: 1_000,
          handler: tx =>
            new Promise<undefined>(resolve => {
              late = () => {
                try {
                  tx.prepend('X-Late', 'yes')
                } catch (error) {
                  thrown = error
                }
                resolve(undefined)
              }
            }),
        },
      }),
    })
    await using h = await harness([accepting, stalls], { entries: [undefined, { onError: 'ignore' }] })
    const pending = h.message(eml)
    await h.clock.settle()
    await h.clock.advance(1_100)
    const { replies, head } = await pending
    late?.()
    expect(replies[0]?.code).toBe(250)
    expect(head).not.toContain('X-Late')
    expect(thrown).toMatchObject({ code: 'POSTHORN_HOOK_LATE' })
  })

  it('by answering rubbish is a fault too', async () => {
    const rubbish = definePlugin({ name: 'rubbish', schema, setup: () => ({ mail: (() => 42) as never }) })
    await using h = await harness([accepting, rubbish])
    expect((await h.message(eml)).refused).toMatchObject({ code: 451, enhanced: '4.3.0' })
  })

  it('leaves none of its edits, even where the operator ignores it', async () => {
    const half = definePlugin({
      name: 'half',
      schema,
      setup: () => ({
        mail(tx) {
          tx.prepend('X-Half', 'done')
          throw new Error('midway')
        },
      }),
    })
    await using h = await harness([accepting, half], { entries: [undefined, { onError: 'ignore' }] })
    const { replies, head } = await h.message(eml)
    expect(replies[0]?.code).toBe(250)
    expect(head).not.toContain('X-Half')
  })
})

describe('edits', () => {
  it('are applied once, in plugin order, above our Received; what is replaced stands below it', async () => {
    const first = definePlugin({
      name: 'first',
      schema,
      setup: () => ({ data: () => ({ end: message => message.prepend('X-First', '1') }) }),
    })
    const second = definePlugin({
      name: 'second',
      schema,
      setup: () => ({
        mail: tx => tx.prepend('X-Second', '2'),
        data: () => ({ end: message => message.replace('Subject', 0, 'changed') }),
      }),
    })
    await using h = await harness([accepting, first, second])
    const result = await h.message(eml)
    const text = await result.text()
    expect(text.replace(/Received: [\s\S]*?\+0000\r\n/, 'Received: …\r\n')).toBe(
      'X-Second: 2\r\nX-First: 1\r\nReceived: …\r\nSubject: changed\r\nFrom: a@client.test\r\n\r\nbody\r\n',
    )
    expect(result.trace.flatMap(entry => entry.edits ?? [])).toEqual([
      'prepend X-Second',
      'prepend X-First',
      'replace Subject[0]',
    ])
  })

  it('are parted by an empty line from a text that has no header', async () => {
    await using h = await harness([accepting])
    expect(await (await h.message('just text\r\n')).text()).toMatch(/\+0000\r\n\r\njust text\r\n$/)
    expect(await (await h.message('\r\nonly a body\r\n')).text()).toMatch(/\+0000\r\n\r\nonly a body\r\n$/)
    expect((await h.message('')).replies[0]?.code).toBe(250)
  })

  it('cannot smuggle a header', async () => {
    const evil = definePlugin({
      name: 'evil',
      schema,
      setup: () => ({ mail: tx => tx.prepend('X-Evil', 'a\r\nBcc: all@example.test') }),
    })
    await using h = await harness([accepting, evil])
    expect((await h.message(eml)).refused).toMatchObject({ code: 451, enhanced: '4.3.0' })
  })

  it('for some targets make a variant of their own', async () => {
    const marking = definePlugin({
      name: 'marking',
      schema,
      setup: () => ({
        data: () => ({
          end(message) {
            const targets = message.recipients.flatMap(r => r.targets)
            message.for(targets.filter(t => t.address.local === 'bob')).prepend('X-For', 'bob')
          },
        }),
      }),
    })
    await using h = await harness([accepting, marking])
    const { variants, text } = await h.message(eml, {
      to: ['anna@example.test', 'bob@example.test', 'eve@example.test'],
    })
    expect(variants.map(v => v.targets.map(t => t.address.local))).toEqual([['anna', 'eve'], ['bob']])
    expect(await text(0)).not.toContain('X-For')
    expect(await text(1)).toContain('X-For: bob')
  })
})

describe('state', () => {
  const score = messageState<number>('scoring/score')
  it('written by one hook is read by the next, and stored with the message', async () => {
    let seen: number | undefined
    const reading = definePlugin({
      name: 'reading',
      schema,
      setup: () => ({
        mail: {
          reads: [score],
          handler(tx) {
            seen = tx.state.get(score)
          },
        },
      }),
    })
    const scoring = definePlugin({
      name: 'scoring',
      schema,
      setup: () => ({ mail: { writes: [score], handler: async tx => tx.state.set(score, 7) } }),
    })
    await using h = await harness([accepting, reading, scoring])
    expect((await h.message(eml)).state).toEqual({ 'scoring/score': 7 })
    expect(seen).toBe(7)
  })

  it('of more than 16 KiB in all is a 451 at the dot', async () => {
    const a = messageState<string>('big/a')
    const b = messageState<string>('big/b')
    const big = definePlugin({
      name: 'big',
      schema,
      setup: () => ({
        mail: {
          writes: [a, b],
          handler(tx) {
            tx.state.set(a, 'x'.repeat(9_000))
            tx.state.set(b, 'x'.repeat(9_000))
          },
        },
      }),
    })
    await using h = await harness([accepting, big])
    expect((await h.message(eml)).refused).toMatchObject({ code: 451 })
  })
})

describe('the operator', () => {
  const objecting = definePlugin({
    name: 'objecting',
    schema,
    setup: () => ({ mail: () => defer(450, '4.7.1', 'Try later', { reason: 'listed' }) }),
  })
  it('can turn an objection into Junk, or into nothing', async () => {
    await using junk = await harness([accepting, objecting], { entries: [undefined, { objection: 'junk' }] })
    expect(await junk.message(eml)).toMatchObject({ junk: 'listed' })
    await using ignore = await harness([accepting, objecting], { entries: [undefined, { objection: 'ignore' }] })
    const result = await ignore.message(eml)
    expect(result.replies[0]?.code).toBe(250)
    expect(result.junk).toBeUndefined()
  })

  it('can excuse a network from a plugin; the trace says so', async () => {
    await using h = await harness([accepting, objecting], {
      entries: [undefined, { unless: { net: ['192.0.2.0/24'] } }],
    })
    const result = await h.message(eml)
    expect(result.replies[0]?.code).toBe(250)
    expect(result.trace).toContainEqual(expect.objectContaining({ plugin: 'objecting', verdict: 'skipped' }))
    expect((await h.message(eml, { ip: '198.51.100.1' })).refused?.code).toBe(450)
  })
})
