import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  addressKey,
  canonicalDomain,
  formatAddress,
  isMalformed,
  type Mailbox,
  needsSmtputf8,
  parseAddress,
  parsePath,
  sameAddress,
} from '../src/index.ts'

function path(text: string, smtputf8 = false, as: 'sender' | 'recipient' = 'recipient') {
  return parsePath(text, { smtputf8, as })
}

/** Local part and domain of the path, or the codes of its refusal. */
function read(text: string, smtputf8 = false, as: 'sender' | 'recipient' = 'recipient'): string[] {
  const found = path(text, smtputf8, as)
  if (isMalformed(found)) return [`${found.code} ${found.enhanced}`]
  return found.mailbox === null ? [] : [found.mailbox.local, found.mailbox.domain]
}

describe('paths of MAIL and RCPT', () => {
  test.each([
    ['<bob@example.com>', 'bob', 'example.com'],
    ['<Bob@EXAMPLE.com>', 'Bob', 'example.com'],
    ['<Postmaster>', 'Postmaster', ''],
    ['<POSTMASTER>', 'POSTMASTER', ''],
    ['<"a b"@x>', 'a b', 'x'],
    ['<"a@b"@x>', 'a@b', 'x'],
    ['<"a>b"@x>', 'a>b', 'x'],
    ['<"\\""@x>', '"', 'x'],
    ['<"\\\\"@x>', '\\', 'x'],
    ['<""@x>', '', 'x'],
    ['<@a,@b:u@c>', 'u', 'c'],
    ['<@a.test:"x y"@c>', 'x y', 'c'],
    ['<@[192.0.2.1],@[IPv6:::1]:u@c>', 'u', 'c'],
    ['<u@[192.0.2.1]>', 'u', '[192.0.2.1]'],
    ['<u@[IPv6:2001:DB8:0:0::1]>', 'u', '[IPv6:2001:db8::1]'],
    ['<u@[ipv6:::1]>', 'u', '[IPv6:::1]'],
    ['<u@a_b.test>', 'u', 'a_b.test'],
    ['<u@_dmarc.a-b.test>', 'u', '_dmarc.a-b.test'],
    ["<!#$%&'*+-/=?^_`{|}~@x>", "!#$%&'*+-/=?^_`{|}~", 'x'],
    ['  <u@x>', 'u', 'x'],
  ])('%s', (text, local, domain) => expect(read(text)).toEqual([local, domain]))

  test('keeps what stood between the brackets, and what follows them', () => {
    expect(path('<@a:"B b"@C.test>  SIZE=1 BODY=8BITMIME')).toEqual({
      mailbox: { local: 'B b', domain: 'c.test', raw: '@a:"B b"@C.test' },
      rest: 'SIZE=1 BODY=8BITMIME',
    })
  })

  test.each([
    ['u@x', 'no brackets'],
    ['<u@x', 'not closed'],
    ['u@x>', 'not opened'],
    ['', 'nothing'],
    ['<u@x>y', 'text after'],
    ['<<u@x>>', 'brackets in brackets'],
    ['<u>', 'no domain'],
    ['<u@>', 'empty domain'],
    ['<@x>', 'empty local part'],
    ['<.u@x>', 'dot first'],
    ['<u.@x>', 'dot last'],
    ['<u..v@x>', 'two dots'],
    ['<u v@x>', 'space'],
    ['<u@x.>', 'trailing dot'],
    ['<u@.x>', 'empty label'],
    ['<u@x..y>', 'empty label inside'],
    ['<u@-x>', 'hyphen first'],
    ['<u@x->', 'hyphen last'],
    ['<u@x/y>', 'slash'],
    ['<u@a%41.b>', 'percent'],
    ['<u@v@x>', 'two ats'],
    ['<"u@x>', 'open quote'],
    ['<"u"v@x>', 'text after the quote'],
    ['<u@[192.0.2]>', 'short literal'],
    ['<u@[192.0.2.256]>', 'bad literal'],
    ['<u@[IPv6:1::2::3]>', 'bad IPv6'],
    ['<u@[IPv6:fe80::1%eth0]>', 'zone'],
    ['<u@[x:y]>', 'unknown literal'],
    ['<u@[192.0.2.1>', 'open literal'],
    ['<@a:>', 'route to nowhere'],
    ['<@a,b:u@c>', 'route without at'],
    ['<@a..b:u@c>', 'route over nothing'],
    ['<u\0@x>', 'NUL'],
    ['<"u\0"@x>', 'NUL in quotes'],
    ['<u\r\n@x>', 'line break'],
    ['<"a\\\r\n"@x>', 'escaped line break'],
    ['<u\u007f@x>', 'DEL'],
    ['<>', 'null as a recipient'],
  ])('%j is refused: %s', text => {
    expect(read(text)).toEqual(['501 5.1.3'])
    if (text !== '<>') expect(read(text, true, 'sender')).toEqual(['501 5.1.7'])
  })

  test('<> is a sender; <Postmaster> is not', () => {
    expect(path('<>', false, 'sender')).toEqual({ mailbox: null, rest: '' })
    expect(read('<Postmaster>', false, 'sender')).toEqual(['501 5.1.7'])
  })

  test('limits of RFC 5321 §4.5.3.1, in octets', () => {
    const long = (n: number) => `<${'a'.repeat(n)}@x>`
    expect(read(long(64))).toEqual(['a'.repeat(64), 'x'])
    expect(read(long(65))).toEqual(['501 5.1.3'])
    expect(read(`<${'ü'.repeat(32)}@x>`, true)).toHaveLength(2)
    expect(read(`<${'ü'.repeat(33)}@x>`, true)).toEqual(['501 5.1.3'])
    const label = 'b'.repeat(63)
    expect(read(`<a@${label}.${label}>`)).toHaveLength(2)
    expect(read(`<a@b${label}>`)).toEqual(['501 5.1.3'])
    const whole = `a@${label}.${label}.${label}.${'c'.repeat(60)}`
    expect(whole).toHaveLength(254)
    expect(read(`<${whole}>`)).toHaveLength(2)
    expect(read(`<a${whole}>`)).toEqual(['501 5.1.3'])
    expect(isMalformed(path(`<${'a'.repeat(1_000_000)}@x>`))).toBe(true)
    expect(parsePath(long(100), { smtputf8: false, as: 'recipient', maxLocal: 128 })).toHaveProperty('mailbox')
  })
})

describe('non-ASCII', () => {
  test('needs SMTPUTF8', () => {
    for (const text of ['<ü@x>', '<u@bücher.example>', '<"ü ü"@x>', '<@bücher.example:u@x>']) {
      expect(read(text)).toEqual(['553 5.6.7'])
      expect(read(text, true)).toHaveLength(2)
    }
  })

  test('domains become A-labels, lower case', () => {
    expect(read('<u@BÜCHER.Example>', true)).toEqual(['u', 'xn--bcher-kva.example'])
    expect(read('<u@XN--BCHER-KVA.example>')).toEqual(['u', 'xn--bcher-kva.example'])
    expect(read('<u@faß.de>', true)).toEqual(['u', 'xn--fa-hia.de'])
  })

  test.each([
    ['exa\u00admple.com', 'a soft hyphen would vanish'],
    ['ﬁ.com', 'a ligature would become two letters'],
    ['a。b', 'an ideographic stop would become a dot'],
    ['０x7f.1', 'a full-width digit would make an IPv4 address'],
    ['\u200d.com', 'a joiner alone'],
    ['ü.0x1', 'a number at the end'],
    ['ü/..', 'a URL path'],
    ['ü?q', 'a URL query'],
    ['ü:25', 'a port'],
    ['ü%41', 'an escape'],
    ['ü\t.x', 'a tab, which URLs lose'],
    [`${'ü'.repeat(60)}.com`, 'a label too long once encoded'],
    ['ü.', 'trailing dot'],
  ])('the domain %j is refused: %s', domain => expect(canonicalDomain(domain)).toBeUndefined())

  test('octets that were not UTF-8 are refused', () => {
    expect(read('<\ufffd@x>', true)).toEqual(['501 5.1.3'])
    expect(read('<\ud800@x>', true)).toEqual(['501 5.1.3'])
    expect(read('<a\u0085@x>', true)).toEqual(['501 5.1.3'])
  })

  test('prints U-labels for people, A-labels for old peers', () => {
    const mailbox = parseAddress('u@bücher.example') as Mailbox
    expect(formatAddress(mailbox)).toBe('u@xn--bcher-kva.example')
    expect(formatAddress(mailbox, { utf8: true })).toBe('u@bücher.example')
    expect(needsSmtputf8(mailbox)).toBe(false)
    expect(needsSmtputf8(parseAddress('ü@x') as Mailbox)).toBe(true)
    expect(formatAddress({ local: 'u', domain: 'xn--zzzzz-999999' }, { utf8: true })).toBe('u@xn--zzzzz-999999')
  })
})

describe('comparing', () => {
  test('domain without case, local part with it, postmaster in any', () => {
    expect(sameAddress({ local: 'a', domain: 'X.test' }, { local: 'a', domain: 'x.TEST' })).toBe(true)
    expect(sameAddress({ local: 'A', domain: 'x' }, { local: 'a', domain: 'x' })).toBe(false)
    expect(sameAddress({ local: 'PostMaster', domain: 'x' }, { local: 'postmaster', domain: 'x' })).toBe(true)
    expect(sameAddress(null, null)).toBe(true)
    expect(sameAddress(null, { local: '', domain: '' })).toBe(false)
  })

  test('quoted and plain are the same address', () => {
    expect(sameAddress(parseAddress('"bob"@x') as Mailbox, parseAddress('bob@x') as Mailbox)).toBe(true)
    expect(addressKey({ local: 'Bob', domain: 'X.Test' })).toBe('Bob@x.test')
  })
})

test('parseAddress takes one whole address and nothing else', () => {
  for (const text of ['', '<a@b>', 'a@b c', ' a@b', 'a@b ', 'a@b> c', '@a:b@c', 'a', 'a@b>']) {
    expect(isMalformed(parseAddress(text)), JSON.stringify(text)).toBe(true)
  }
  expect(parseAddress('postmaster')).toMatchObject({ domain: '' })
})

const local = fc
  .string({ unit: 'grapheme', minLength: 0, maxLength: 20 })
  .filter(text => !/\p{Cc}|\ufffd/u.test(text) && Buffer.byteLength(text) <= 64)
const domain = fc.oneof(
  fc.domain(),
  fc.constantFrom('x', 'a_b.test', 'xn--bcher-kva.example', '[192.0.2.1]'),
  fc.ipV4().map(ip => `[${ip}]`),
)

test('property: what is printed is read as the same address', () => {
  fc.assert(
    fc.property(local, domain, fc.boolean(), (local, domain, utf8) => {
      const text = formatAddress({ local, domain: domain.toLowerCase() }, { utf8 })
      const found = path(`<${text}> X`, true)
      expect(found).toMatchObject({ mailbox: { local, domain: domain.toLowerCase(), raw: text }, rest: 'X' })
    }),
  )
})

test('property: no text makes a parser throw, and what it takes has no control characters', () => {
  const pieces = fc.constantFrom(
    '<',
    '>',
    '@',
    '"',
    '\\',
    ':',
    ',',
    '[',
    ']',
    '.',
    'a',
    'ü',
    '\0',
    '\r\n',
    ' ',
    'xn--',
    'IPv6:',
  )
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(pieces).map(list => `<${list.join('')}>`),
  )
  fc.assert(
    fc.property(text, fc.boolean(), (text, smtputf8) => {
      const found = path(text, smtputf8)
      if (isMalformed(found) || found.mailbox === null) return
      expect(/\p{Cc}/u.test(found.mailbox.local + found.mailbox.domain)).toBe(false)
      expect(path(`<${formatAddress(found.mailbox)}>`, smtputf8)).toMatchObject({
        mailbox: { local: found.mailbox.local },
      })
    }),
    { numRuns: 2000 },
  )
})
