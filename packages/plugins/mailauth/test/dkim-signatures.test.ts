// RFC 6376 §3.4, §3.5 and §6.1, rule by rule: signatures of our own making that are odd or wrong in one place, and signed
// as they stand.
import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { withDkim } from './by-hand.ts'
import { checked, dkimResults } from './checked.ts'
import { letter, type Zones } from './given.ts'
import { signer } from './signed.ts'

const anna = signer('sender.test')
const rsa = signer('rsa.test', { kind: 2048 })
const zones = Object.fromEntries([anna, rsa].map(({ name, record }) => [name, { TXT: record }]))
const subdomainsMayNot = { [anna.name]: { TXT: `${anna.record}; t=y:s` } }

const sha256 = (text: string) => createHash('sha256').update(text).digest('base64')

type Options = Parameters<typeof withDkim>[2]
const signed = (options: Options = {}, eml = letter()) => withDkim(eml, anna, options)
const swap = (from: string | RegExp, to: string) => signed({ edit: text => text.replace(from, to) })
const more = (tag: string) => swap('; b=', `; ${tag}; b=`)
const fields = (...headers: readonly string[]) => signed({ headers })
/** Changed after it was signed. */
const later = (from: string | RegExp, to: string) => signed().replace(from, to)

const now = Date.UTC(2026, 0, 5) / 1_000
const syntax = 'neutral (signature syntax error)'
const missing = 'neutral (signature missing required tag)'

describe('signatures that hold', () => {
  it.each<[string, string, Zones?]>([
    ['plain', signed()],
    ['with RSA', withDkim(letter(), rsa)],
    ['without c=: simple/simple', signed({ c: 'simple/simple', edit: text => text.replace(/ c=[^;]*;/, '') })],
    ['relaxed: the body is simple', signed({ c: 'relaxed' })],
    ['with names of methods in capitals', swap('relaxed/relaxed', 'RELAXED/Relaxed')],
    ['with the algorithm in capitals', swap('a=ed25519-sha256', 'a=ED25519-SHA256')],
    ['with v= at the end', swap(/v=1; (.*)b=$/, '$1v=1; b=')],
    ['with an unknown tag that looks like much', more('zz=what is = this "(')],
    ['with B=, which is another tag', more('B=x')],
    ['with a final semicolon', swap(/b=$/, 'b=;')],
    ['with white space everywhere', swap('d=sender.test', '\r\n\t d \t=\r\n  sender.test ')],
    ['with folds in bh=', swap(/ bh=(.{10})/, ' bh=$1 \r\n  ')],
    ['with a fold in b= that was made on the way', later(/( b=.{20})/, '$1\r\n\t ')],
    ['with z=', more('z=From:a=40b|Subject:b=20')],
    ['by q=dns/txt', more('q=dns/txt')],
    ['by another method or dns/txt', more('q=carrier/pigeon:dns/txt')],
    ['by a domain in capitals', swap('d=sender', 'd=Sender')],
    ['of the domain itself', more('i=@sender.test')],
    ['of somebody below the domain', more('i=anna@mail.sender.test')],
    ['of somebody in quoted-printable', more('i=an=6E=61@sender.test')],
    ['of the domain in capitals', more('i=@SENDER.Test')],
    ['of the domain itself, where the key wants that (t=s)', more('i=@sender.test'), subdomainsMayNot],
    ['without i=, where the key wants the domain itself', signed(), subdomainsMayNot],
    ['of no time', swap(/ t=\d+;/, '')],
    ['of a time to come', swap(/t=\d+/, 't=1900000000')],
    ['until a time to come', more('x=1900000000')],
    ['until now', more(`x=${now}`)],
    ['over as much of the body as there is', signed({ l: 8 })],
    ['over a part of the body', signed({ l: 3 })],
    ['over none of the body', signed({ l: 0 })],
    ['over fields that are not there', fields('from', 'from', 'subject', 'subject', 'x-none')],
    ['over names with white space and capitals', fields('from ', '\r\n\t Subject', ' TO')],
    ['that another one was added above', `Subject: first\r\n${signed()}`],
  ])('%s', async (_what, message, keys = zones) => {
    expect(await dkimResults(message, { ...zones, ...keys })).toEqual(['pass'])
  })

  it('over another signature', async () => {
    expect(await dkimResults(withDkim(signed(), anna, { headers: ['from', 'dkim-signature'] }), zones)).toEqual([
      'pass',
      'pass',
    ])
  })

  it('beside others that do not, each for itself', async () => {
    const other = withDkim(signed(), anna, { edit: text => text.replace('d=sender', 'd=other') })
    expect(await dkimResults(withDkim(other, rsa), zones)).toEqual(['pass', 'permerror (no key)', 'pass'])
  })

  // RFC 8616 §3: U-labels in the field, A-labels in DNS.
  it('by a domain and selector in U-labels, that is named in A-labels', async () => {
    const utf8 = (text: string) => Buffer.from(text).toString('latin1')
    const message = signed({
      edit: text => text.replace('d=sender.test; s=s1', utf8('i=anna@bücher.test; d=bücher.test; s=größe')),
    })
    const name = 'xn--gre-6ka8i._domainkey.xn--bcher-kva.test'
    const { dkim } = await checked(Buffer.from(message, 'latin1'), { [name]: { TXT: anna.record } })
    expect(dkim.signatures).toMatchObject([
      { result: 'pass', domain: 'xn--bcher-kva.test', identity: 'anna@xn--bcher-kva.test' },
    ])
  })
})

describe('signatures that do not hold', () => {
  it.each<[result: string, string, string, Zones?]>([
    ['fail (body hash did not verify)', 'another body', later('Hello.', 'Goodbye.')],
    ['fail (bad signature)', 'another subject', later('Subject: hello', 'Subject: goodbye')],
    ['fail (bad signature)', 'a second From where From is signed twice', `From: x@y.test\r\n${fields('from', 'from')}`],
    [
      'fail (bad signature)',
      'a field that was not there and is signed as that',
      `X-No: 1\r\n${fields('from', 'x-no')}`,
    ],
    // RFC 6376 §6.1.1
    ['neutral (incompatible version)', 'v=1.0', swap('v=1', 'v=1.0')],
    ['neutral (incompatible version)', 'v=01', swap('v=1', 'v=01')],
    [missing, 'no v=', swap('v=1; ', '')],
    [missing, 'no b=', signed().replace(/; b=.*/, '')],
    [missing, 'no s=', swap(/ s=[^;]*;/, '')],
    [missing, 'an empty s=', swap(/ s=[^;]*;/, ' s=;')],
    [missing, 'no d=', swap(/ d=[^;]*;/, '')],
    [missing, 'D= for d=', swap('d=sender', 'D=sender')],
    [missing, 'no h=', swap(/ h=[^;]*;/, '')],
    [missing, 'no bh=', swap(/ bh=[^;]*;/, '')],
    ['neutral (unknown algorithm)', 'no a=', swap(/ a=[^;]*;/, '')],
    ['neutral (unknown algorithm)', 'another algorithm', swap('ed25519-sha256', 'ed25519-sha512')],
    ['neutral (unknown canonicalization)', 'another canonicalization', swap('c=relaxed', 'c=loose')],
    ['neutral (unsupported query method)', 'another query method', more('q=carrier/pigeon')],
    ['permerror (From field not signed)', 'From not signed', fields('to', 'subject')],
    ['neutral (domain mismatch)', 'i= of another domain', more('i=@other.test')],
    ['neutral (domain mismatch)', 'i= of a domain that ends alike', more('i=@evilsender.test')],
    ['neutral (domain mismatch)', 'i= below the domain, with t=s', more('i=@mail.sender.test'), subdomainsMayNot],
    ['neutral (expired)', 'expired', more('x=1767500001')],
    ['neutral (invalid expiration)', 'expires as it is made', more('x=1767500000')],
    ['neutral (invalid expiration)', 'expires before it is made', more('x=1767400000')],
    ['neutral (body shorter than signed)', 'l= of more than there is', signed({ l: 9 })],
    ['neutral (body shorter than signed)', 'l= of 76 digits', more(`l=${'9'.repeat(76)}`)],
    [syntax, 'a tag twice', more('t=1767500000')],
    [syntax, 'an unknown tag twice', more('y=1; y=2')],
    [syntax, 'an empty tag', swap('; b=', ';; b=')],
    [syntax, 'a semicolon to begin with', swap('v=1', ';v=1')],
    [syntax, 'a tag without a value sign', more('junk')],
    [syntax, 'a tag with a name that is none', more('1z=x')],
    [syntax, 'an empty c=', swap(/ c=[^;]*;/, ' c=;')],
    [syntax, 'a c= of three', swap('c=relaxed', 'c=relaxed/relaxed')],
    [syntax, 'an empty b=', later(/ b=.*/, ' b=')],
    [syntax, 'a b= that is no base 64', later(/ b=./, ' b=*')],
    [syntax, 'a b= with something behind it', later(/ b=(.*)/, ' b=$1*')],
    [syntax, 'an empty bh=', swap(/bh=[^;]*/, 'bh=')],
    [syntax, 'an empty h=', swap(/ h=[^;]*;/, ' h=;')],
    [syntax, 'a domain of one label', swap('d=sender.test', 'd=test')],
    [syntax, 'i= without an @', more('i=sender.test')],
    [syntax, 'an empty i=', more('i=')],
    [syntax, 't= that is no time', swap(/t=\d+/, 't=soon')],
    [syntax, 'an empty t=', swap(/t=\d+/, 't=')],
    [syntax, 't= of 13 digits', swap(/t=\d+/, 't=1767500000000')],
    [syntax, 'x= that is no time', more('x=never')],
    [syntax, 'l= that is no number', more('l=all')],
    [syntax, 'l= below zero', more('l=-1')],
    [syntax, 'an empty l=', more('l=')],
  ])('%s: %s', async (result, _what, message, keys = zones) => {
    expect(await dkimResults(message, { ...zones, ...keys })).toEqual([result])
  })
})

describe('key records (RFC 6376 §3.6.1, §6.1.2)', () => {
  const { record } = anna
  const p = record.slice(record.indexOf('p='))
  const k = 'v=DKIM1; k=ed25519'
  it.each<[result: string, string, string | string[]]>([
    ['pass', 'no v=', `k=ed25519; ${p}`],
    ['pass', 'white space in the tags', record.replace('v=DKIM1', 'v = DKIM1 ')],
    ['pass', 'white space in p=', record.replace(/p=(.{10})/, 'p=$1 \t ')],
    ['pass', 'a final semicolon', `${record};`],
    ['pass', 'notes', `${record}; n=notes "quoted" (yes)`],
    ['pass', 'g=, which nobody has to heed any more', `${record}; g=nobody`],
    ['pass', 'an unknown tag', `${record}; zz=1`],
    ['pass', 's=email', `${record}; s=email`],
    ['pass', 's=*', `${record}; s=*`],
    ['pass', 's=email among others', `${record}; s=tlsrpt : email`],
    ['pass', 'h=sha256', `${record}; h=sha256`],
    ['pass', 'h=sha256 among others', `${record}; h=sha1:sha999:sha256`],
    ['pass', 'unknown flags', `${record}; t=q:z`],
    ['pass', 'no flags', `${record}; t=`],
    ['pass', 'other records beside it', ['v=spf1 -all', record, 'x=1']],
    ['permerror (unknown key version)', 'v= that is not first', `k=ed25519; v=DKIM1; ${p}`],
    ['permerror (unknown key version)', 'v=dkim1', record.replace('DKIM1', 'dkim1')],
    ['permerror (unknown key version)', 'an empty v=', record.replace('DKIM1', '')],
    ['permerror (unknown key type)', 'another k=', record.replace('k=ed25519', 'k=dsa')],
    ['permerror (unknown key type)', 'no k= for Ed25519: it means RSA', `v=DKIM1; ${p}`],
    ['permerror (key not for email)', 's= of something else', `${record}; s=tlsrpt`],
    ['permerror (inappropriate hash algorithm)', 'h=sha1', `${record}; h=sha1`],
    ['permerror (invalid public key)', 'p= twice', `${record}; ${p}`],
    ['permerror (invalid public key)', 'an empty tag', record.replace(';', ';;')],
    ['permerror (invalid public key)', 'a revoked key', `${k}; p=`],
    ['permerror (invalid public key)', 'a revoked key beside another record', ['v=spf1 -all', 'v=DKIM1; p=']],
    ['permerror (invalid public key)', 'no p=', k],
    ['permerror (invalid public key)', 'p= that is no base 64', `${k}; p=***`],
    ['permerror (invalid public key)', 'nothing', ''],
  ])('%s: %s', async (result, _what, TXT) => {
    expect(await dkimResults(signed(), { [anna.name]: { TXT } })).toEqual([result])
  })
})

describe('canonical forms', () => {
  const bodies = {
    'no octet': '',
    'an empty line': '\r\n',
    'empty lines': '\r\n\r\n\r\n',
    'white space': ' \r\n',
    'white space at the ends of lines': 'a \t b \t\r\n\t\r\n',
    'no line end': 'abc',
    'white space and no line end': 'abc  ',
    'empty lines at the end': 'abc\r\n\r\n\r\n',
    'a lone dot': '.\r\n..\r\n',
  }
  it.each(Object.entries(bodies))('of a body that is %s', async (_what, body) => {
    for (const c of ['simple/simple', 'simple/relaxed', 'relaxed/simple', 'relaxed/relaxed']) {
      expect(await dkimResults(signed({ c }, letter({}, body)), zones)).toEqual(['pass'])
    }
  })

  it('of fields: white space before the colon, folds, and at the end', async () => {
    const eml = letter({ 'X-A': 'X', 'X-B ': ' Y\t\r\n\tZ  ' })
    for (const c of ['simple', 'relaxed']) {
      const message = signed({ c, headers: ['from', 'x-a', 'x-b'] }, eml)
      expect(await dkimResults(message, zones)).toEqual(['pass'])
      const changed = await dkimResults(message.replace('Y\t', 'Y'), zones)
      expect(changed).toEqual([c === 'simple' ? 'fail (bad signature)' : 'pass'])
      expect(await dkimResults(message.replace('Z  ', 'z  '), zones)).toEqual(['fail (bad signature)'])
    }
  })

  // RFC 6376 §3.4.3, §3.4.4 and §3.4.5: hashes that no code here made.
  it.each([
    ['simple', '', 'frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY='],
    ['relaxed', '', '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='],
    ['simple', ' C \r\nD \t E\r\n\r\n\r\n', sha256(' C \r\nD \t E\r\n')],
    ['relaxed', ' C \r\nD \t E\r\n\r\n\r\n', sha256(' C\r\nD E\r\n')],
  ])('are those of the RFC: %s, %j', async (c, body, bh) => {
    const edit = (text: string) => text.replace(/bh=[^;]*/, `bh=${bh}`)
    expect(await dkimResults(signed({ c: `relaxed/${c}`, edit }, letter({}, body)), zones)).toEqual(['pass'])
  })
})
