import { definePlugin, type Mailbox, type PassedOn, StorageError } from '@posthorn/core'
import { type Notify, parseAddress } from '@posthorn/mail'
import { type Harness, harness } from '@posthorn/testing'
import { describe, expect, it, vi } from 'vitest'
import * as z from 'zod'

const schema = z.strictObject({})
const accepting = definePlugin({ name: 'accepting', schema, setup: () => ({ rcpt: () => 'accept' }) })
const address = (text: string) => parseAddress(text) as Mailbox

/** Takes every message out of our hands. */
const behind = (more: Partial<PassedOn> = {}, code = 250) =>
  definePlugin({
    name: 'behind',
    schema,
    setup: () => ({
      queue: () => ({
        kind: 'passed-on',
        reply: { host: 'inner.test', phase: 'dot', code, lines: ['stored as 42'] },
        ...more,
      }),
    }),
  })

const aliases = definePlugin({
  name: 'aliases',
  schema,
  setup: () => ({
    resolve: (_tx, { local }) => {
      if (local === 'team') return { to: [address('x@b.test'), address('y@b.test')] }
      if (local === 'news') return { to: [address('z@b.test')], list: { from: address('owner@b.test') } }
      if (local === 'one') return { to: [address('x@b.test')] }
    },
  }),
})

interface Sent {
  readonly to?: string
  readonly from?: string
  readonly notify?: readonly Notify[]
}

/** The reply at the dot, and what was committed. */
async function send(h: Harness, { to = 'anna@b.test', from = 'bob@a.test', notify = ['success'] }: Sent = {}) {
  const session = h.session()
  await session.helo('EHLO', 'client.test')
  await session.mail(from === '' ? null : address(from), { smtputf8: false, requireTls: false, other: {} })
  await session.rcpt(address(to), { notify, orcpt: 'rfc822;orig@b.test', other: {} })
  const sink = await session.data('data')
  if ('code' in sink) throw new Error(`${sink.code}`)
  await sink.write(Buffer.from('A: b\r\n\r\nx\r\n'))
  const reply = await sink.end()
  session.close()
  const ended = (h.accepted.at(-1)?.variants ?? []).flatMap(({ from, targets }) =>
    targets.map(t => [t.address.raw, from?.raw, t.ended?.kind, t.orcpt, t.notify] as const),
  )
  return { reply: Array.isArray(reply) ? reply[0] : reply, ended }
}

describe('what another system takes', () => {
  it.each<[string, Partial<PassedOn>, Sent, string[]]>([
    ['is reported as relayed', {}, {}, ['relayed']],
    ['as delivered where it stays there', { final: true }, {}, ['delivered']],
    ['not where that system reports', { noReport: true }, {}, []],
    ['nor where nobody asked', {}, { notify: ['failure'] }, []],
    ['nor of a report', {}, { from: '' }, []],
  ])('%s', async (_what, more, sent, kinds) => {
    await using h = await harness([accepting, behind(more)])
    const { reply, ended } = await send(h, sent)
    expect(reply).toMatchObject({ code: 250, lines: ['stored as 42'] })
    expect(ended.map(([, , kind]) => kind)).toEqual(kinds)
  })

  it('is reported under the name that the sender used', async () => {
    await using h = await harness([accepting, aliases, behind()])
    await send(h, { to: 'one@b.test' })
    expect(h.accepted[0]?.variants[0]?.targets[0]).toMatchObject({ original: { raw: 'one@b.test' } })
  })

  it('is nothing to report where it is refused', async () => {
    await using h = await harness([accepting, aliases, behind({}, 552)])
    expect((await send(h)).reply).toMatchObject({ code: 552 })
    expect((await send(h, { to: 'team@b.test' })).reply).toMatchObject({ code: 552 })
    expect(h.accepted).toEqual([])
  })

  it('is not refused because its report cannot be stored: that would bring it there twice', async () => {
    await using h = await harness([accepting, behind()])
    const session = h.session()
    vi.spyOn(session.parts.queue, 'commit').mockRejectedValue(new StorageError('full', 'disk full'))
    session.close()
    expect((await send(h)).reply).toMatchObject({ code: 250, lines: ['stored as 42'] })
    expect(h.log.some(({ level, message }) => level === 'error' && message?.includes('is lost'))).toBe(true)
  })
})

describe('a recipient that stands for others', () => {
  it.each<[string, Sent, readonly unknown[]]>([
    ['several: it was expanded', { to: 'team@b.test' }, ['team@b.test', 'bob@a.test', 'expanded']],
    ['a list: it was delivered there', { to: 'news@b.test' }, ['news@b.test', 'bob@a.test', 'delivered']],
  ])('%s', async (_what, sent, expected) => {
    await using h = await harness([accepting, aliases])
    const { reply, ended } = await send(h, sent)
    expect(reply).toMatchObject({ code: 250 })
    expect(ended.filter(([, , kind]) => kind !== undefined)).toEqual([[...expected, 'rfc822;orig@b.test', ['success']]])
    // Its targets go their way, and none of them tells the sender of success once more.
    const others = ended.filter(([, , kind]) => kind === undefined)
    expect(others.length).toBeGreaterThan(0)
    expect(others.every(([, , , , notify]) => notify?.includes('success') !== true)).toBe(true)
  })

  it.each<[string, Sent]>([
    ['one other: whoever delivers to it tells', { to: 'one@b.test' }],
    ['several, and nobody asked', { to: 'team@b.test', notify: ['failure'] }],
    ['several, of a report', { to: 'team@b.test', from: '' }],
  ])('%s', async (_what, sent) => {
    await using h = await harness([accepting, aliases])
    expect((await send(h, sent)).ended.every(([, , kind]) => kind === undefined)).toBe(true)
  })

  it('was not reached where all of them were refused', async () => {
    const refusing = definePlugin({
      name: 'refusing',
      schema,
      setup: () => ({
        queue: (_message, targets) =>
          new Map(
            targets
              .filter(({ address }) => address.local !== 'anna')
              .map(({ id }) => [
                id,
                { kind: 'passed-on', reply: { host: 'h', phase: 'dot', code: 550, lines: ['no'] } } as const,
              ]),
          ),
      }),
    })
    await using h = await harness([accepting, aliases, refusing])
    const { variants } = await h.message('A: b\r\n\r\nx\r\n', { to: ['anna@b.test', 'team@b.test'] })
    expect(variants.flatMap(v => v.targets.map(t => [t.address.local, t.ended?.kind]))).toEqual([
      ['anna', undefined],
      ['x', 'reject'],
      ['y', 'reject'],
    ])
  })
})
