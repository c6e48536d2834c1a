// What strangers send to make us work: each costs a bounded number of questions and a bounded time, and has a clear
// result. The bound of time is loose: the machine has other things to do.
import { createPublicKey, randomBytes } from 'node:crypto'
import { afterAll, describe, expect, it } from 'vitest'
import { given, host, letter, start, type Zones } from './given.ts'
import { seal, sign, signer } from './signed.ts'

const anna = signer('sender.test')
const h = await start(host, { bimi: true })
afterAll(() => h[Symbol.asyncDispose]())

async function judged(message: string, zones: Zones = {}, who: object = given) {
  await h.with({ ...host, [anna.name]: { TXT: anna.record }, ...zones }, { bimi: true })
  const before = h.dns.count()
  const started = performance.now()
  const { state, replies, head, trace } = await h.message(message, who)
  expect(performance.now() - started).toBeLessThan(2_000)
  expect(h.dns.count() - before).toBeLessThan(30)
  expect(trace.filter(({ verdict }) => ['error', 'timeout', 'nonsense'].includes(verdict))).toEqual([])
  expect(h.log.filter(({ level }) => level === 'error')).toEqual([])
  expect(head.match(/^Authentication-Results:/gm)).toHaveLength(1)
  expect([250, 550]).toContain(replies[0]?.code)
  return state as Record<string, any>
}
const signature = async () => {
  const signed = await sign(letter(), [anna])
  return signed.slice(0, signed.indexOf('From:'))
}

describe('headers', () => {
  const fields = ['Subject', 'From', 'DKIM-Signature', 'ARC-Seal', 'ARC-Authentication-Results', 'Content-Type']
  const long: Record<string, string> = {
    'folded 4,900 times': '\r\n a'.repeat(4_900),
    'of 250,000 spaces': `a${' '.repeat(250_000)}b`,
    'of 16,000 spaces': `a${' '.repeat(16_000)}b`,
    'of 16,000 commas': 'a@b,'.repeat(4_000),
    'of 16,000 tags': 'a=b;'.repeat(4_000),
    'of 16,000 brackets': '(<"'.repeat(5_300),
  }
  it.each(fields.flatMap(field => Object.keys(long).map(what => [field, what] as const)))(
    '%s %s',
    async (field, what) => {
      const own = `${field}: ${long[what]}\r\n`
      const rest = letter().replace(new RegExp(`^${field}:.*\r\n`, 'm'), '')
      const found = await judged(own + rest)
      expect(found['mailauth/dmarc']).toBeDefined()
    },
  )

  it('fifteen signatures of 16,000 spaces each, and fifteen From fields', async () => {
    const many = `DKIM-Signature: v=1; a=rsa-sha256;${' '.repeat(16_000)}b=x\r\n`.repeat(15)
    expect((await judged(many + letter()))['mailauth/dkim'].signatures).toHaveLength(15)
    const from = `From: ${'a@b, '.repeat(3_000)}x@y.test\r\n`.repeat(15)
    expect((await judged(from + letter()))['mailauth/dmarc']).toMatchObject({ result: 'permerror' })
  })
})

describe('signatures', () => {
  it('500: twenty are verified, the rest is policy', async () => {
    const found = await judged((await signature()).repeat(500) + letter())
    expect(found['mailauth/dkim'].more).toBe(480)
    expect(found['mailauth/dkim'].signatures).toHaveLength(20)
    expect(found['mailauth/dkim'].signatures[0]).toMatchObject({ result: 'pass' })
  })

  it('20 with keys of 20 domains, 20 bodies of their own, and nothing left for DMARC', async () => {
    const one = await signature()
    const all = Array.from({ length: 20 }, (_, i) =>
      one.replace('d=sender.test', `d=d${i}.evil.test`).replace(' b=', ` l=${i}; b=`),
    )
    const found = await judged(all.join('') + letter({}, 'x\r\n'.repeat(300_000)), {
      '_dmarc.sender.test': { TXT: 'v=DMARC1; p=reject' },
    })
    expect(found['mailauth/dmarc']).toMatchObject({ result: 'pass', aligned: ['spf'] })
  })

  it('20 that name 3,000 fields each, of a header with 900', async () => {
    const one = (await signature()).replace(/h=/, `h=${'X-1:'.repeat(3_000)}`)
    const header = Array.from({ length: 900 }, (_, i) => `X-${i}: y\r\n`).join('')
    const found = await judged(one.repeat(15) + header + letter())
    expect(found['mailauth/dkim'].signatures[0]).toMatchObject({ result: 'fail' })
  })

  it('with a key of 16,384 bits', async () => {
    const n = randomBytes(2_048).fill(0xc1, 0, 1).fill(0x01, 2_047).toString('base64url')
    const key = createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' })
    const record = `v=DKIM1; k=rsa; p=${key.export({ type: 'spki', format: 'der' }).toString('base64')}`
    const by = signer('sender.test', { kind: 2048 })
    const found = await judged(await sign(letter(), [by]), { [by.name]: { TXT: record } })
    expect(found['mailauth/dkim'].signatures).toMatchObject([{ result: 'policy', reason: 'key too large' }])
  })

  it('sealed 50 times by 50 domains', async () => {
    let message = letter()
    for (let i = 0; i < 50; i++) message = await seal(message, signer(`l${i}.test`), 'x', i === 0 ? 'none' : 'pass')
    const keys = Object.fromEntries(
      Array.from({ length: 50 }, (_, i) => [`s1._domainkey.l${i}.test`, { TXT: anna.record }]),
    )
    const found = await judged(message, keys)
    expect(found['mailauth/arc']).toMatchObject({ result: 'fail', instance: 50 })
  })
})

describe('DNS', () => {
  const spfOf = async (TXT: string | string[], more: Zones = {}) =>
    (await judged(letter(), { 'evil.test': { TXT }, ...more }, { ...given, from: 'x@evil.test' }))['mailauth/spf']
  const names = (count: number, name: (i: number) => string) => Array.from({ length: count }, (_, i) => name(i))

  it('SPF: loops, and records that ask for hundreds of names', async () => {
    expect(await spfOf('v=spf1 include:evil.test -all')).toMatchObject({ result: 'permerror' })
    expect(await spfOf('v=spf1 redirect=evil.test')).toMatchObject({ result: 'permerror' })
    const two = { 'b.evil.test': { TXT: 'v=spf1 include:evil.test' } }
    expect(await spfOf('v=spf1 include:b.evil.test', two)).toMatchObject({ result: 'permerror' })
    const tree: Zones = Object.fromEntries(
      names(10, i => `m${i}.evil.test`).map(name => [name, { MX: names(10, i => `10 h${i}.${name}`) }]),
    )
    const mx = names(10, i => `mx:m${i}.evil.test`).join(' ')
    expect(await spfOf(`v=spf1 ${mx} -all`, tree)).toMatchObject({
      result: 'permerror',
      reason: expect.stringContaining('too many DNS lookups'),
    })
    const void3 = 'v=spf1 a:a.evil.test a:b.evil.test a:c.evil.test -all'
    expect(await spfOf(void3)).toMatchObject({ result: 'permerror' })
  })

  it('answers of 64 KB', async () => {
    expect(await spfOf(`v=spf1 ${'ip4:10.0.0.0/8 '.repeat(4_300)}-all`)).toMatchObject({ result: 'permerror' })
    expect(await spfOf(names(4_000, () => 'v=spf1 -all'))).toMatchObject({ result: 'permerror' })
    expect(await spfOf(['v=spf1 a -all', ...names(400, () => 'x'.repeat(160))])).toMatchObject({ result: 'fail' })
    const found = await judged(await sign(letter(), [anna]), {
      [anna.name]: { TXT: `v=DKIM1; p=${'A'.repeat(64_000)}` },
    })
    expect(found['mailauth/dkim'].signatures).toMatchObject([{ result: 'permerror' }])
    const dmarc = { '_dmarc.sender.test': { TXT: `v=DMARC1; p=reject; rua=${'mailto:a@b.test,'.repeat(4_000)}` } }
    expect((await judged(letter(), dmarc))['mailauth/dmarc']).toMatchObject({ result: 'none' })
    const ptr: Zones = { '192.0.2.1': { PTR: names(4_000, i => `p${i}.evil.test`) } }
    expect((await judged(letter(), ptr))['mailauth/iprev']).toMatchObject({ result: 'fail' })
  })

  it('CNAME chains and loops', async () => {
    const chain = Object.fromEntries(
      names(20, i => `c${i}.evil.test`).map((name, i) => [name, { CNAME: `c${i + 1}.evil.test` }]),
    )
    expect(await spfOf('v=spf1 a:c0.evil.test -all', chain)).toMatchObject({ result: 'temperror' })
    const loop: Zones = { [anna.name]: { CNAME: anna.name } }
    const found = await judged(await sign(letter(), [anna]), loop)
    expect(found['mailauth/dkim'].signatures).toMatchObject([{ result: 'temperror' }])
  })

  it('names of 250 octets and of 100 labels', async () => {
    const from = `a@${'a.'.repeat(100)}sender.test`
    expect((await judged(letter({ From: from })))['mailauth/dmarc']).toMatchObject({ result: 'none' })
    const longer = `a@${'a.'.repeat(4_000)}sender.test`
    expect((await judged(letter({ From: longer })))['mailauth/dmarc']).toBeDefined()
  })
})
