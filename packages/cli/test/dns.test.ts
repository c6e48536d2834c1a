import { readFileSync } from 'node:fs'
import type { DnsType } from '@posthorn/core'
import { type DnsFacts, presentRecord } from '@posthorn/core/runtime'
import { fakeDns, type Zones } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import { publicAddresses } from '../src/dns/addresses.ts'
import { checkPlan, type Lookup } from '../src/dns/check.ts'
import { planRecords } from '../src/dns/plan.ts'
import { recordLine, zoneFile } from '../src/dns/zone-file.ts'
import { guideFacts } from './dns-guide.ts'

const facts: DnsFacts = {
  hostname: 'mail.example.org',
  domains: ['example.org'],
  listeners: [
    { role: 'mx', tls: 'starttls', host: '192.0.2.25', port: 25 },
    { role: 'submission', tls: 'starttls', host: '192.0.2.25', port: 587 },
    { role: 'submission', tls: 'implicit', host: '192.0.2.25', port: 465 },
  ],
  key: 'ab'.repeat(32),
  records: {
    'example.org': [
      { name: 's1._domainkey.example.org', type: 'TXT', value: 'v=DKIM1; k=ed25519; p=AAAA', why: 'Signatures.' },
    ],
  },
  silent: [],
}
const plan = planRecords(facts, ['example.org'], ['192.0.2.25', '2001:db8::25'])

/** Everything as it should be. */
const published: Zones = {
  'mail.example.org': { A: '192.0.2.25', AAAA: '2001:db8::25', TXT: 'v=spf1 a -all' },
  '192.0.2.25': { PTR: 'mail.example.org' },
  '2001:db8::25': { PTR: 'mail.example.org' },
  'example.org': { MX: '10 mail.example.org', TXT: ['some-site=1', 'v=spf1 mx a:mail.example.org -all'] },
  '_dmarc.example.org': { TXT: 'v=DMARC1; p=reject' },
  's1._domainkey.example.org': { TXT: 'v=DKIM1;k=ed25519;p=AA AA' },
}

async function judge(changes: Zones, of = plan) {
  const dns = fakeDns({ ...published, ...changes })
  const lookup: Lookup = async (name, type) => {
    const { records, ...answer } = await dns.resolve(name, type)
    return { ...answer, records: records.map(record => presentRecord(type, record)) }
  }
  return checkPlan(of, lookup)
}

/** What is not as it should be, as `verdict type name | text`. */
const complaints = async (changes: Zones, of = plan) =>
  (await judge(changes, of))
    .filter(({ verdict }) => verdict !== 'ok' && verdict !== 'optional')
    .map(({ verdict, record, text }) => `${verdict} ${record.type} ${record.name} | ${text}`)
/** What is said of one record, whatever the verdict. */
const said = async (changes: Zones, name: string, type: DnsType) =>
  (await judge(changes))
    .filter(({ record }) => record.name === name && record.type === type)
    .map(({ verdict, text }) => `${verdict} | ${text}`)

describe('the plan', () => {
  it('has what a mail server needs, and advice', () => {
    expect(plan.records.map(r => `${r.advice ? '; ' : ''}${r.name} ${r.type} ${r.value}`)).toEqual([
      'mail.example.org A 192.0.2.25',
      'mail.example.org AAAA 2001:db8::25',
      'mail.example.org TXT v=spf1 a -all',
      '25.2.0.192.in-addr.arpa PTR mail.example.org.',
      '5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mail.example.org.',
      `; _25._tcp.mail.example.org TLSA 3 1 1 ${'ab'.repeat(32)}`,
      'example.org MX 10 mail.example.org.',
      'example.org TXT v=spf1 mx a:mail.example.org -all',
      '_dmarc.example.org TXT v=DMARC1; p=none; rua=mailto:postmaster@example.org',
      '; _smtp._tls.example.org TXT v=TLSRPTv1; rua=mailto:postmaster@example.org',
      '; _mta-sts.example.org TXT v=STSv1; id=1',
      '; _submission._tcp.example.org SRV 0 1 587 mail.example.org.',
      '; _submissions._tcp.example.org SRV 0 1 465 mail.example.org.',
      's1._domainkey.example.org TXT v=DKIM1; k=ed25519; p=AAAA',
    ])
    expect(plan.records.every(({ why }) => /^[A-Z].*[.]$/.test(why))).toBe(true)
  })

  it('takes the word of a plugin over its own', () => {
    const sts = { name: '_mta-sts.example.org', type: 'TXT' as const, value: 'v=STSv1; id=77', why: 'Ours.' }
    const { records } = planRecords({ ...facts, records: { 'example.org': [sts] } }, ['example.org'], [])
    expect(records.filter(({ name }) => name === sts.name).map(({ value }) => value)).toEqual([sts.value])
    expect(records.filter(({ name, type }) => name === 'example.org' && type === 'TXT')).toHaveLength(1)
  })

  it('names no MX where no listener takes mail from others', () => {
    const { records } = planRecords({ ...facts, listeners: [] }, ['example.org'], [])
    expect(records.filter(({ type }) => type === 'MX' || type === 'TLSA' || type === 'SRV')).toEqual([])
  })

  it('says each thing once where the server has the name of the domain', () => {
    const { records } = planRecords({ ...facts, hostname: 'example.org' }, ['example.org'], ['192.0.2.1'])
    expect(records.filter(({ name, type }) => name === 'example.org' && type === 'TXT').map(r => r.value)).toEqual([
      'v=spf1 a -all',
    ])
  })
})

describe('the zone file', () => {
  it('comments what is advice, or in the zone of somebody else, and says why for each', () => {
    const lines = zoneFile(plan)
    expect(lines).toContain('example.org. 3600 IN MX 10 mail.example.org.')
    expect(lines).toContain('; 25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.org.')
    expect(lines).toContain('; _submission._tcp.example.org. 3600 IN SRV 0 1 587 mail.example.org.')
    expect(lines.every(line => line.length <= 100 || !line.startsWith('; ') || / IN /.test(line))).toBe(true)
    const records = lines.filter(line => !line.startsWith(';') && line !== '')
    expect(records.every(line => /^[a-z0-9._-]+\. 3600 IN (A|AAAA|MX|TXT) \S/.test(line))).toBe(true)
  })

  it.each([
    ['say "hi" \\ there', '"say \\"hi\\" \\\\ there"'],
    ['grüß\n', '"gr\\195\\188\\195\\159\\010"'],
    ['', '""'],
    [`${'x'.repeat(255)}y`, `( "${'x'.repeat(255)}"\n    "y" )`],
  ])('writes TXT %j so that a name server reads the same', (value, expected) => {
    expect(recordLine({ name: 'a.test', type: 'TXT', value })).toBe(`a.test. 3600 IN TXT ${expected}`)
  })
})

describe('the guide', () => {
  const guide = readFileSync(new URL('../../../docs/guide/dns.md', import.meta.url), 'utf8')

  it('shows what the command prints', () => {
    const lines = zoneFile(planRecords(guideFacts, ['example.org'], ['192.0.2.25', '2001:db8::25']))
    expect(guide).toContain(`\`\`\`\n${lines.join('\n')}\n\`\`\``)
  })

  it('quotes --check as it speaks', async () => {
    const quoted = guide.match(/^ {10}(?!→).*$/gm) ?? []
    expect(quoted).toHaveLength(2)
    const all = await Promise.all([
      complaints(missing),
      said({ 'example.org': { TXT: ['v=spf1 a', 'v=spf1 b'] } }, 'example.org', 'TXT'),
    ])
    for (const line of quoted) expect(all.flat().join('\n')).toContain(line.trim())
  })
})

const missing: Zones = Object.fromEntries(Object.keys(published).map(name => [name, {}]))

describe('--check', () => {
  it('finds nothing where all is well', async () => {
    expect(await complaints({})).toEqual([])
    expect((await judge({})).map(({ verdict }) => verdict).filter(v => v === 'optional')).toHaveLength(5)
  })

  it('says what is missing', async () => {
    expect(await complaints(missing)).toEqual([
      'missing A mail.example.org | mail.example.org has no IPv4 address: nobody can send to it.',
      'missing AAAA mail.example.org | mail.example.org has no IPv6 address: nobody can send to it.',
      'missing TXT mail.example.org | mail.example.org has no SPF record: anybody may send in its name.',
      'missing PTR 25.2.0.192.in-addr.arpa | The address of 25.2.0.192.in-addr.arpa has no name: many servers refuse mail from it.',
      expect.stringMatching(/^missing PTR 5\.2\.0/),
      'missing MX example.org | example.org has no MX: others try the address of example.org itself, if it has one.',
      'missing TXT example.org | example.org has no SPF record: anybody may send in its name.',
      'missing TXT _dmarc.example.org | example.org does not say what to do with forged mail (no DMARC record).',
      'missing TXT s1._domainkey.example.org | There is no key at s1._domainkey.example.org: nobody can check what we sign with it.',
    ])
  })

  it.each<[string, Zones, string, DnsType, RegExp]>([
    ['a null MX', { 'example.org': { MX: '0 .' } }, 'example.org', 'MX', /^differs .*takes no mail at all/],
    [
      'mail elsewhere',
      { 'example.org': { MX: ['5 a.test', '1 b.test'] } },
      'example.org',
      'MX',
      /goes to b.test, a.test, not/,
    ],
    [
      'us as fallback',
      { 'example.org': { MX: ['5 mail.example.org', '1 b.test'] } },
      'example.org',
      'MX',
      /^ok .*try b.test first/,
    ],
    [
      'others beside us',
      { 'example.org': { MX: ['5 mail.example.org', '9 b.test'] } },
      'example.org',
      'MX',
      /^ok .*Also b.test/,
    ],
    [
      'another address',
      { 'mail.example.org': { A: '192.0.2.99' } },
      'mail.example.org',
      'A',
      /^differs .*192.0.2.99, but this server is at 192.0.2.25/,
    ],
    ['one address more', { 'mail.example.org': { A: ['192.0.2.99', '192.0.2.25'] } }, 'mail.example.org', 'A', /^ok/],
    [
      'an alias',
      { 'mail.example.org': { CNAME: 'h.test' }, 'h.test': { A: '192.0.2.25' } },
      'mail.example.org',
      'A',
      /^differs .*CNAME.* of h.test/,
    ],
    [
      'two SPF records',
      { 'example.org': { TXT: ['v=spf1 mx -all', 'v=spf1 -all'] } },
      'example.org',
      'TXT',
      /^differs .*2 SPF records/,
    ],
    [
      'SPF without us',
      { 'example.org': { TXT: 'v=spf1 ip4:198.51.100.0/24 -all' } },
      'example.org',
      'TXT',
      /^differs .*Add a:mail.example.org/,
    ],
    [
      'SPF that denies us',
      { 'example.org': { TXT: 'v=spf1 -mx ?a:mail.example.org ~all' } },
      'example.org',
      'TXT',
      /^differs/,
    ],
    [
      'SPF by our networks',
      { 'example.org': { TXT: 'v=spf1 ip4:192.0.2.0/24 +ip6:2001:db8::/32 -all' } },
      'example.org',
      'TXT',
      /^ok \| $/,
    ],
    [
      'SPF by one of two networks',
      { 'example.org': { TXT: 'v=spf1 ip4:192.0.2.0/24 -all' } },
      'example.org',
      'TXT',
      /^differs/,
    ],
    [
      'SPF with a broken network',
      { 'example.org': { TXT: 'v=spf1 ip4:1.2.3.4/99 -all' } },
      'example.org',
      'TXT',
      /^differs/,
    ],
    [
      'SPF elsewhere',
      { 'example.org': { TXT: 'v=spf1 include:x.test -all' } },
      'example.org',
      'TXT',
      /^ok .*not checked/,
    ],
    ['SPF for all', { 'example.org': { TXT: 'v=spf1 mx +all' } }, 'example.org', 'TXT', /^differs .*everybody/],
    [
      'DMARC that watches',
      { '_dmarc.example.org': { TXT: 'v=DMARC1; p=none' } },
      '_dmarc.example.org',
      'TXT',
      /^ok .*only watches/,
    ],
    [
      'DMARC twice',
      { '_dmarc.example.org': { TXT: ['v=DMARC1; p=none', 'v=DMARC1; p=reject'] } },
      '_dmarc.example.org',
      'TXT',
      /^differs .*none of them/,
    ],
    [
      'DMARC with nonsense',
      { '_dmarc.example.org': { TXT: 'v=DMARC1; p=refuse' } },
      '_dmarc.example.org',
      'TXT',
      /^differs .*p=refuse/,
    ],
    [
      'another DKIM key',
      { 's1._domainkey.example.org': { TXT: 'v=DKIM1; k=ed25519; p=BBBB' } },
      's1._domainkey.example.org',
      'TXT',
      /^differs .*not the one/,
    ],
    [
      'the same octets as another algorithm',
      { 's1._domainkey.example.org': { TXT: 'p=AAAA' } },
      's1._domainkey.example.org',
      'TXT',
      /^differs .*not the one/,
    ],
    [
      'a revoked DKIM key',
      { 's1._domainkey.example.org': { TXT: 'v=DKIM1; p=' } },
      's1._domainkey.example.org',
      'TXT',
      /^differs .*revoked/,
    ],
    [
      'two DKIM keys',
      { 's1._domainkey.example.org': { TXT: ['p=AAAA', 'p=BBBB'] } },
      's1._domainkey.example.org',
      'TXT',
      /^differs .*2 keys/,
    ],
    [
      'another name',
      { '192.0.2.25': { PTR: 'host25.isp.test' } },
      '25.2.0.192.in-addr.arpa',
      'PTR',
      /^differs .*host25.isp.test, not mail.example.org/,
    ],
    [
      'TLSA of an old key',
      { '_25._tcp.mail.example.org': { TLSA: '3 1 1 00' } },
      '_25._tcp.mail.example.org',
      'TLSA',
      /^differs .*do not deliver/,
    ],
    [
      'TLSA that nobody heeds',
      { '_25._tcp.mail.example.org': { TLSA: `3 1 1 ${'AB'.repeat(32)}` } },
      '_25._tcp.mail.example.org',
      'TLSA',
      /^ok .*not validated/,
    ],
    [
      'TLSA',
      { '_25._tcp.mail.example.org': { TLSA: `3 1 1 ${'ab'.repeat(32)}`, secure: true } },
      '_25._tcp.mail.example.org',
      'TLSA',
      /^ok \| $/,
    ],
    [
      'TLSA of an authority',
      { '_25._tcp.mail.example.org': { TLSA: '2 0 1 00' } },
      '_25._tcp.mail.example.org',
      'TLSA',
      /^ok .*authority/,
    ],
    [
      'submission elsewhere',
      { '_submission._tcp.example.org': { SRV: '0 1 25 x.test' } },
      '_submission._tcp.example.org',
      'SRV',
      /^differs .*25 x.test., not to 587/,
    ],
    [
      'another weight',
      { '_submission._tcp.example.org': { SRV: '5 9 587 mail.example.org' } },
      '_submission._tcp.example.org',
      'SRV',
      /^ok/,
    ],
    [
      'MTA-STS twice',
      { '_mta-sts.example.org': { TXT: ['v=STSv1; id=1', 'v=STSv1; id=2'] } },
      '_mta-sts.example.org',
      'TXT',
      /^differs/,
    ],
    [
      'MTA-STS of another day',
      { '_mta-sts.example.org': { TXT: 'v=STSv1; id=2' } },
      '_mta-sts.example.org',
      'TXT',
      /^ok/,
    ],
    ['nobody who answers', { 'example.org': { fail: 'servfail' } }, 'example.org', 'MX', /^unknown .*Nobody could say/],
  ])('explains %s', async (_, changes, name, type, expected) => {
    const [text] = await said(changes, name, type)
    expect(text).toMatch(expected)
  })

  it('compares what it does not know word by word', async () => {
    const caa = { name: 'example.org', type: 'CAA' as const, value: '0 issue "ca.test"', why: 'Who may certify us.' }
    const of = planRecords({ ...facts, records: { 'example.org': [caa] } }, ['example.org'], [])
    const about = async (CAA?: string) =>
      await complaints({ 'example.org': { ...published['example.org'], ...(CAA === undefined ? {} : { CAA }) } }, of)
    expect(await about('0 issue "ca.test"')).toEqual([])
    expect(await about()).toEqual(['missing CAA example.org | example.org has no CAA record.'])
    expect(await about('0 issue "other.test"')).toEqual([
      'differs CAA example.org | example.org has other CAA records.',
    ])
  })
})

describe('public addresses', () => {
  const one = (address: string) => ({ address, family: address.includes(':') ? 'IPv6' : 'IPv4' }) as never
  const machine = {
    lo: [one('127.0.0.1'), one('::1')],
    eth0: [one('10.0.0.5'), one('2001:db8::5'), one('192.0.2.5'), one('fe80::1')],
  }
  const of = (...hosts: (string | undefined)[]) =>
    publicAddresses(
      hosts.map(host => ({ role: 'mx' as const, tls: 'none' as const, ...(host === undefined ? {} : { host }) })),
      machine,
    )
  it('are those that listeners have, without what is private', () => {
    expect(of('::')).toEqual(['192.0.2.5', '2001:db8::5'])
    expect(of(undefined)).toEqual(['192.0.2.5', '2001:db8::5'])
    expect(of('0.0.0.0')).toEqual(['192.0.2.5'])
    expect(of('198.51.100.7', '127.0.0.1', '10.1.1.1', '::1', 'localhost')).toEqual(['198.51.100.7'])
  })
})
