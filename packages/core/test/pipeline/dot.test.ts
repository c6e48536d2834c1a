import { defer, definePlugin, discard, type Each, type Id, reject, type Verdict } from '@posthorn/core'
import { policyClass } from '@posthorn/core/runtime'
import { harness } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'

const schema = z.strictObject({})
const eml = 'From: a@client.test\r\nSubject: hello\r\n\r\nbody\r\n'
const to = ['anna@example.test', 'bob@example.test', 'eve@example.test']
const accepting = definePlugin({ name: 'accepting', schema, setup: () => ({ rcpt: () => 'accept' }) })

/** Anna is fine, Bob is over quota, Eve has blocked the sender. */
const opinions = definePlugin({
  name: 'opinions',
  schema,
  setup: () => ({
    data: () => ({
      end(message) {
        const each = new Map<Id, Verdict>()
        for (const { id, address } of message.recipients.flatMap(r => r.targets)) {
          if (address.local === 'bob') each.set(id, defer(452, '4.2.2', 'Mailbox is full'))
          if (address.local === 'eve') each.set(id, reject(550, '5.7.1', 'Sender is blocked'))
        }
        return each as Each<Verdict>
      },
    }),
  }),
})

const delivered = (
  variants: readonly {
    junk?: string | undefined
    targets: readonly { address: { local: string }; ended?: unknown }[]
  }[],
) =>
  Object.fromEntries(
    variants.flatMap(v => v.targets.map(t => [t.address.local, v.junk ?? (t.ended ? 'refused' : 'inbox')])),
  )

describe('three recipients with three verdicts at the dot', () => {
  it('get three replies over LMTP', async () => {
    await using h = await harness([accepting, opinions])
    const { replies, variants } = await h.message(eml, { role: 'lmtp', to })
    expect(replies.map(r => `${r.code} ${r.enhanced}`)).toEqual(['250 2.0.0', '452 4.2.2', '550 5.7.1'])
    expect(delivered(variants)).toEqual({ anna: 'inbox' })
  })

  it('get one over SMTP, and the refused go to Junk by default; the trace explains it', async () => {
    await using h = await harness([accepting, opinions])
    const { replies, variants, trace } = await h.message(eml, { to })
    expect(replies.map(r => r.code)).toEqual([250])
    expect(delivered(variants)).toEqual({ anna: 'inbox', bob: 'Mailbox is full', eve: 'Sender is blocked' })
    expect(trace.filter(e => e.stage === 'mixed').map(e => [e.recipient, e.verdict, e.plugin])).toEqual([
      ['bob@example.test', 'junk', 'opinions'],
      ['eve@example.test', 'junk', 'opinions'],
    ])
  })

  it('lose the refused where the operator says discard', async () => {
    await using h = await harness([accepting, opinions], { config: { mixed: 'discard' } })
    expect(delivered((await h.message(eml, { to })).variants)).toEqual({ anna: 'inbox' })
  })

  it('report the refused where the operator says bounce', async () => {
    await using h = await harness([accepting, opinions], { config: { mixed: 'bounce' } })
    expect(delivered((await h.message(eml, { to })).variants)).toEqual({
      anna: 'inbox',
      bob: 'refused',
      eve: 'refused',
    })
  })

  it('are refused together when all are, by the strongest', async () => {
    await using h = await harness([accepting, opinions])
    const { refused, variants } = await h.message(eml, { to: to.slice(1) })
    expect(refused).toMatchObject({ code: 550, enhanced: '5.7.1' })
    expect(variants).toEqual([])
  })
})

describe('mixed: split', () => {
  it('sends a recipient of another policy class away to a transaction of its own', async () => {
    const classing = definePlugin({
      name: 'classing',
      schema,
      setup: () => ({
        rcpt: {
          writes: [policyClass],
          handler(_tx, { targets }) {
            for (const t of targets) t.state.set(policyClass, t.address.local === 'eve' ? 'strict' : 'mild')
            return 'accept'
          },
        },
      }),
    })
    await using h = await harness([classing], { config: { mixed: 'split' } })
    const session = h.session()
    await session.helo('EHLO', 'client.test')
    await session.mail(null, { smtputf8: false, requireTls: false, other: {} })
    const rcpt = (local: string) =>
      session.rcpt({ local, domain: 'example.test', raw: `${local}@example.test` }, { other: {} })
    expect(await rcpt('anna')).toMatchObject({ code: 250 })
    expect(await rcpt('eve')).toMatchObject({ code: 452, enhanced: '4.5.3' })
    expect(await rcpt('bob')).toMatchObject({ code: 250 })
    session.close()
  })
})

describe('a tap', () => {
  it('reads every octet once, however the body is cut, and the first write holds the header', async () => {
    const seen: string[] = []
    const reading = definePlugin({
      name: 'reading',
      schema,
      setup: () => ({ data: () => ({ write: chunk => void seen.push(Buffer.from(chunk).toString()), end() {} }) }),
    })
    await using h = await harness([accepting, reading])
    await h.message([Buffer.from('A: b\r\n\r\none'), Buffer.from('two\r\n'), Buffer.from('.')])
    expect(seen).toEqual(['A: b\r\n\r\none', 'two\r\n', '.'])
  })

  it('may take its time over a chunk, and keep it, while the octets of others come to the same place', async () => {
    const kept: Uint8Array[] = []
    let slow = ''
    const keeping = definePlugin({
      name: 'keeping',
      schema,
      setup: () => ({ data: () => ({ write: chunk => void kept.push(chunk), end() {} }) }),
    })
    const pondering = definePlugin({
      name: 'pondering',
      schema,
      setup: () => ({
        data: () => ({
          async write(chunk) {
            await new Promise(resolve => setImmediate(resolve))
            slow += Buffer.from(chunk)
          },
          end() {},
        }),
      }),
    })
    await using h = await harness([accepting, keeping, pondering])
    // The harness spoils each chunk as soon as it was handed in.
    const result = await h.message([Buffer.from('A: b\r\n\r\none'), Buffer.from('two\r\n')])
    expect(await result.text()).toMatch(/A: b\r\n\r\nonetwo\r\n$/)
    expect(Buffer.concat(kept).toString()).toBe('A: b\r\n\r\nonetwo\r\n')
    expect(slow).toBe('A: b\r\n\r\nonetwo\r\n')
  })

  it('that fails while reading is a 451 at the dot, and the others still read all', async () => {
    let octets = 0
    const failing = definePlugin({
      name: 'failing',
      schema,
      setup: () => ({ data: () => ({ write: () => Promise.reject(new Error('no')), end() {} }) }),
    })
    const counting = definePlugin({
      name: 'counting',
      schema,
      setup: () => ({
        data: () => ({
          write(chunk) {
            octets += chunk.length
          },
          end() {},
        }),
      }),
    })
    await using h = await harness([accepting, failing, counting])
    const { refused, trace } = await h.message([Buffer.from('A: b\r\n\r\none'), Buffer.from('two')])
    expect(refused).toMatchObject({ code: 451, enhanced: '4.3.0' })
    expect(octets).toBe(14)
    expect(trace).toContainEqual(expect.objectContaining({ plugin: 'failing', verdict: 'error', reason: 'no' }))
  })

  it('that never takes its chunk is cut off by its timeout', async () => {
    const stalling = definePlugin({
      name: 'stalling',
      schema,
      setup: () => ({
        data: { timeout: 5_000, handler: () => ({ write: () => new Promise<void>(() => {}), end() {} }) },
      }),
    })
    await using h = await harness([accepting, stalling])
    const pending = h.message(eml)
    await h.clock.settle()
    await h.clock.advance(6_000)
    expect((await pending).refused).toMatchObject({ code: 451, enhanced: '4.3.0' })
  })
})

describe('the deadline of the dot', () => {
  it('answers 451 in time, and what comes later commits nothing', async () => {
    let release: (() => void) | undefined
    const slow = definePlugin({
      name: 'slow',
      schema,
      setup: () => ({
        data: {
          timeout: 600_000,
          handler: () => ({
            end: () =>
              new Promise<void>(resolve => {
                release = resolve
              }),
          }),
        },
      }),
    })
    await using h = await harness([accepting, slow])
    const pending = h.message(eml)
    await h.clock.settle()
    await h.clock.advance(241_000)
    const { refused, variants } = await pending
    release?.()
    await h.clock.settle()
    expect(refused).toMatchObject({ code: 451 })
    expect(variants).toEqual([])
  })
})

describe('seal', () => {
  it('sees the final bytes, one plugin after another, and only adds above', async () => {
    const rewriting = definePlugin({
      name: 'rewriting',
      schema,
      setup: () => ({ data: () => ({ end: m => m.replace('Subject', 0, 'new') }) }),
    })
    const sealing = (name: string) =>
      definePlugin({
        name,
        schema,
        setup: () => ({
          seal: final => [[`X-${name}`, `${final.header('Subject')} after ${final.header('X-one').join()}`]],
        }),
      })
    await using h = await harness([accepting, sealing('one'), sealing('two'), rewriting])
    const { head } = await h.message(eml)
    expect(head).toMatch(/^X-two: new after new after\r\nX-one: new after\r\nReceived: /)
  })

  it('that fails is a 451: nothing leaves unsigned', async () => {
    const failing = definePlugin({
      name: 'failing',
      schema,
      setup: () => ({
        seal() {
          throw new Error('no key')
        },
      }),
    })
    await using h = await harness([accepting, failing])
    const { refused, variants } = await h.message(eml)
    expect(refused).toMatchObject({ code: 451 })
    expect(variants).toEqual([])
  })
})

describe('other custody', () => {
  const remote = (code: number, text: string) => ({
    kind: 'passed-on' as const,
    reply: { host: 'inner.test', phase: 'dot' as const, code, lines: [text] },
  })
  it('passes the back end’s words on, and nothing is queued', async () => {
    const through = definePlugin({
      name: 'through',
      schema,
      setup: () => ({ queue: () => remote(250, 'queued as 42') }),
    })
    await using h = await harness([accepting, through])
    const { replies, variants } = await h.message(eml)
    expect(replies).toEqual([{ code: 250, enhanced: '2.0.0', lines: ['queued as 42'] }])
    expect(variants).toEqual([])
  })
  it('that refuses is the answer', async () => {
    const through = definePlugin({
      name: 'through',
      schema,
      setup: () => ({ queue: () => remote(552, 'too big for us') }),
    })
    await using h = await harness([accepting, through])
    expect((await h.message(eml)).refused).toMatchObject({ code: 552, lines: ['too big for us'] })
  })
})

describe('other custody of some recipients', () => {
  it('that refuses one of them lets the queue report it, and delivers the rest as ever', async () => {
    const through = definePlugin({
      name: 'through',
      schema,
      setup: () => ({
        queue: (_message, targets) =>
          new Map(
            targets
              .filter(t => t.address.local === 'bob')
              .map(t => [
                t.id,
                { kind: 'passed-on' as const, reply: { host: 'h', phase: 'dot' as const, code: 550, lines: ['no'] } },
              ]),
          ),
      }),
    })
    await using h = await harness([accepting, through])
    const { replies, variants } = await h.message(eml, { to: to.slice(0, 2) })
    expect(replies[0]?.code).toBe(250)
    expect(delivered(variants)).toEqual({ anna: 'inbox', bob: 'refused' })
    await using all = await harness([accepting, through])
    expect((await all.message(eml, { to: [to[1] as string] })).refused).toMatchObject({ code: 550 })
  })
})

describe('loops', () => {
  it('of a hundred hops are cut', async () => {
    await using h = await harness([accepting])
    const hops = 'Received: from a by b; Mon, 5 Jan 2026 09:00:00 +0000\r\n'
    expect((await h.message(hops.repeat(101) + eml)).refused).toMatchObject({ code: 554, enhanced: '5.4.6' })
    expect((await h.message(hops.repeat(99) + eml)).refused).toBeUndefined()
  })

  it('of forwards are cut where our Delivered-To comes back', async () => {
    const forwarding = definePlugin({
      name: 'forwarding',
      schema,
      setup: () => ({
        resolve: (_tx, address) =>
          address.local === 'fwd' ? { to: [{ local: 'x', domain: 'else.test', raw: 'x@else.test' }] } : undefined,
      }),
    })
    await using h = await harness([accepting, forwarding])
    const first = await h.message(eml, { to: ['fwd@example.test'] })
    expect(first.head).toMatch(/^Delivered-To: fwd@example\.test\r\n/)
    const again = await h.message(await first.text(), { to: ['fwd@example.test'] })
    expect(again.refused).toMatchObject({ code: 550, enhanced: '5.4.6' })
  })
})

describe('discard', () => {
  it('at MAIL gets 250 at the dot and keeps nothing', async () => {
    const dropping = definePlugin({ name: 'dropping', schema, setup: () => ({ mail: () => discard('known bad') }) })
    await using h = await harness([accepting, dropping])
    const { replies, variants } = await h.message(eml)
    expect(replies[0]?.code).toBe(250)
    expect(variants).toEqual([])
  })
})
