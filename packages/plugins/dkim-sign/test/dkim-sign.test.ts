import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { definePlugin, Place } from '@posthorn/core'
import dkimSign from '@posthorn/plugin-dkim-sign'
import { addKeys, dkimRecord, readRing, ringFolder } from '@posthorn/plugin-dkim-sign/key-ring'
import { conformance, harness } from '@posthorn/testing'
import { dkimVerify } from 'mailauth/lib/dkim/verify.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as z from 'zod'
import { authorDomain } from '../src/author.ts'

let data: string
let zone: Map<string, string>
beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'posthorn-dkim-'))
  const keys = await addKeys(ringFolder(data), 'example.test', {
    algorithms: ['rsa', 'ed25519'],
    now: Date.UTC(2026, 0, 5),
  })
  zone = new Map(keys.map(key => [dkimRecord('example.test', key).name, dkimRecord('example.test', key).value]))
})
afterAll(() => rm(data, { recursive: true }))

for (const check of conformance(dkimSign, { services: [[Place, { data: tmpdir() }]] })) it(check.name, check.run)

const schema = z.strictObject({})
const accepting = definePlugin({
  name: 'accepting',
  schema,
  setup: () => ({ rcpt: { on: ['mx', 'submission'], handler: () => 'accept' } }),
})
const changing = definePlugin({
  name: 'changing',
  schema,
  setup: () => ({
    data: () => ({
      end(message) {
        message.replace('Subject', 0, 'another subject than was sent')
        message.replace('X-Secret', 0, null)
        message.prepend('X-Added', 'by us')
      },
    }),
  }),
})

const start = () => harness([accepting, changing, dkimSign], { services: [[Place, { data }]] })

async function verdicts(text: string | Buffer): Promise<string[]> {
  const resolver = async (name: string) => {
    const value = zone.get(name)
    if (value === undefined) throw Object.assign(new Error('none'), { code: 'ENOTFOUND' })
    return [[value]]
  }
  const { results } = await dkimVerify(typeof text === 'string' ? Buffer.from(text) : text, { resolver } as never)
  return results.map(r => `${r.status.result} ${r.algo}`).sort()
}

const author = 'From: Anna <anna@example.test>\r\nSubject: hello\r\nX-Secret: internal\r\n'
const submitted = { role: 'submission', user: 'anna' } as const

describe('dkim-sign', () => {
  it('signs as sent: after another plugin rewrote, removed and added fields, both signatures verify', async () => {
    await using h = await start()
    const result = await h.message(`${author}\r\nbody\r\n`, submitted)
    const text = await result.text()
    expect(text).toContain('Subject: another subject')
    expect(text).not.toContain('X-Secret')
    expect(await verdicts(text)).toEqual(['pass ed25519-sha256', 'pass rsa-sha256'])
  })

  it.each([
    ['an empty body', `${author}\r\n`],
    ['no body at all', author],
    ['trailing empty lines', `${author}\r\nbody\r\n\r\n\r\n`],
    ['no final line end', `${author}\r\nbody`],
    ['white space', `${author}\r\n  a \t b  \r\n\t\r\n`],
    ['8-bit text', `${author}\r\nna\xefve \xff\r\n`],
    [
      'folded and 8-bit header fields',
      `From: Anna\r\n <anna@example.test>\r\nTo: a\r\n\t b,\r\n  c\xe9\r\nSubject:  x\t y \r\n\r\nb\r\n`,
    ],
    ['several fields of a name', `${author}To: one\r\nTo: two\r\nCc: x\r\n\r\nb\r\n`],
    ['lines over 998 octets', `${author}\r\n${'y'.repeat(3_000)}\r\n`],
    ['300 KB', `${author}\r\n${'line of text \r\n'.repeat(20_000)}`],
  ])('signs %s', async (_what, eml) => {
    await using h = await start()
    const { bytes } = await h.message(Buffer.from(eml, 'latin1'), submitted)
    expect(await verdicts(await bytes())).toEqual(['pass ed25519-sha256', 'pass rsa-sha256'])
  })

  it('does not verify when a signed field was changed, or added', async () => {
    await using h = await start()
    const text = await (await h.message(`${author}\r\nbody\r\n`, submitted)).text()
    expect(await verdicts(text.replace('another subject', 'some subject'))).not.toContain('pass rsa-sha256')
    expect(await verdicts(`From: eve@else.test\r\n${text}`)).not.toContain('pass rsa-sha256')
  })

  it('signs for a parent domain, and nobody else’s mail', async () => {
    await using h = await start()
    const sub = await h.message('From: a@sub.example.test\r\n\r\nb\r\n', submitted)
    expect(sub.head).toContain('d=example.test')
    expect((await h.message('From: a@else.test\r\n\r\nb\r\n', submitted)).head).not.toContain('DKIM')
    expect((await h.message(`${author}\r\nb\r\n`, { role: 'mx' })).head).not.toContain('DKIM')
  })

  it('keeps keys private, and rotates them', async () => {
    const folder = ringFolder(await mkdtemp(join(data, 'rotate-')))
    const now = Date.UTC(2026, 0, 5)
    await addKeys(folder, 'b.test', { algorithms: ['ed25519'], now })
    await addKeys(folder, 'b.test', { algorithms: ['ed25519'], now: now + 86_400_000, rotate: true })
    expect((await readRing(folder, 'b.test')).map(k => [k.selector, k.state])).toEqual([
      ['20260105-ed25519', 'retired'],
      ['20260106-ed25519', 'active'],
    ])
    expect((await stat(join(folder, 'b.test.json'))).mode & 0o777).toBe(0o600)
    const again = await addKeys(folder, 'b.test', { algorithms: ['ed25519'], now: now + 86_400_000, rotate: true })
    expect(again.map(k => k.selector)).toEqual(['20260106b-ed25519'])
    const named = { algorithms: ['ed25519'], now, selector: '20260106-ed25519' } as const
    await expect(addKeys(folder, 'b.test', named)).rejects.toMatchObject({ code: 'POSTHORN_DKIM_SELECTOR' })
    expect(await readFile(join(folder, 'b.test.json'), 'utf8')).toContain('PRIVATE KEY')
  })
})

it.each([
  ['Anna <anna@Example.Test>', 'example.test'],
  ['anna@example.test', 'example.test'],
  ['"a@evil.test" <anna@example.test>', 'example.test'],
  ['(a@evil.test) anna@example.test (x)', 'example.test'],
  ['"Anna (x" <anna@example.test>, bob@else.test', 'example.test'],
  ['undisclosed', undefined],
])('knows the author of %j', (from, domain) => {
  expect(authorDomain(from)).toBe(domain)
})
