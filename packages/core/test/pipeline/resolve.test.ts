import { definePlugin, type Mailbox, reject } from '@posthorn/core'
import { parseAddress } from '@posthorn/mail'
import { harness } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'

const schema = z.strictObject({})
const accepting = definePlugin({ name: 'accepting', schema, setup: () => ({ rcpt: () => 'accept' }) })
const address = (text: string) => parseAddress(text) as Mailbox

/** Aliases by local part; a list has a reverse-path of its own. */
const aliases = (table: Record<string, string[]>, lists: Record<string, string> = {}) =>
  definePlugin({
    name: 'aliases',
    schema,
    setup: () => ({
      async resolve(_tx, { local }) {
        const to = table[local]
        if (to === undefined) return
        const list = lists[local]
        return { to: to.map(address), ...(list === undefined ? {} : { list: { from: address(list) } }) }
      },
    }),
  })

describe('resolve', () => {
  it('is applied to its own results, and gates see what came of it', async () => {
    const seen: string[] = []
    const watching = definePlugin({
      name: 'watching',
      schema,
      setup: () => ({ rcpt: (_tx, { targets }) => void seen.push(...targets.map(t => t.address.raw)) }),
    })
    await using h = await harness([
      accepting,
      aliases({ sales: ['team@b.test'], team: ['a@b.test', 'b@b.test'] }),
      watching,
    ])
    await h.gate('rcpt', { to: ['sales@b.test'] })
    expect(seen).toEqual(['a@b.test', 'b@b.test'])
  })

  it('cuts loops, and refuses what is nothing but a loop', async () => {
    await using h = await harness([
      accepting,
      aliases({ a: ['b@b.test', 'c@b.test'], b: ['a@b.test'], x: ['y@b.test'], y: ['x@b.test'] }),
    ])
    expect((await h.resolve('a@b.test')).map(t => t.raw)).toEqual(['c@b.test'])
    expect(await h.gate('rcpt', { to: ['x@b.test'] })).toMatchObject({ code: 550, enhanced: '5.4.6' })
  })

  it('keeps a copy where an address resolves to itself too', async () => {
    await using h = await harness([accepting, aliases({ anna: ['anna@b.test', 'x@else.test'] })])
    expect((await h.resolve('anna@b.test')).map(t => t.raw).sort()).toEqual(['anna@b.test', 'x@else.test'])
  })

  it('goes ten deep and no deeper', async () => {
    const chain = (length: number) =>
      Object.fromEntries(Array.from({ length }, (_, i) => [`n${i}`, [`n${i + 1}@b.test`]]))
    await using ten = await harness([accepting, aliases(chain(10))])
    expect((await ten.resolve('n0@b.test')).map(t => t.raw)).toEqual(['n10@b.test'])
    await using eleven = await harness([accepting, aliases(chain(11))])
    expect(await eleven.gate('rcpt', { to: ['n0@b.test'] })).toMatchObject({ code: 550, enhanced: '5.4.6' })
  })

  it('refuses more than ten thousand targets', async () => {
    const many = Array.from({ length: 10_001 }, (_, i) => `u${i}@b.test`)
    await using h = await harness([accepting, aliases({ all: many })])
    expect(await h.gate('rcpt', { to: ['all@b.test'] })).toMatchObject({ code: 550, enhanced: '5.4.6' })
  })

  it('may refuse, with the text for moved users', async () => {
    const moved = definePlugin({
      name: 'moved',
      schema,
      setup: () => ({ resolve: () => reject(551, '5.1.6', 'User has moved') }),
    })
    await using h = await harness([accepting, moved])
    expect(await h.gate('rcpt')).toMatchObject({ code: 551, enhanced: '5.1.6' })
  })

  it('passes DSN parameters on as RFC 3461 §5.2.7 says', async () => {
    const table = { one: ['x@b.test'], two: ['x@b.test', 'y@b.test'], list: ['z@b.test'] }
    await using h = await harness([accepting, aliases(table, { list: 'list-bounces@b.test' })])
    const session = h.session()
    await session.helo('EHLO', 'client.test')
    await session.mail(address('s@client.test'), { smtputf8: false, requireTls: false, other: {} })
    const dsn = { notify: ['success', 'failure'] as const, orcpt: 'rfc822;Orig@b.test', other: {} }
    for (const local of ['one', 'two', 'list']) await session.rcpt(address(`${local}@b.test`), dsn)
    const sink = await session.data('data')
    if ('code' in sink) throw new Error('refused')
    await sink.write(Buffer.from('A: b\r\n\r\n'))
    await sink.end()
    session.close()
    const all = h.accepted.at(-1)?.variants.flatMap(v => v.targets.map(t => ({ ...t, from: v.from?.raw }))) ?? []
    // What is told of alias and list themselves: success.test.ts.
    const targets = all.filter(({ ended }) => ended === undefined)
    expect(targets.map(t => [t.address.raw, t.notify, t.orcpt, t.from])).toEqual([
      ['x@b.test', ['success', 'failure'], 'rfc822;Orig@b.test', 's@client.test'],
      ['x@b.test', ['failure'], 'rfc822;Orig@b.test', 's@client.test'],
      ['y@b.test', ['failure'], 'rfc822;Orig@b.test', 's@client.test'],
      ['z@b.test', undefined, undefined, 'list-bounces@b.test'],
    ])
  })
})
