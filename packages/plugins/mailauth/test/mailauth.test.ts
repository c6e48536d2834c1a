import { definePlugin } from '@posthorn/core'
import mailauth from '@posthorn/plugin-mailauth'
import { authResults } from '@posthorn/plugin-mailauth/keys'
import { conformance, fakeDns, harness } from '@posthorn/testing'
import { afterAll, describe, expect, it } from 'vitest'
import * as z from 'zod'
import { everybody, given, host, letter, start, type Zones } from './given.ts'
import { seal, sign, signer } from './signed.ts'

for (const check of conformance(mailauth, { options: { workers: 1 }, services: [fakeDns(host).service] })) {
  it(check.name, check.run)
}

const anna = signer('sender.test')
const list = signer('lists.test')
const zones: Zones = {
  ...host,
  [anna.name]: { TXT: anna.record },
  [list.name]: { TXT: list.record },
  '_dmarc.sender.test': { TXT: 'v=DMARC1; p=reject' },
  '198.51.100.7': { PTR: 'host.evil.test' },
  'host.evil.test': { A: '198.51.100.9' },
}
const h = await start(zones)
afterAll(() => h[Symbol.asyncDispose]())

/** A stranger who says he is Anna. */
const stranger = { ip: '198.51.100.7', helo: 'host.evil.test', from: 'x@evil.test' }
const unfolded = (head: string) => head.replace(/\r\n[ \t]+/g, ' ')
const fieldsOf = (text: string) =>
  [...unfolded(text).matchAll(/^Authentication-Results: (.*)\r$/gm)].map(([, value]) => value)

describe('mail that is what it says', () => {
  it('passes everything, and says so in one field', async () => {
    await h.with(zones)
    const { replies, state, head, junk, trace } = await h.message(await sign(letter(), [anna]), given)
    expect(replies[0]?.code).toBe(250)
    expect(junk).toBeUndefined()
    expect(trace.filter(({ verdict }) => verdict === 'error')).toEqual([])
    expect(state).toMatchObject({
      'mailauth/iprev': { result: 'pass', name: 'mail.sender.test', ip: '192.0.2.1' },
      'mailauth/spf': { result: 'pass', domain: 'sender.test', identity: 'mailfrom', helo: { result: 'pass' } },
      'mailauth/dkim': { more: 0, signatures: [{ result: 'pass', domain: 'sender.test', selector: 's1' }] },
      'mailauth/dmarc': { result: 'pass', domain: 'sender.test', policy: 'reject', aligned: ['spf', 'dkim'] },
      'mailauth/arc': { result: 'none', instance: 0 },
    })
    const [field, ...more] = fieldsOf(head)
    expect(more).toEqual([])
    expect(field?.replace(/header\.b=\S+;/, 'header.b=…;')).toBe(
      'mx.test; iprev=pass (mail.sender.test) policy.iprev=192.0.2.1; ' +
        'spf=pass (domain of anna@sender.test designates 192.0.2.1 as permitted sender) smtp.mailfrom=anna@sender.test; ' +
        'spf=pass smtp.helo=mail.sender.test; ' +
        'dkim=pass header.d=sender.test header.i=@sender.test header.s=s1 header.a=ed25519-sha256 header.b=…; ' +
        'dmarc=pass (p=reject) header.from=sender.test policy.dmarc=reject; arc=none smtp.remote-ip=192.0.2.1',
    )
  })

  it('is read once, chunk by chunk, with the client waiting', async () => {
    await h.with(zones)
    const message = Buffer.from(await sign(letter({}, 'A line of text.\r\n'.repeat(60_000)), [anna]))
    const chunks = []
    for (let at = 0; at < message.length; at += 65_536) chunks.push(message.subarray(at, at + 65_536))
    const { state } = await h.message(
      chunks.map(chunk => Uint8Array.from(chunk)),
      given,
    )
    expect(state).toMatchObject({ 'mailauth/dkim': { signatures: [{ result: 'pass' }] } })
  })

  it('of the null reverse-path is known by HELO', async () => {
    await h.with(zones)
    const { state, head } = await h.message(letter(), { ...given, from: '' })
    expect(state).toMatchObject({
      'mailauth/spf': { result: 'pass', identity: 'helo', domain: 'mail.sender.test' },
      'mailauth/dmarc': { result: 'pass', aligned: ['spf'] },
    })
    expect(fieldsOf(head)[0]).toContain('smtp.helo=mail.sender.test')
    expect(fieldsOf(head)[0]).not.toContain('smtp.mailfrom')
  })

  it('asks few questions, each once', async () => {
    await h.with(zones)
    const before = h.dns.queries.length
    await h.message(await sign(letter(), [anna, anna]), given)
    const asked = h.dns.queries.slice(before).map(({ name, type }) => `${type} ${name}`)
    expect(new Set(asked).size).toBe(asked.length)
    expect(asked.length).toBeLessThan(10)
  })
})

describe('the one field', () => {
  it('replaces what others say in our name, and keeps what they say in theirs', async () => {
    await h.with(zones, { authservId: 'mx.example.test' })
    const forged = 'Authentication-Results: mx.example.test; dmarc=pass header.from=bank.test\r\n'
    const odd = 'Authentication-Results: (x) "MX.Example.TEST" 1; dmarc=pass header.from=bank.test\r\n'
    const theirs = 'Authentication-Results: mx.sender.test; auth=pass smtp.auth=anna\r\n'
    const result = await h.message(forged + theirs + odd + letter(), given)
    const fields = fieldsOf(await result.text())
    expect(fields).toHaveLength(2)
    expect(fields[0]).toMatch(/^mx\.example\.test; iprev=/)
    expect(fields[1]).toBe('mx.sender.test; auth=pass smtp.auth=anna')
  })

  it('says of ARC who handed the message in, and that the one message signature holds', async () => {
    await h.with(zones, { trustedForwarders: ['lists.test'] })
    const arcOf = async (eml: string) => {
      const { head } = await h.message(eml, given)
      return fieldsOf(head)[0]?.replace(/.*; (?=arc=)/, '')
    }
    const once = await seal(letter(), list, 'lists.test; dmarc=pass header.from=sender.test')
    const twice = await seal(once, list, 'lists.test; none', 'pass')
    expect(await arcOf(once)).toBe(
      'arc=pass (i=1, lists.test, trusted: lists.test) smtp.remote-ip=192.0.2.1 header.oldest-pass=0',
    )
    expect(await arcOf(twice)).toBe('arc=pass (i=2, lists.test, trusted: lists.test) smtp.remote-ip=192.0.2.1')
    expect(await arcOf(once.replace('Hello', 'Hallo'))).toMatch(/^arc=fail \(i=1, .*\) smtp\.remote-ip=192\.0\.2\.1$/)
  })

  it('has auth= for our own users, whom nothing else concerns', async () => {
    await h.with(zones)
    const before = h.dns.count()
    const { head, state } = await h.message(letter(), { ...stranger, role: 'submission', user: 'anna' })
    expect(fieldsOf(head)).toEqual(['mx.test; auth=pass smtp.auth=anna'])
    expect(state).toEqual({})
    expect(h.dns.count()).toBe(before)
    await h.with(zones, { user: false })
    const hidden = await h.message(letter(), { ...stranger, role: 'submission', user: 'anna' })
    expect(fieldsOf(hidden.head)).toEqual(['mx.test; auth=pass'])
  })

  it('is one of ASCII, and one line of header, whatever a stranger is called', async () => {
    await h.with({ ...zones, 'bücher.test': { TXT: 'v=spf1 -all exp=e.test' } })
    const params = { smtputf8: true }
    const from = 'jürgen@bücher.test'
    const eml = letter({ From: '"x\ty; dmarc=pass" <"a; b"@bücher.test>' })
    const said = await h.message(eml, { ...stranger, from, params, helo: 'evil;dkim=pass' })
    expect(said.replies[0]?.code).toBe(250)
    expect(fieldsOf(said.head)).toHaveLength(1)
    const [field = ''] = fieldsOf(said.head)
    expect(field).toContain('smtp.mailfrom=xn--bcher-kva.test')
    expect(field).not.toMatch(/; ?dkim=pass|; ?dmarc=pass/)
  })
})

describe('policy', () => {
  const replyTo = async (options: object, eml = letter(), who: object = stranger, zone: Zones = zones) => {
    await h.with(zone, options as never)
    const { replies, junk } = await h.message(eml, who)
    const [reply] = replies
    return junk === undefined ? `${reply?.code} ${reply?.enhanced}` : 'junk'
  }

  it('refuses what the author’s domain wants refused, and says whose wish it is', async () => {
    await h.with(zones)
    const { replies } = await h.message(letter(), stranger)
    expect(replies).toMatchObject([{ code: 550, enhanced: '5.7.1' }])
    expect(replies[0]?.lines.join(' ')).toContain('DMARC policy of sender.test')
  })

  it('puts into Junk what it wants quarantined', async () => {
    const zone = { ...zones, '_dmarc.sender.test': { TXT: 'v=DMARC1; p=quarantine' } }
    expect(await replyTo({}, letter(), stranger, zone)).toBe('junk')
    expect(await replyTo({ dmarc: { quarantine: 'none' } }, letter(), stranger, zone)).toBe('250 2.0.0')
    expect(await replyTo({ dmarc: { quarantine: 'reject' } }, letter(), stranger, zone)).toBe('550 5.7.1')
  })

  it('is the operator’s: by result, by sender, for lists', async () => {
    expect(await replyTo({ dmarc: { reject: 'junk' } })).toBe('junk')
    expect(await replyTo({ dmarc: { reject: 'none' } })).toBe('250 2.0.0')
    const override = (sender: string, fail: string) => ({ overrides: [{ sender, fail }] })
    expect(await replyTo(override('sender.test', 'none'))).toBe('250 2.0.0')
    expect(await replyTo(override('anna@sender.test', 'junk'))).toBe('junk')
    expect(await replyTo(override('bob@sender.test', 'junk'))).toBe('550 5.7.1')
    expect(await replyTo(override('.sender.test', 'junk'))).toBe('550 5.7.1')
    expect(await replyTo({}, letter({ 'List-Id': '<friends.lists.test>' }))).toBe('junk')
    expect(await replyTo({ dmarc: { lists: 'reject' } }, letter({ 'List-Id': '<friends.lists.test>' }))).toBe(
      '550 5.7.1',
    )
  })

  it('believes a trusted forwarder', async () => {
    const forwarded = await seal(letter(), list, 'lists.test; dmarc=pass header.from=sender.test')
    expect(await replyTo({}, forwarded)).toBe('550 5.7.1')
    expect(await replyTo({ trustedForwarders: ['lists.test'] }, forwarded)).toBe('250 2.0.0')
    expect(await replyTo({ trustedForwarders: ['lists.test'] }, forwarded.replace('Hello', 'Hallo'))).toBe('550 5.7.1')
  })

  it('never refuses for SPF alone, unless the operator says so', async () => {
    const zone: Zones = { 'evil.test': { TXT: 'v=spf1 -all' } }
    expect(await replyTo({}, letter(), stranger, zone)).toBe('250 2.0.0')
    expect(await replyTo({ spf: { fail: 'junk' } }, letter(), stranger, zone)).toBe('junk')
    expect(await replyTo({ spf: { fail: 'reject' } }, letter(), stranger, zone)).toBe('550 5.7.23')
    const signed = await sign(letter(), [anna])
    expect(await replyTo({ spf: { fail: 'reject' } }, signed, stranger, { ...zones, ...zone })).toBe('250 2.0.0')
  })

  it('accepts in DNS trouble, unless the operator says otherwise', async () => {
    const down: Zones = { ...zones, '_dmarc.sender.test': { fail: 'servfail' } }
    expect(await replyTo({}, letter(), stranger, down)).toBe('250 2.0.0')
    expect(await replyTo({ temperror: 'defer' }, letter(), stranger, down)).toBe('451 4.7.0')
    expect(await replyTo({ temperror: 'junk' }, letter(), stranger, down)).toBe('junk')
  })

  it('knows that mail without one author is none of anybody', async () => {
    const two = letter().replace('To:', 'From: b@bank.test\r\nTo:')
    expect(await replyTo({}, two)).toBe('junk')
    expect(await replyTo({ invalidFrom: 'reject' }, two)).toBe('550 5.7.1')
    expect(await replyTo({ invalidFrom: 'none' }, two)).toBe('250 2.0.0')
  })

  it('refuses options that mean nothing', async () => {
    await expect(start({}, { overrides: [{ sender: '@', fail: 'junk' }] })).rejects.toThrow(/anna@example\.org/)
    await expect(start({}, { trustedForwarders: ['not a domain'] })).rejects.toThrow(/domain name/)
    await expect(start({}, { authservId: 'mx; dkim=pass' })).rejects.toThrow(/mx\.example\.org/)
  })
})

describe('listeners', () => {
  it('of LMTP are left alone, unless the operator says otherwise', async () => {
    await h.with(zones)
    const quiet = await h.message(letter(), { ...stranger, role: 'lmtp' })
    expect(quiet.replies[0]?.code).toBe(250)
    expect(fieldsOf(quiet.head)).toEqual([])
    await using other = await harness([everybody, mailauth], {
      options: [{}, { workers: 1 }],
      services: [fakeDns(zones).service],
      entries: [undefined, { on: ['mx', 'lmtp'] }],
    })
    const judged = await other.message(letter(), { ...stranger, role: 'lmtp' })
    expect(judged.replies).toMatchObject([{ code: 550, enhanced: '5.7.1' }])
  })
})

describe('other plugins', () => {
  const filter = definePlugin({
    name: 'filter',
    schema: z.strictObject({}),
    setup: () => {
      const own = authResults('filter')
      return {
        mail: {
          writes: [own],
          handler: tx => {
            tx.state.set(own, [{ method: 'x-filter', result: 'pass', properties: [['policy.score', '-1.2']] }])
          },
        },
      }
    },
  })

  it('speak in the field where the operator lets them', async () => {
    const dns = fakeDns(zones)
    for (const include of [[], ['filter']]) {
      await using own = await harness([everybody, filter, mailauth], {
        options: [{}, {}, { workers: 1, include }],
        services: [dns.service],
      })
      const [field] = fieldsOf((await own.message(letter(), given)).head)
      if (include.length > 0) expect(field).toMatch(/; x-filter=pass policy\.score=-1\.2$/)
      else expect(field).not.toContain('x-filter')
    }
  })
})

describe('iprev', () => {
  const iprevOf = async (zone: Zones) => {
    await h.with(zone)
    return (await h.message(letter(), given)).state['mailauth/iprev']
  }
  it.each<[string, Zones]>([
    ['pass', host],
    ['fail', { '192.0.2.1': { PTR: 'mail.sender.test' }, 'mail.sender.test': { A: '192.0.2.9' } }],
    ['permerror', {}],
    ['temperror', { '192.0.2.1': { fail: 'servfail' } }],
    ['temperror', { '192.0.2.1': { PTR: 'mail.sender.test' }, 'mail.sender.test': { fail: 'timeout' } }],
  ])('is %s', async (result, zone) => {
    expect(await iprevOf(zone)).toMatchObject({ result })
  })
})

describe('BIMI', () => {
  const bimi: Zones = {
    ...zones,
    'default._bimi.sender.test': { TXT: 'v=BIMI1; l=https://sender.test/logo.svg; a=https://sender.test/vmc.pem' },
  }
  it('finds the logo of who passes, and takes away what was claimed', async () => {
    await h.with(bimi, { bimi: true })
    const claimed = `BIMI-Indicator: PHN2Zz4=\r\n${await sign(letter(), [anna])}`
    const result = await h.message(claimed, given)
    expect(result.state).toMatchObject({
      'mailauth/bimi': { result: 'pass', domain: 'sender.test', location: 'https://sender.test/logo.svg' },
    })
    expect(await result.text()).not.toContain('BIMI-Indicator')
    expect(fieldsOf(result.head)[0]).toContain('bimi=pass header.d=sender.test header.selector=default')
  })
})
