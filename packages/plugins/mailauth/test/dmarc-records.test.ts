// RFC 9989 §4 and RFC 7489 §6, rule by rule: what records mean, who the author is, and who counts as the same organization.
import { describe, expect, it } from 'vitest'
import { dmarcOf, record } from './dmarc-of.ts'
import type { Zones } from './given.ts'

const author = 'a@sender.test'
const reject = record('sender.test', 'v=DMARC1; p=reject')

describe('a record', () => {
  it.each([
    ['fail reject', 'v=DMARC1; p=reject'],
    ['fail reject', ' v=DMARC1;p=reject;'],
    ['fail reject', 'v = DMARC1 ; p = reject'],
    ['fail reject', 'V=DMARC1; p=REJECT'],
    ['fail reject', 'v=DMARC1; rua=mailto:x@y.test; p=reject'],
    ['fail reject', 'v=DMARC1; p=reject; zz=unknown'],
    ['fail reject', 'v=DMARC1; p=reject; junk'],
    ['fail reject', 'v=DMARC1; p=reject; adkim=loose; aspf=; fo=9; ri=x'],
    ['fail reject', 'v=DMARC1; p=reject; psd=u'],
    ['fail none', 'v=DMARC1; p=none'],
    // RFC 9989 §4.7, RFC 7489 §6.3
    ['fail quarantine', 'v=DMARC1; p=reject; t=y'],
    ['fail none', 'v=DMARC1; p=quarantine; t=y'],
    ['fail reject', 'v=DMARC1; p=reject; t=n'],
    ['fail reject', 'v=DMARC1; p=reject; t=maybe'],
    ['fail quarantine', 'v=DMARC1; p=reject; pct=0'],
    ['fail none', 'v=DMARC1; p=quarantine; pct = 0 ;'],
    ['fail reject', 'v=DMARC1; p=reject; pct=0; t=n'],
    ['fail reject', 'v=DMARC1; p=reject; pct=100'],
    ['fail reject', 'v=DMARC1; p=reject; pct=none'],
    ['fail reject', 'v=DMARC1; p=reject; pct='],
    ['fail reject', 'v=DMARC1; p=reject; pct=-1'],
    ['fail reject', 'v=DMARC1; p=reject; pct=200'],
    // RFC 9989 §4.10.1: without a valid policy it is p=none if it asks for reports, and nothing else.
    ['fail none', 'v=DMARC1; rua=mailto:x@y.test'],
    ['fail none', 'v=DMARC1; p=; rua=mailto:x@y.test'],
    ['fail none', 'v=DMARC1; p=destroy; rua=mailto:x@y.test'],
    ['fail none', 'v=DMARC1; p=reject; sp=destroy; rua=mailto:x@y.test'],
    ['none', 'v=DMARC1'],
    ['none', 'v=DMARC1; p=destroy'],
    ['none', 'v=DMARC1; p=destroy; rua=nobody'],
    ['none', 'v=DMARC1; p=reject; sp=destroy'],
    ['none', 'v=DMARC1; sp=reject'],
    ['none', 'v=DMARC1; P=reject'],
    ['none', 'v=DMARC1; p=reject; p=none'],
    ['none', 'v=dmarc1; p=reject'],
    ['none', 'v=DMARC10; p=reject'],
    ['none', 'v=DMARC1 p=reject'],
    ['none', 'p=reject; v=DMARC1'],
    ['none', 'v=spf1 -all'],
    ['none', ''],
  ])('says %s: %j', async (said, text) => {
    const { result, policy } = await dmarcOf(author, record('sender.test', text))
    expect(policy === undefined ? result : `${result} ${policy}`).toBe(said)
  })

  it.each<[string, string | string[]]>([
    ['of another version', 'v=DMARC2; p=none'],
    ['beside another', ['v=DMARC1; p=none', 'v=DMARC1; p=quarantine']],
    ['that is none', 'hello'],
  ])('%s is not there: the one above it counts', async (_what, TXT) => {
    const zones: Zones = { ...reject, '_dmarc.x.sender.test': { TXT } }
    expect(await dmarcOf('a@x.sender.test', zones)).toMatchObject({ policy: 'reject', publishedBy: 'sender.test' })
  })
})

describe('the tree walk', () => {
  const deep = 'a@a.b.c.d.e.f.g.h.i.sender.test'
  it('asks eight times at most, and leaves out the middle of long names', async () => {
    expect(await dmarcOf(deep, reject)).toMatchObject({ publishedBy: 'sender.test', questions: 8 })
    const seen = { ...reject, ...record('f.g.h.i.sender.test', 'v=DMARC1; p=none; psd=n') }
    expect(await dmarcOf(deep, seen)).toMatchObject({ policy: 'none', publishedBy: 'f.g.h.i.sender.test' })
    const unseen = { ...reject, ...record('d.e.f.g.h.i.sender.test', 'v=DMARC1; p=none; psd=n') }
    expect(await dmarcOf(deep, unseen)).toMatchObject({ policy: 'reject', publishedBy: 'sender.test' })
  })

  it('ends where psd= says so', async () => {
    expect(await dmarcOf(author, record('sender.test', 'v=DMARC1; p=reject; psd=n'))).toMatchObject({ questions: 1 })
  })
})

describe('a subdomain', () => {
  const policy = 'v=DMARC1; p=none; sp=quarantine; np=reject'
  it.each<[string, string, string, Zones]>([
    ['quarantine', 'has an address', policy, { 'x.sender.test': { A: '192.0.2.1' } }],
    ['quarantine', 'has a mail exchanger only', policy, { 'x.sender.test': { MX: '10 mx.sender.test' } }],
    ['quarantine', 'has a child only', policy, { 'y.x.sender.test': { A: '192.0.2.1' } }],
    ['quarantine', 'is an alias to what is gone', policy, { 'x.sender.test': { CNAME: 'gone.test' } }],
    ['reject', 'is not there', policy, {}],
    ['quarantine', 'is not there, without np=', 'v=DMARC1; p=none; sp=quarantine', {}],
    [
      'quarantine',
      'is there, without sp=',
      'v=DMARC1; p=quarantine; np=reject',
      { 'x.sender.test': { A: '192.0.2.1' } },
    ],
    ['quarantine', 'is not there, without either', 'v=DMARC1; p=quarantine', {}],
    ['none', 'has a record of its own', policy, record('x.sender.test', 'v=DMARC1; p=none; sp=reject')],
  ])('gets %s where it %s', async (asked, _what, text, zones) => {
    const found = await dmarcOf('a@x.sender.test', { ...record('sender.test', text), ...zones })
    expect(found).toMatchObject({ result: 'fail', policy: asked })
  })

  it('that may be there or not is a temporary error, unless something aligns', async () => {
    const zones: Zones = { ...record('sender.test', policy), 'x.sender.test': { fail: 'servfail' } }
    expect(await dmarcOf('a@x.sender.test', zones)).toMatchObject({ result: 'temperror' })
    expect(await dmarcOf('a@x.sender.test', zones, { by: ['sender.test'] })).toMatchObject({ result: 'pass' })
  })

  // RFC 9091
  it('of a public suffix is an organization of its own, with the suffix’s np=', async () => {
    const suffix = record('co.uk', 'v=DMARC1; p=none; np=reject; psd=y')
    const found = await dmarcOf('a@gone.bank.co.uk', suffix)
    expect(found).toMatchObject({ policy: 'reject', organization: 'bank.co.uk', publishedBy: 'co.uk' })
    const above = record('co.uk', 'v=DMARC1; p=reject; psd=y')
    expect(await dmarcOf('a@co.uk', above, { by: ['bank.co.uk'] })).toMatchObject({ result: 'fail' })
  })
})

describe('From', () => {
  it.each([
    [author],
    ['a@SENDER.Test'],
    ['a@sender.test.'],
    ['\r\n a@sender.test'],
    ['"A, B" <a@sender.test>'],
    ['"b@other.test"@sender.test'],
    ['Anna (b@other.test) <a@sender.test>'],
    ['<@other.test:a@sender.test>'],
    ['a@sender.test, b@sender.test'],
    ['Friends: a@sender.test, b@SENDER.test;'],
    ['nobody:;, a@sender.test'],
  ])('%j is of sender.test', async from => {
    const { domain, ...found } = await dmarcOf(from, reject)
    expect(found).toMatchObject({ result: 'fail', policy: 'reject' })
    expect(domain?.replace(/\.$/, '')).toBe('sender.test')
  })

  it.each([
    ['a@sender.test, b@other.test'],
    ['a@sender.test, b@x.sender.test'],
    ['Friends: a@sender.test, b@other.test;'],
    ['a@sender.test; b@other.test'],
    ['a@other.test@sender.test'],
    ['Friends:;'],
    ['nobody'],
    ['<>'],
    [''],
  ])('%j is of nobody, or of several', async from => {
    expect(await dmarcOf(from, reject)).toMatchObject({ result: 'permerror' })
  })
})

describe('alignment', () => {
  const x = 'a@x.sender.test'
  it.each<[boolean, string, string, string, string?]>([
    [true, 'a parent', x, 'sender.test'],
    [true, 'a child', author, 'x.sender.test'],
    [true, 'a sibling', x, 'y.sender.test'],
    [false, 'a name that ends alike', author, 'evilsender.test'],
    [false, 'a sibling below a public suffix', 'a@bank.co.uk', 'evil.co.uk'],
    [false, 'a parent, strictly', x, 'sender.test', 'v=DMARC1; p=reject; adkim=S; aspf=S'],
    [true, 'itself, strictly', author, 'sender.test', 'v=DMARC1; p=reject; adkim=s; aspf=s'],
  ])('%s: %s', async (pass, _what, from, by, text = 'v=DMARC1; p=reject') => {
    const zones = { ...record('sender.test', text), ...record('bank.co.uk', text) }
    const result = pass ? 'pass' : 'fail'
    expect(await dmarcOf(from, zones, { by: [by] })).toMatchObject({ result, aligned: pass ? ['dkim'] : [] })
    expect(await dmarcOf(from, zones, { spf: ['pass', by] })).toMatchObject({ result, aligned: pass ? ['spf'] : [] })
  })

  it('is for DKIM and SPF what each asks for', async () => {
    const zones = record('sender.test', 'v=DMARC1; p=reject; aspf=s')
    const found = await dmarcOf(x, zones, { by: ['sender.test'], spf: ['pass', 'sender.test'] })
    expect(found).toMatchObject({ result: 'pass', aligned: ['dkim'] })
  })

  it('stops at a line that who signed has drawn, or somebody above him', async () => {
    const apart = { ...reject, ...record('apart.sender.test', 'v=DMARC1; p=none; psd=n') }
    for (const by of ['apart.sender.test', 'y.apart.sender.test']) {
      expect(await dmarcOf(author, apart, { by: [by] })).toMatchObject({ result: 'fail' })
      expect(await dmarcOf(x, apart, { by: [by] })).toMatchObject({ result: 'fail' })
    }
    expect(await dmarcOf('a@apart.sender.test', apart, { by: ['sender.test'] })).toMatchObject({ result: 'fail' })
  })

  it('by the Public Suffix List counts where the record leaves it open: psd=u, as without', async () => {
    for (const text of ['v=DMARC1; p=reject', 'v=DMARC1; p=reject; psd=u']) {
      const found = await dmarcOf(x, record('x.sender.test', text), { by: ['sender.test'] })
      expect(found).toMatchObject({ result: 'pass' })
    }
  })

  it('by an SPF result that is no pass, or of no domain, is none', async () => {
    for (const [result, domain] of [
      ['softfail', 'sender.test'],
      ['neutral', 'sender.test'],
      ['pass', ''],
    ] as const) {
      expect(await dmarcOf(author, reject, { spf: [result, domain] })).toMatchObject({ result: 'fail' })
    }
  })
})

describe('a question without an answer', () => {
  const down: Zones[string] = { fail: 'timeout' }
  it.each<[string, string, string, Zones, string?]>([
    ['temperror', 'for the record of the author', author, { '_dmarc.sender.test': down }, 'sender.test'],
    ['temperror', 'above the author, where no record is', author, { '_dmarc.test': down }],
    ['pass', 'above the record', author, { ...reject, '_dmarc.test': down }, 'sender.test'],
    [
      'pass',
      'above the record, with one organization by the list',
      author,
      { ...reject, '_dmarc.test': down },
      'x.sender.test',
    ],
    ['fail', 'above the record, with nothing that might align', author, { ...reject, '_dmarc.test': down }],
    ['fail', 'above the record, and another domain', author, { ...reject, '_dmarc.test': down }, 'other.example'],
  ])('is %s: %s', async (result, _what, from, zones, by) => {
    expect(await dmarcOf(from, zones, by === undefined ? {} : { by: [by] })).toMatchObject({ result })
  })
})
