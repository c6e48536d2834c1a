import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Storage } from '@posthorn/core'
import recipients from '@posthorn/plugin-recipients'
import { conformance, type Harness, harness, memoryStorage, type PeerScript, SmtpPeer } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'

const domains = ['example.test', '*.sub.test']
for (const check of conformance(recipients, { options: { domains, addresses: ['anna', 'b'] } }))
  it(check.name, check.run)

async function code(h: Harness, to: string): Promise<string> {
  const reply = await h.gate('rcpt', { to: [to] })
  return reply === undefined ? 'ok' : `${reply.code} ${reply.enhanced}`
}

async function codeFor(options: object, to: string): Promise<string> {
  await using h = await harness([recipients], { options: [{ domains, ...options } as never] })
  return code(h, to)
}

describe('recipients that are written down', () => {
  it('exist, in any case; others of the domains do not; the rest of the world is not judged', async () => {
    const options = { addresses: ['anna', 'Bob@example.test', 'carl@x.sub.test'] }
    for (const to of ['anna@example.test', 'ANNA@x.sub.test', 'bob@Example.test', 'carl@x.sub.test']) {
      expect(await codeFor(options, to), to).toBe('ok')
    }
    for (const to of ['bob@x.sub.test', 'eve@example.test', 'carl@y.sub.test']) {
      expect(await codeFor(options, to), to).toBe('550 5.1.1')
    }
    for (const to of ['anna@else.test', 'anna@sub.test', 'anna@example.test.evil.test']) {
      expect(await codeFor(options, to), to).toBe('550 5.7.1')
    }
  })

  it('in files, as postmap tables are, read again at reload', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'posthorn-recipients-'))
    try {
      const file = join(folder, 'relay_recipients')
      writeFileSync(file, '# ours\nanna@example.test OK\r\n\n  bob\tx\n"odd name"@example.test OK\n')
      const options = { domains, files: [file] }
      await using h = await harness([recipients], { options: [options] })
      expect(await code(h, 'anna@example.test')).toBe('ok')
      expect(await code(h, 'bob@a.sub.test')).toBe('ok')
      expect(await code(h, '"odd name"@example.test')).toBe('ok')
      writeFileSync(file, 'carl@example.test')
      await h.reload([recipients], [options])
      expect(await code(h, 'anna@example.test')).toBe('550 5.1.1')
      expect(await code(h, 'carl@example.test')).toBe('ok')
      writeFileSync(file, 'good@example.test\nbad@\n')
      await expect(h.reload([recipients], [options])).rejects.toThrow()
      expect(await code(h, 'carl@example.test')).toBe('ok')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('patterns', () => {
  it('are for whole addresses, in any case', async () => {
    const options = { patterns: ['(?:sales|info)-[a-z]+@example\\.test'] }
    expect(await codeFor(options, 'Sales-eu@example.test')).toBe('ok')
    expect(await codeFor(options, 'xsales-eu@example.test')).toBe('550 5.1.1')
    expect(await codeFor(options, 'sales-eu@example.test.sub.test')).toBe('550 5.1.1')
  })

  it.each([
    '(a+)+b',
    '(a*)*',
    '(?:a|a)*@x',
    '((ab)*c)+',
    '(?<n>a?){5}',
    '(a)\\1',
    '(?=a)b',
    '(?<!a)b',
    '.*.*.*.*',
    'a{2,}b{30}c{,99}d+e*',
    '(',
    '[z-a]',
    'x'.repeat(600),
  ])('%s is refused: it could be slow, or is none', async pattern => {
    await expect(codeFor({ patterns: [pattern] }, 'a@example.test')).rejects.toThrow()
  })

  it('that are taken are quick on what is made to be slow', async () => {
    const pattern = '[a-z]*[a-z]*[a-z]*!@example\\.test'
    const started = performance.now()
    expect(await codeFor({ patterns: [pattern] }, `${'a'.repeat(64)}@example.test`)).toBe('550 5.1.1')
    expect(performance.now() - started).toBeLessThan(1_000)
  })
})

describe('a call-out', () => {
  const has = (...names: readonly string[]): PeerScript => ({
    rcpt: ({ line }) => (names.some(name => line.includes(`<${name}@`)) ? undefined : '550 5.1.1 No such user'),
  })
  const start = (peer: SmtpPeer | string, callout: object = {}, storage = memoryStorage()) =>
    harness([recipients], {
      options: [
        { domains, addresses: ['listed'], callout: { to: typeof peer === 'string' ? peer : peer.address, ...callout } },
      ] as never,
      services: [[Storage, storage]],
    })
  const asked = (peer: SmtpPeer, what = 'RCPT') => peer.commands.filter(line => line.startsWith(what))

  it('asks by RCPT with the null sender, once, and sends nothing', async () => {
    await using peer = await SmtpPeer.start({ on: has('anna') })
    await using h = await start(peer)
    for (const _ of [1, 2]) {
      expect(await code(h, 'anna@example.test')).toBe('ok')
      expect(await code(h, 'Anna@example.test')).toBe('ok')
      expect(await code(h, 'eve@example.test')).toBe('550 5.1.1')
      expect(await code(h, 'listed@example.test')).toBe('ok')
    }
    expect(asked(peer).filter(line => !line.includes('nobody-'))).toEqual([
      'RCPT TO:<anna@example.test>',
      'RCPT TO:<eve@example.test>',
    ])
    expect(asked(peer, 'MAIL').every(line => line.startsWith('MAIL FROM:<>'))).toBe(true)
    expect(asked(peer, 'DATA')).toEqual([])
    expect(peer.connections).toBe(1)
  })

  it('by LMTP too', async () => {
    await using peer = await SmtpPeer.start({ lmtp: true, on: has('anna') })
    await using h = await start(peer, { lmtp: true })
    expect(await code(h, 'anna@example.test')).toBe('ok')
    expect(await code(h, 'eve@example.test')).toBe('550 5.1.1')
  })

  it('remembers over restarts, a yes longer than a no', async () => {
    await using peer = await SmtpPeer.start({ on: has('anna') })
    const storage = memoryStorage()
    for (const _ of [1, 2]) {
      await using h = await start(peer, {}, storage)
      expect(await code(h, 'anna@example.test')).toBe('ok')
      expect(await code(h, 'eve@example.test')).toBe('550 5.1.1')
    }
    expect(asked(peer)).toHaveLength(3)
    await using h = await start(peer, {}, storage)
    await h.clock.advance(2 * 3_600_000)
    peer.on = has('anna', 'eve')
    expect(await code(h, 'eve@example.test')).toBe('ok')
    expect(await code(h, 'anna@example.test')).toBe('ok')
    expect(asked(peer)).toHaveLength(4)
  })

  it('while the back end is down: what is remembered counts, then 451, or a yes where the operator says so', async () => {
    await using peer = await SmtpPeer.start({ on: has('anna') })
    const storage = memoryStorage()
    await using h = await start(peer, { positive: '1d' }, storage)
    expect(await code(h, 'anna@example.test')).toBe('ok')
    expect(await code(h, 'eve@example.test')).toBe('550 5.1.1')
    await peer.close()
    await h.clock.advance(2 * 86_400_000)
    expect(await code(h, 'anna@example.test')).toBe('ok')
    expect(await code(h, 'eve@example.test')).toBe('451 4.4.1')
    expect(await code(h, 'new@example.test')).toBe('451 4.4.1')
    await using open = await start(peer, { down: 'accept' }, storage)
    expect(await code(open, 'new@example.test')).toBe('ok')
  })

  it.each<[string, PeerScript, string]>([
    ['refuses the connection', { connect: '554 5.3.2 no' }, '451 4.4.1'],
    ['refuses the null sender', { mail: '550 5.7.1 no bounces' }, '451 4.4.1'],
    ['is not sure', { rcpt: '451 4.2.0 later' }, '451 4.4.1'],
    ['is greylisting', { rcpt: '450 4.7.1 greylisted' }, '451 4.4.1'],
    ['cuts', { rcpt: 'cut' }, '451 4.4.1'],
    ['says goodbye', { rcpt: '421 4.3.2 bye' }, '451 4.4.1'],
    ['talks nonsense', { rcpt: 'hello' }, '451 4.4.1'],
    ['says 354 to RCPT', { rcpt: '354 go on' }, '451 4.4.1'],
    ['has it, full', { rcpt: '552 5.2.2 Mailbox full' }, '552 5.2.2'],
    ['has it not', { rcpt: '550 no' }, '550 5.1.1'],
  ])('of a back end that %s', async (_, on, expected) => {
    await using peer = await SmtpPeer.start({ on })
    await using h = await start(peer)
    expect(await code(h, 'anna@example.test')).toBe(expected)
  })

  it('goes to the second where the first is down, and leaves a dead one alone for a while', async () => {
    await using peer = await SmtpPeer.start({ on: has('anna') })
    await using h = await harness([recipients], {
      options: [{ domains, callout: { to: ['127.0.0.1:1', peer.address] } }],
    })
    expect(await code(h, 'anna@example.test')).toBe('ok')
    await using dead = await SmtpPeer.start({ on: { connect: '421 4.3.2 no' } })
    await using d = await start(dead)
    for (const to of ['a', 'b', 'c']) expect(await code(d, `${to}@example.test`)).toBe('451 4.4.1')
    expect(dead.connections).toBe(1)
    await d.clock.advance(11_000)
    expect(await code(d, 'd@example.test')).toBe('451 4.4.1')
    expect(dead.connections).toBe(2)
  })

  it('goes to the second where the first takes no question, and says so in the log, not for each recipient', async () => {
    await using full = await SmtpPeer.start({ on: { mail: '452 4.3.1 disk full' } })
    await using peer = await SmtpPeer.start({ on: has('anna') })
    await using h = await harness([recipients], {
      options: [{ domains, callout: { to: [full.address, peer.address] } }],
    })
    expect(await code(h, 'anna@example.test')).toBe('ok')
    expect(await code(h, 'eve@example.test')).toBe('550 5.1.1')
    expect(asked(full, 'MAIL')).toHaveLength(1)
    await using proud = await SmtpPeer.start({ on: { mail: '550 5.7.1 no bounces' } })
    await using alone = await start(proud)
    for (const to of ['a', 'b', 'c']) expect(await code(alone, `${to}@example.test`)).toBe('451 4.4.1')
    const warned = alone.log.filter(({ level }) => level === 'warn').map(({ message }) => message)
    expect(warned).toEqual(['call-out: MAIL FROM:<> is refused: 550 5.7.1 no bounces'])
  })

  it('finds out that a domain takes everybody, says so once, and asks no more', async () => {
    await using peer = await SmtpPeer.start()
    await using h = await start(peer)
    for (const to of ['a', 'b', 'c']) expect(await code(h, `${to}@example.test`)).toBe('ok')
    expect(asked(peer)).toHaveLength(2)
    expect(h.log.filter(({ message }) => message?.includes('any recipient'))).toHaveLength(1)
  })

  it('asks once for all who ask at the same time', async () => {
    await using peer = await SmtpPeer.start({ on: has('anna') })
    await using h = await start(peer, { catchAll: false })
    const all = await Promise.all(Array.from({ length: 20 }, () => code(h, 'anna@example.test')))
    expect(new Set(all)).toEqual(new Set(['ok']))
    expect(asked(peer)).toHaveLength(1)
  })

  it('keeps so many answers and no more', async () => {
    await using peer = await SmtpPeer.start({ on: has('anna') })
    const storage = memoryStorage()
    {
      await using h = await start(peer, { entries: 100 }, storage)
      for (let i = 0; i < 150; i++) await code(h, `guess${i}@example.test`)
    }
    let count = 0
    for await (const batch of storage.range({ gte: 'recipients/', lt: 'recipients0' })) count += batch.length
    expect(count).toBeLessThanOrEqual(110)
  })

  it('leaves a connection over which many were refused: servers slow such ones down', async () => {
    await using peer = await SmtpPeer.start({ on: { rcpt: '550 5.1.1 who?' } })
    await using h = await start(peer)
    for (let i = 0; i < 12; i++) await code(h, `u${i}@example.test`)
    const perSession = peer.dialogues.map(lines => lines.filter(line => line.includes('RCPT')).length)
    expect(perSession).toEqual([5, 5, 2])
  })

  it('is not made for whom somebody else refuses', async () => {
    await using peer = await SmtpPeer.start()
    await using h = await harness([recipients], { options: [{ domains, callout: { to: peer.address } }] })
    expect(await code(h, 'anna@else.test')).toBe('550 5.7.1')
    expect(peer.connections).toBe(0)
  })
})
