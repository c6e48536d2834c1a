import { describe, expect, it } from 'vitest'
import { checked } from './checked.ts'
import { dmarcOf, record } from './dmarc-of.ts'
import { letter, type Zones } from './given.ts'
import { signer } from './signed.ts'

const reject = record('sender.test', 'v=DMARC1; p=reject')

describe('alignment', () => {
  it('is by SPF, by DKIM, or both', async () => {
    expect(await dmarcOf('a@sender.test', reject)).toMatchObject({ result: 'fail', policy: 'reject', aligned: [] })
    expect(await dmarcOf('a@sender.test', reject, { by: ['sender.test'] })).toMatchObject({
      result: 'pass',
      aligned: ['dkim'],
    })
    expect(await dmarcOf('a@sender.test', reject, { spf: ['pass', 'sender.test'] })).toMatchObject({
      result: 'pass',
      aligned: ['spf'],
    })
    expect(await dmarcOf('a@sender.test', reject, { spf: ['softfail', 'sender.test'] })).toMatchObject({
      result: 'fail',
    })
    expect(await dmarcOf('a@sender.test', reject, { by: ['evil.test'], spf: ['pass', 'evil.test'] })).toMatchObject({
      result: 'fail',
    })
  })

  it('is relaxed unless the domain says strict', async () => {
    const below = { by: ['mail.sender.test'] }
    expect(await dmarcOf('a@sender.test', reject, below)).toMatchObject({ result: 'pass' })
    const strict = record('sender.test', 'v=DMARC1; p=reject; adkim=s; aspf=s')
    expect(await dmarcOf('a@sender.test', strict, below)).toMatchObject({ result: 'fail' })
    expect(await dmarcOf('a@sender.test', strict, { spf: ['pass', 'mail.sender.test'] })).toMatchObject({
      result: 'fail',
    })
    expect(await dmarcOf('a@sender.test', strict, { by: ['sender.test'] })).toMatchObject({ result: 'pass' })
  })

  it('takes the public suffix list for one organization where nobody published where it begins', async () => {
    const own = record('news.sender.test', 'v=DMARC1; p=reject')
    expect(await dmarcOf('a@news.sender.test', own, { by: ['sender.test'] })).toMatchObject({ result: 'pass' })
    const apart = record('news.sender.test', 'v=DMARC1; p=reject; psd=n')
    expect(await dmarcOf('a@news.sender.test', apart, { by: ['sender.test'] })).toMatchObject({ result: 'fail' })
  })

  it('never joins what a public suffix holds apart', async () => {
    const suffix = record('co.uk', 'v=DMARC1; p=none')
    const found = await dmarcOf('a@bank.co.uk', suffix, { by: ['evil.co.uk'], spf: ['pass', 'evil.co.uk'] })
    expect(found).toMatchObject({ result: 'fail', organization: 'bank.co.uk', publishedBy: 'co.uk' })
  })
})

describe('policies', () => {
  const policyOf = async (from: string, zones: Zones) => {
    const { result, policy } = await dmarcOf(from, zones)
    return policy === undefined ? result : `${result} ${policy}`
  }

  it('are found at the domain, else at the organization', async () => {
    expect(await policyOf('a@x.y.sender.test', reject)).toBe('fail reject')
    const both = { ...reject, ...record('x.sender.test', 'v=DMARC1; p=none') }
    expect(await policyOf('a@x.sender.test', both)).toBe('fail none')
    expect(await policyOf('a@sender.test', {})).toBe('none')
    expect(await policyOf('a@other.test', reject)).toBe('none')
  })

  it('have sp for what is below, and np for what is not there', async () => {
    const zones: Zones = {
      ...record('sender.test', 'v=DMARC1; p=none; sp=quarantine; np=reject'),
      'there.sender.test': { A: '192.0.2.1' },
    }
    expect(await policyOf('a@sender.test', zones)).toBe('fail none')
    expect(await policyOf('a@there.sender.test', zones)).toBe('fail quarantine')
    expect(await policyOf('a@gone.sender.test', zones)).toBe('fail reject')
  })

  it('are one step milder in a test: t=y, or pct=0', async () => {
    expect(await policyOf('a@sender.test', record('sender.test', 'v=DMARC1; p=reject; t=y'))).toBe('fail quarantine')
    expect(await policyOf('a@sender.test', record('sender.test', 'v=DMARC1; p=reject; pct=0'))).toBe('fail quarantine')
    expect(await policyOf('a@sender.test', record('sender.test', 'v=DMARC1; p=quarantine; pct=0'))).toBe('fail none')
    expect(await policyOf('a@sender.test', record('sender.test', 'v=DMARC1; p=reject; pct=100'))).toBe('fail reject')
  })

  it('that are none count as none', async () => {
    expect(await policyOf('a@sender.test', record('sender.test', 'v=DMARC2; p=reject'))).toBe('none')
    expect(await policyOf('a@sender.test', record('sender.test', 'p=reject; v=DMARC1'))).toBe('none')
    expect(await policyOf('a@sender.test', record('sender.test', 'v=DMARC1; p=destroy'))).toBe('none')
    const two: Zones = { '_dmarc.sender.test': { TXT: ['v=DMARC1; p=reject', 'v=DMARC1; p=none'] } }
    expect(await policyOf('a@sender.test', two)).toBe('none')
    const among: Zones = { '_dmarc.sender.test': { TXT: ['something else', 'v=DMARC1; p=reject'] } }
    expect(await policyOf('a@sender.test', among)).toBe('fail reject')
  })
})

describe('authors', () => {
  it('are one domain, or nobody can say', async () => {
    for (const from of [
      'a@sender.test, b@bank.test',
      'nobody',
      '<>',
      'a@[192.0.2.1] b@sender.test',
      '<b@bank.test> <a@sender.test>',
      'Anna <a@sender.test> Bank <b@bank.test>',
      'Anna <a@sender.test>\r\n <b@bank.test>',
      '"a@sender.test" <@>',
    ]) {
      expect(await dmarcOf(from, reject)).toMatchObject({ result: expect.stringMatching(/permerror|none/) })
    }
    expect(await dmarcOf('a@sender.test, b@sender.test', reject)).toMatchObject({
      result: 'fail',
      domain: 'sender.test',
    })
    const twice = letter().replace('To:', 'From: b@bank.test\r\nTo:')
    expect((await checked(twice, reject)).dmarc).toMatchObject({ result: 'permerror', reason: 'multiple-from-fields' })
    expect((await checked(letter().replace(/^From.*\r\n/, ''), reject)).dmarc).toMatchObject({ result: 'permerror' })
  })

  it('are found behind display names, comments, groups and U-labels', async () => {
    const fail = { result: 'fail', domain: 'sender.test' }
    expect(await dmarcOf('"b@bank.test" <a@sender.test>', reject)).toMatchObject(fail)
    expect(await dmarcOf('a@sender.test (b@bank.test)', reject)).toMatchObject(fail)
    expect(await dmarcOf('"<b@bank.test>" (<b@bank.test> (<c@bank.test>)) <a@sender.test>', reject)).toMatchObject(fail)
    expect(await dmarcOf('Anna <@relay.test,@bank.test:a@sender.test>', reject)).toMatchObject(fail)
    expect(await dmarcOf('Anna <a@sender.test>, Bob <b@sender.test>', reject)).toMatchObject(fail)
    expect(await dmarcOf('Friends: a@sender.test;', reject)).toMatchObject(fail)
    expect(await dmarcOf('A@SENDER.Test', reject)).toMatchObject(fail)
    expect(await dmarcOf('=?utf-8?q?b=40bank=2Etest?= <a@sender.test>', reject)).toMatchObject(fail)
    const german = record('xn--bcher-kva.test', 'v=DMARC1; p=reject')
    expect(await dmarcOf('a@bücher.test', german)).toMatchObject({ result: 'fail', domain: 'xn--bcher-kva.test' })
  })
})

describe('DNS trouble', () => {
  it('is temporary where another answer could have been a pass', async () => {
    const down: Zones = { '_dmarc.sender.test': { fail: 'servfail' } }
    expect(await dmarcOf('a@sender.test', down)).toMatchObject({ result: 'temperror' })
    const s = signer('sender.test')
    const noKey: Zones = { ...reject, [s.name]: { fail: 'timeout' } }
    expect(await dmarcOf('a@sender.test', noKey, { by: ['sender.test'] })).toMatchObject({ result: 'temperror' })
    expect(await dmarcOf('a@sender.test', reject, { spf: ['temperror', 'sender.test'] })).toMatchObject({
      result: 'temperror',
    })
    expect(await dmarcOf('a@sender.test', reject, { spf: ['temperror', 'evil.test'] })).toMatchObject({
      result: 'fail',
    })
    expect(
      await dmarcOf('a@sender.test', reject, { by: ['sender.test'], spf: ['temperror', 'sender.test'] }),
    ).toMatchObject({ result: 'pass' })
  })
})
