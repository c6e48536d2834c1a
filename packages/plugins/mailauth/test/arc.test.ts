import { describe, expect, it } from 'vitest'
import { checked } from './checked.ts'
import { letter, type Zones } from './given.ts'
import { seal, sign, signer } from './signed.ts'

const anna = signer('sender.test')
const list = signer('lists.test')
const other = signer('other.test', { kind: 2048 })
const zones: Zones = Object.fromEntries([anna, list, other].map(({ name, record }) => [name, { TXT: record }]))
const passed = 'lists.test; dmarc=pass header.from=sender.test'

const arcOf = async (message: string, job = {}) => (await checked(message, zones, job)).arc
const once = await seal(letter(), list, passed)
const twice = await seal(once, other, 'other.test; arc=pass', 'pass')

describe('chains', () => {
  it('are none, pass with one set or two, and name the newest seal', async () => {
    expect(await arcOf(letter())).toEqual({ result: 'none', instance: 0 })
    expect(await arcOf(once)).toEqual({ result: 'pass', instance: 1, sealer: 'lists.test' })
    expect(await arcOf(twice)).toEqual({ result: 'pass', instance: 2, sealer: 'other.test' })
  })

  it('bear what a forwarder above them adds', async () => {
    expect(await arcOf(`X-Scanned: yes\r\n${once}`)).toMatchObject({ result: 'pass' })
  })

  it('of 50 sets hold, and of 51 do not', async () => {
    let message = once
    for (let i = 2; i <= 50; i++) message = await seal(message, i % 2 === 0 ? other : list, 'x.test; arc=pass', 'pass')
    expect(await arcOf(message)).toMatchObject({ result: 'pass', instance: 50 })
    const more = message.replace(
      /^(?:ARC-[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*){3}/i,
      set => set.replaceAll(/\bi=50\b/g, 'i=51') + set,
    )
    expect(await arcOf(more)).toMatchObject({ result: 'fail' })
  })

  it.each<[string, (message: string) => string]>([
    ['a changed body', m => m.replace('Hello.', 'Hallo.')],
    ['a changed field', m => m.replace('Subject: hello', 'Subject: hallo')],
    ['a changed result of the first set', m => m.replace('dmarc=pass', 'dmarc=fail')],
    ['a changed seal of the first set', m => m.replace(/(ARC-Seal: i=1;[\s\S]*?b=)./, '$1A')],
    ['a missing set', m => m.replaceAll(/\bi=2\b/g, 'i=3')],
    ['a missing field', m => m.replace(/^ARC-Message-Signature: i=1;[\s\S]*?(?=^ARC-|^From)/m, '')],
    ['a field twice', m => m.replace(/^(ARC-Authentication-Results: i=1;[^\r\n]*\r\n)/m, '$1$1')],
    ['an instance of 0', m => m.replaceAll(/\bi=1\b/g, 'i=0')],
    ['no instance', m => m.replace(/^(ARC-Authentication-Results: )i=1;/m, '$1')],
    ['cv=none above another', m => m.replace(/cv=pass/, 'cv=none')],
    ['cv=pass in the first', m => m.replace(/cv=none/, 'cv=pass')],
    ['cv=fail in the newest', m => m.replace(/cv=pass/, 'cv=fail')],
    ['h= in a seal', m => m.replace(/^(ARC-Seal: i=2; )/m, '$1h=from; ')],
    ['a seal of an algorithm that is none', m => m.replace(/^(ARC-Seal: i=2; a=)rsa-sha256/m, '$1rsa-sha1')],
    ['a seal without domain', m => m.replace(/^(ARC-Seal: i=2;[\s\S]*?) d=other.test;/m, '$1')],
  ])('fail for %s', async (_what, change) => {
    const message = change(twice)
    expect(message).not.toBe(twice)
    expect(await arcOf(message)).toMatchObject({ result: 'fail' })
  })

  // RFC 8617 §5.2.1: no failure is temporary. Who seals is told, so that none becomes the chain's for good.
  it('fail where a key is not there or cannot be had, and are unsure where only DNS stood against them', async () => {
    const down = { fail: 'servfail' as const }
    const slow = { fail: 'timeout' as const }
    const judged = async (message: string, keys: Zones) => (await checked(message, { ...zones, ...keys })).arc
    expect(await judged(once, { [list.name]: {} })).not.toHaveProperty('unsure')
    expect(await judged(once, { [list.name]: down })).toMatchObject({ result: 'fail', instance: 1, unsure: true })
    expect(await judged(twice, { [list.name]: slow })).toMatchObject({ result: 'fail', instance: 2, unsure: true })
    expect(await judged(twice, { [other.name]: slow })).toMatchObject({ result: 'fail', instance: 2, unsure: true })
    for (const broken of [
      once.replace('Hello.', 'Hallo.'),
      twice.replace('Hello.', 'Hallo.'),
      twice.replace(/cv=pass/, 'cv=none'),
      twice.replace(/(ARC-Seal: i=2;[\s\S]*?b=)./, '$1A'),
    ]) {
      const found = await judged(broken, { [list.name]: down })
      expect(found).toMatchObject({ result: 'fail' })
      expect(found).not.toHaveProperty('unsure')
    }
  })
})

describe('trusted forwarders', () => {
  const trust = (...trustedForwarders: string[]) => ({ trustedForwarders })

  it('vouch for an author who passed DMARC there, as far as the seals are trusted', async () => {
    expect(await arcOf(once, trust('lists.test'))).toMatchObject({ vouched: 'lists.test' })
    expect(await arcOf(twice, trust('lists.test', 'other.test'))).toMatchObject({ vouched: 'lists.test' })
    expect(await arcOf(twice, trust('lists.test'))).not.toHaveProperty('vouched')
    expect(await arcOf(once, trust('other.test'))).not.toHaveProperty('vouched')
    expect(await arcOf(once)).not.toHaveProperty('vouched')
  })

  it('do not for another author, a failure, a broken chain, or in a comment', async () => {
    const said = async (results: string) => arcOf(await seal(letter(), list, results), trust('lists.test'))
    expect(await said('lists.test; dmarc=pass header.from=bank.test')).not.toHaveProperty('vouched')
    expect(await said('lists.test; dmarc=fail header.from=sender.test')).not.toHaveProperty('vouched')
    expect(await said('lists.test; spf=fail (; dmarc=pass header.from=sender.test)')).not.toHaveProperty('vouched')
    expect(await arcOf(once.replace('Hello.', 'Hallo.'), trust('lists.test'))).not.toHaveProperty('vouched')
  })

  it('may seal what was signed and then changed', async () => {
    const changed = (await sign(letter(), [anna])).replace('Hello.\r\n', 'Hello.\r\n-- \r\nThe list\r\n')
    const found = await checked(await seal(changed, list, passed), zones, trust('lists.test'))
    expect(found.dkim.signatures[0]).toMatchObject({ result: 'fail' })
    expect(found.arc).toMatchObject({ result: 'pass', vouched: 'lists.test' })
  })
})
