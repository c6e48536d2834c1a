import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import domains from '@posthorn/plugin-domains'
import relaying from '@posthorn/plugin-relaying'
import { conformance, type Given, harness } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'

for (const check of conformance(relaying, {
  options: { networks: ['192.0.2.0/24'], strip: ['X-Spam-Flag'] },
})) {
  it(check.name, check.run)
}

async function code(options: object, given: Given, stage: 'mail' | 'rcpt' = 'rcpt'): Promise<string> {
  await using h = await harness([domains, relaying], { options: [{ domains: ['example.test'] }, options as never] })
  const reply = await h.gate(stage, given)
  return reply === undefined ? 'ok' : `${reply.code} ${reply.enhanced}`
}

const away = { to: ['zoe@else.test'] }

describe('who may send to anywhere', () => {
  it('nobody, where nothing is said', async () => {
    expect(await code({}, away)).toBe('550 5.7.1')
    expect(await code({}, { ...away, user: 'anna' })).toBe('550 5.7.1')
    expect(await code({}, { to: ['anna@example.test'] })).toBe('ok')
  })

  it('clients of a network', async () => {
    const options = { networks: ['192.0.2.0/25', '2001:db8::/32'] }
    for (const [ip, expected] of [
      ['192.0.2.1', 'ok'],
      ['192.0.2.200', '550 5.7.1'],
      ['2001:db8::1', 'ok'],
      ['2001:db9::1', '550 5.7.1'],
      ['', '550 5.7.1'],
    ] as const) {
      expect(await code(options, { ...away, ip }), ip).toBe(expected)
    }
    await expect(code({ networks: ['192.0.2.0/33'] }, away)).rejects.toThrow(/network/)
  })

  it('users who are logged in: all or some, in any case', async () => {
    expect(await code({ users: '*' }, { ...away, user: 'anna' })).toBe('ok')
    expect(await code({ users: '*' }, away)).toBe('550 5.7.1')
    expect(await code({ users: ['Anna'] }, { ...away, user: 'anna' })).toBe('ok')
    expect(await code({ users: ['anna'] }, { ...away, user: 'bob' })).toBe('550 5.7.1')
  })

  it('clients with a certificate, and a name counts only in one that verified', async () => {
    const sha256 = Array.from({ length: 32 }, () => 'AB').join(':')
    const at = async (options: object, peer: object | undefined) => {
      await using h = await harness([relaying], { options: [{ certificates: options }] })
      const session = h.session()
      const client = { authorized: false, subject: 'CN=app', names: ['app.test'], sha256, ...peer }
      session.origin = {
        ...session.origin,
        tls: { protocol: 'TLSv1.3', cipher: 'x', ...(peer === undefined ? {} : { client }) },
      }
      await session.connect()
      await session.mail(null, { smtputf8: false, requireTls: false, other: {} })
      const reply = await session.rcpt({ local: 'zoe', domain: 'else.test', raw: 'zoe@else.test' }, { other: {} })
      session.close()
      return reply.code
    }
    expect(await at({ authorized: true }, undefined)).toBe(550)
    expect(await at({ authorized: true }, {})).toBe(550)
    expect(await at({ authorized: true }, { authorized: true })).toBe(250)
    expect(await at({ sha256: [sha256.toLowerCase()] }, {})).toBe(250)
    expect(await at({ sha256: [sha256.replace('AB', 'AC')] }, { authorized: true })).toBe(550)
    expect(await at({ names: ['App.test'] }, {})).toBe(550)
    expect(await at({ names: ['App.test'] }, { authorized: true })).toBe(250)
    expect(await at({ names: ['CN=app'] }, { authorized: true })).toBe(250)
    expect(await at({ names: ['other.test'] }, { authorized: true })).toBe(550)
  })
})

describe('addresses that are routes', () => {
  const forms = ['zoe%else.test@example.test', 'else.test!zoe@example.test', '"zoe@else.test"@example.test']

  it('are refused from those who may not send to anywhere', async () => {
    for (const to of [...forms, '@example.test:zoe@example.test']) {
      expect(await code({}, { to: [to] }), to).toBe('550 5.7.1')
      expect(await code({ routed: true }, { to: [to] }), to).toBe('ok')
      expect(await code({ users: '*' }, { to: [to], user: 'anna' }), to).toBe('ok')
    }
  })
})

describe('as whom users send', () => {
  const senders = { anna: ['info@example.test', '*.lists.test'], 'bob@example.test': [], root: ['*'] }
  const as = (user: string | undefined, from: string, options: object = { senders }) =>
    code(options, { from, ...(user === undefined ? {} : { user }) }, 'mail')

  it('their own name and what the table says, no one else, and the null sender', async () => {
    expect(await as('anna', 'info@example.test')).toBe('ok')
    expect(await as('ANNA', 'Info@EXAMPLE.test')).toBe('ok')
    expect(await as('anna', 'x@a.lists.test')).toBe('ok')
    expect(await as('anna', '')).toBe('ok')
    expect(await as('anna', 'anna@example.test')).toBe('553 5.7.1')
    expect(await as('bob@example.test', 'bob@example.test')).toBe('ok')
    expect(await as('bob@example.test', 'info@example.test')).toBe('553 5.7.1')
    expect(await as('root', 'x@y.test')).toBe('ok')
    expect(await as('unknown', 'x@y.test')).toBe('553 5.7.1')
    expect(await as(undefined, 'x@y.test')).toBe('ok')
    expect(await as('anna', 'x@y.test', {})).toBe('ok')
  })

  it('from files as of Postfix', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'posthorn-relaying-'))
    try {
      const file = join(folder, 'senders')
      writeFileSync(file, '# who\ninfo@example.test anna, bob\n@lists.test anna\n')
      const options = { senderFiles: [file] }
      expect(await as('bob', 'info@example.test', options)).toBe('ok')
      expect(await as('anna', 'x@lists.test', options)).toBe('ok')
      expect(await as('bob', 'x@lists.test', options)).toBe('553 5.7.1')
      writeFileSync(file, 'info@example.test\n')
      await expect(as('bob', 'info@example.test', options)).rejects.toThrow()
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('header fields that only we write', () => {
  const eml = [
    'X-Spam-Flag: NO',
    'Authentication-Results: mx.test; dkim=pass',
    'Authentication-Results: other.test; dkim=pass',
    'x-spam-flag: NO',
    'Subject: hi',
    '',
    'X-Spam-Flag: in the body',
    '',
  ].join('\r\n')
  const strip = ['X-Spam-Flag', { header: 'Authentication-Results', authservId: 'mx.test' }]

  it('are removed from what comes from outside', async () => {
    const options = [{ domains: ['example.test'] }, { strip, networks: ['10.0.0.0/8'] }] as const
    await using h = await harness([domains, relaying], { options: options as never })
    const outside = await h.message(eml)
    const text = await outside.text()
    expect(text.match(/^(?:X-Spam-Flag|Authentication-Results).*$/gim)).toEqual([
      'Authentication-Results: other.test; dkim=pass',
      'X-Spam-Flag: in the body',
    ])
    const inside = await h.message(eml, { ip: '10.0.0.1' })
    expect((await inside.text()).endsWith(eml)).toBe(true)
  })
})
