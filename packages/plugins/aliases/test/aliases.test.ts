import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import aliases from '@posthorn/plugin-aliases'
import domains from '@posthorn/plugin-domains'
import { conformance, harness } from '@posthorn/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const srs = { domain: 'example.test', secret: 'a secret of the test' }
const options = {
  domains: ['example.test'],
  aliases: {
    info: ['anna', 'bob@else.test'],
    anna: ['anna', 'anna@home.test'],
    away: 'carl@else.test',
    news: { to: ['anna', 'dora@else.test'], list: 'news-owner' },
    old: { moved: 'old@new.test' },
    gone: { reject: 'Eve has left us' },
    team: ['old', 'dora@else.test'],
    nobody: '/dev/null',
    a: 'b',
    b: 'a',
    'sales@other.test': 'anna@example.test',
    '@parked.test': '@example.test',
    postmaster: 'anna',
  },
} as const

for (const check of conformance(aliases, {
  options: { ...options, srs },
  given: { to: ['away@example.test'] },
})) {
  it(check.name, check.run)
}

const start = (extra: object = {}) => harness([aliases], { options: [{ ...options, ...extra } as never] })
const eml = 'From: a@client.test\r\nSubject: hi\r\n\r\nhello\r\n'

async function targets(to: string, extra: object = {}): Promise<readonly string[]> {
  await using h = await start({ ...extra })
  return (await h.resolve(to)).map(({ raw }) => raw)
}

async function answer(to: string): Promise<string> {
  await using h = await start()
  const reply = await h.gate('rcpt', { to: [to] })
  return reply === undefined ? 'ok' : `${reply.code} ${reply.enhanced} ${reply.lines[0]}`
}

describe('aliases', () => {
  it('stand for one or several, here and elsewhere, in any case', async () => {
    expect(await targets('away@example.test')).toEqual(['carl@else.test'])
    expect(await targets('AWAY@Example.TEST')).toEqual(['carl@else.test'])
    expect(await targets('info@example.test')).toEqual(['anna@example.test', 'bob@else.test', 'anna@home.test'])
  })

  it('keep a copy where a name stands for itself', async () => {
    expect(await targets('anna@example.test')).toEqual(['anna@example.test', 'anna@home.test'])
  })

  it('of a domain not ours are whole addresses or all of it', async () => {
    expect(await targets('sales@other.test')).toEqual(['anna@example.test', 'anna@home.test'])
    expect(await targets('away@parked.test')).toEqual(['carl@else.test'])
    expect(await answer('away@other.test')).toBe('550 5.7.1 Relaying denied')
  })

  it('understand <Postmaster> without a domain', async () => {
    expect(await targets('Postmaster')).toEqual(['anna@example.test', 'anna@home.test'])
  })

  it('tell who has moved, and where to', async () => {
    expect(await answer('old@example.test')).toBe('551 5.1.6 User has moved; please try <old@new.test>')
    expect(await answer('gone@example.test')).toBe('550 5.1.6 Eve has left us')
  })

  it('leave out of a group who has moved, instead of refusing all', async () => {
    expect(await targets('team@example.test')).toEqual(['dora@else.test'])
  })

  it('refuse what goes round in a circle', async () => {
    expect(await answer('a@example.test')).toMatch(/^5/)
  })

  it('take and drop mail for nobody', async () => {
    await using h = await start()
    const { replies } = await h.message(eml, { to: ['nobody@example.test'] })
    expect(replies[0]?.code).toBe(250)
    expect(h.accepted).toEqual([])
  })

  it('leave others to others', async () => {
    expect(await answer('zoe@example.test')).toBe('550 5.7.1 Relaying denied')
  })

  it('lead to recipients that `domains` still judges', async () => {
    await using h = await harness([domains, aliases], {
      options: [{ domains: { 'example.test': ['anna'] } }, { domains: ['example.test'], aliases: { x: 'zoe' } }],
    })
    expect((await h.gate('rcpt', { to: ['x@example.test'] }))?.enhanced).toBe('5.1.1')
    expect(await h.gate('rcpt', { to: ['anna+shop@example.test'] })).toBeUndefined()
    expect(await h.gate('rcpt', { to: ['zoe+shop@example.test'] })).toMatchObject({ enhanced: '5.1.1' })
  })
})

describe('extensions', () => {
  it('are cut off where no alias says otherwise', async () => {
    expect(await targets('away+x@example.test')).toEqual(['carl@else.test'])
    const own = { aliases: { 'anna+work': 'boss@else.test', anna: 'anna@home.test' } }
    expect(await targets('anna+work@example.test', own)).toEqual(['boss@else.test'])
    expect(await targets('anna+x@example.test', own)).toEqual(['anna@home.test'])
  })

  it('alone accept nobody, and are none without a name, elsewhere, or where they are off', async () => {
    expect(await answer('zoe+x@example.test')).toBe('550 5.7.1 Relaying denied')
    await using h = await harness([domains, aliases], {
      options: [{ domains: ['example.test', 'else.test'] }, { domains: ['example.test'] }],
    })
    const raw = async (to: string) => (await h.resolve(to)).map(t => t.raw)
    expect(await raw('zoe+x@example.test')).toEqual(['zoe@example.test'])
    expect(await raw('+x@example.test')).toEqual(['+x@example.test'])
    expect(await raw('zoe+x@else.test')).toEqual(['zoe+x@else.test'])
    await using off = await harness([domains, aliases], {
      options: [{ domains: ['example.test'] }, { domains: ['example.test'], separator: false }],
    })
    expect((await off.resolve('zoe+x@example.test')).map(t => t.raw)).toEqual(['zoe+x@example.test'])
  })
})

describe('reports (RFC 3461 §5.2.7)', () => {
  it('a list passes nothing on and has its own reverse-path; a group keeps all but SUCCESS', async () => {
    await using h = await start({ srs })
    const session = h.session()
    await session.connect()
    await session.helo('EHLO', 'client.test')
    await session.mail(
      { local: 'a', domain: 'client.test', raw: 'a@client.test' },
      { smtputf8: false, requireTls: false, other: {} },
    )
    for (const local of ['news', 'team', 'info']) {
      const to = { local, domain: 'example.test', raw: `${local}@example.test` }
      await session.rcpt(to, { notify: ['success', 'failure'], orcpt: 'rfc822;x@y.test', other: {} })
    }
    const sink = await session.data('data')
    if ('code' in sink) throw new Error(`${sink.code}`)
    await sink.write(Buffer.from(eml))
    await sink.end()
    session.close()
    const variants = h.accepted[0]?.variants ?? []
    const all = variants.flatMap(v => v.targets.map(t => ({ from: v.from?.raw, ...t })))
    const of = (raw: string, original: string) =>
      all.filter(t => t.address.raw === raw && t.original?.raw === original).map(t => [t.from, t.notify, t.orcpt])
    expect(of('dora@else.test', 'dora@else.test')).toEqual([['news-owner@example.test', undefined, undefined]])
    expect(of('dora@else.test', 'team@example.test').map(([, ...rest]) => rest)).toEqual([
      [['success', 'failure'], 'rfc822;x@y.test'],
    ])
    expect(of('bob@else.test', 'info@example.test').map(([, ...rest]) => rest)).toEqual([
      [['failure'], 'rfc822;x@y.test'],
    ])
  })
})

describe('SRS', () => {
  it('rewrites the sender of the forwarded copy only, and leads its bounce back', async () => {
    await using h = await start({ srs })
    await h.message(eml, { to: ['anna@example.test'] })
    const { variants = [] } = h.accepted[0] ?? {}
    const from = new Map(variants.flatMap(v => v.targets.map(t => [t.address.raw, v.from?.raw ?? ''])))
    expect(from.get('anna@example.test')).toBe('sender@client.test')
    const away = from.get('anna@home.test') as string
    expect(away).toMatch(/^SRS0=[\w+/]{6}=[A-Z2-7]{2}=client\.test=sender@example\.test$/)
    expect((await h.resolve(away, { from: '' })).map(t => t.raw)).toEqual(['sender@client.test'])
    expect((await h.resolve(away.toLowerCase(), { from: '' })).map(t => t.raw)).toEqual(['sender@client.test'])
  })

  it('leaves our own senders and the null sender as they are', async () => {
    await using h = await start({ srs })
    for (const from of ['zoe@example.test', '']) {
      await h.message(eml, { from, to: ['away@example.test'] })
      expect(h.accepted.at(-1)?.variants.map(v => v.from?.raw ?? '')).toEqual([from])
    }
  })

  it('refuses what it did not sign, and what is too old', async () => {
    await using h = await start({ srs })
    await h.message(eml, { to: ['away@example.test'] })
    const good = h.accepted[0]?.variants[0]?.from?.raw as string
    for (const forged of [
      good.replace('client.test', 'victim.test'),
      good.replace(/=(.)/, (_, c) => (c === 'A' ? '=B' : '=A')),
      'SRS0=@example.test',
      'SRS1=abcdef=x.test==y@example.test',
      'SRS0=======x@example.test',
    ]) {
      expect(await h.gate('rcpt', { from: '', to: [forged] }), forged).toMatchObject({ code: 550, enhanced: '5.1.1' })
    }
    await h.clock.advance(22 * 86_400_000)
    expect(await h.gate('rcpt', { from: '', to: [good] })).toMatchObject({ code: 550, enhanced: '5.1.1' })
  })
})

describe('alias files', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'posthorn-aliases-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))
  const file = (text: string, name = 'aliases') => {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }
  const load = async (text: string, to: string) => targets(to, { aliases: {}, files: [file(text)] })

  it('in the form of aliases(5): comments, continuations, quotes, owners', async () => {
    const text = [
      '# Mail for people',
      'postmaster:    root',
      '',
      'root: anna,',
      '  # in between',
      '  "bob"@else.test',
      '"odd name": carl',
      'Staff: \\dora, :include:staff.list',
      'owner-staff: anna',
      'noreply: /dev/null',
    ].join('\n')
    file('# people\nerik@else.test\n\nfrida, greta\n', 'staff.list')
    expect(await load(text, 'postmaster@example.test')).toEqual(['anna@example.test', 'bob@else.test'])
    expect(await load(text, '"odd name"@example.test')).toEqual(['carl@example.test'])
    expect(await load(text, 'staff@example.test')).toEqual([
      'dora@example.test',
      'erik@else.test',
      'frida@example.test',
      'greta@example.test',
    ])
    await using h = await start({ aliases: {}, files: [join(folder, 'aliases')] })
    await h.message(eml, { to: ['staff@example.test'] })
    expect(h.accepted[0]?.variants.map(v => v.from?.raw)).toEqual(['owner-staff@example.test'])
  })

  it('in the form of virtual(5)', async () => {
    const path = file('info@example.test anna bob@else.test\n@old.test  @example.test\n', 'virtual')
    const extra = { aliases: {}, files: [{ file: path, format: 'virtual' }] }
    expect(await targets('info@example.test', extra)).toEqual(['anna@example.test', 'bob@else.test'])
    expect(await targets('info@old.test', extra)).toEqual(['anna@example.test', 'bob@else.test'])
  })

  it.each([
    ['a: b\nvacation: "|/usr/bin/vacation anna"', 2, 'a command'],
    ['box: /var/mail/box', 1, 'a file'],
    ['a: b\n\na: c', 3, 'twice'],
    ['no colon', 1, 'expected'],
    ['a: b c', 1, 'comma'],
    ['a: b@', 1, 'not an address'],
    ['a: \u0000b', 1, 'not an address'],
    ['a:', 1, 'nobody'],
    ['a: :include:/no/such/file', 0, 'cannot be read'],
  ])('names the line that is wrong: %j', async (text, number, what) => {
    const failed = await start({ aliases: {}, files: [file(text)] }).then(
      () => 'started',
      (error: Error) => `${error.message} ${error.cause instanceof Error ? error.cause.message : ''}`,
    )
    expect(failed).toContain(what)
    if (number > 0) expect(failed).toContain(`aliases:${number}`)
  })

  it('is read again at reload', async () => {
    const path = file('info: bob@else.test')
    const own = { domains: ['example.test'], files: [path] }
    await using h = await harness([aliases], { options: [own] })
    file('info: carl@else.test')
    await h.reload([aliases], [own])
    expect((await h.resolve('info@example.test')).map(t => t.raw)).toEqual(['carl@else.test'])
  })
})
