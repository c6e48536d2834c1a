// RFC 8617 §5.2, case by case: chains of our own making that are wrong in one place.
import { describe, expect, it } from 'vitest'
import { chainOf, twice, without, withSet } from './arc-chain.ts'
import { checked } from './checked.ts'
import { letter } from './given.ts'
import { signer } from './signed.ts'

const relay = signer('relay.test')
const rsa = signer('rsa.test', { kind: 2048 })
const weak = signer('weak.test', { kind: 512 })
const zones = {
  ...Object.fromEntries([relay, rsa, weak].map(one => [one.name, { TXT: one.record }])),
  's1._domainkey.revoked.test': { TXT: 'v=DKIM1; p=' },
  's1._domainkey.sha1.test': { TXT: relay.record.replace('v=DKIM1;', 'v=DKIM1; h=sha1;') },
  's1._domainkey.other.test': { TXT: relay.record.replace('v=DKIM1;', 'v=DKIM1; s=tlsrpt;') },
  's1._domainkey.down.test': { fail: 'servfail' as const },
  's1._domainkey.slow.test': { fail: 'timeout' as const },
}

const judged = async (message: string) => (await checked(message, zones)).arc

const plain = letter()
const one = withSet(plain, relay)
const two = withSet(one, relay)
const three = withSet(two, relay)
const first = (edit: Parameters<typeof withSet>[2]) => withSet(plain, relay, edit)
const second = (edit: Parameters<typeof withSet>[2]) => withSet(one, relay, edit)
const swap = (from: string | RegExp, to: string) => (text: string) => text.replace(from, to)
const seal = (from: string | RegExp, to: string) => first({ seal: swap(from, to) })
const ams = (from: string | RegExp, to: string) => first({ ams: swap(from, to) })

/** The sets of a message, each with its own fields in another order, the oldest on top. */
const reversed = (message: string) => {
  const [head = '', body] = message.split('\r\n\r\n')
  const lines = head.split('\r\n')
  const arc = lines.filter(line => line.startsWith('ARC-'))
  return `${[...lines.filter(line => !line.startsWith('ARC-')), ...arc.reverse()].join('\r\n')}\r\n\r\n${body}`
}

/** Base 64, and an octet that is none behind it. */
const junk = (text: string) => text.replace(/b=$/, 'b=*')

const signsResults = { headers: ['from', 'authentication-results'] }

const rewritten = withSet(
  one.replace('Subject: hello', 'Subject: [list] hello').replace('Hello.', 'Hello.\r\n-- \r\nthe list'),
  relay,
)

describe('chains that hold', () => {
  it.each([
    ['of one set', one, 1],
    ['of two', two, 2],
    ['of three', three, 3],
    ['of fifty', chainOf(plain, 50, relay), 50],
    ['signed with RSA', withSet(withSet(plain, rsa), rsa), 2],
    ['of hops with other keys', withSet(withSet(plain, rsa), relay), 2],
    ['whose message was changed between the hops: the old message signature need not hold', rewritten, 2],
    ['whose fields stand in another order', reversed(three), 3],
    ['with i=01', first({ i: '01' }), 1],
    ['with white space in the tags', seal('i=1; a=', 'i = 1 ;\r\n\ta = '), 1],
    ['with an unknown tag in the seal', seal('; b=', '; zz=what; b='), 1],
    ['with an unknown tag in the message signature', ams('; b=', '; zz=what; b='), 1],
    ['with a version in the message signature', ams('; b=', '; v=1; b='), 1],
    ['with another version', ams('; b=', '; v=2; b='), 1],
    ['with a c= in the seal, which means nothing there', seal('; b=', '; c=simple/simple; b='), 1],
    ['with b= in the middle', seal(/; d=.*/, '; b=; d=relay.test; s=s1'), 1],
    ['with a final semicolon', seal(/b=$/, 'b=;'), 1],
    ['without a time in the seal', seal(/; t=\d+/, ''), 1],
    ['without a time in the message signature', ams(/; t=\d+/, ''), 1],
    ['with another time of day in the future', ams(/t=\d+/, 't=1900000000'), 1],
    ['with an expiry to come', ams('; b=', '; x=1900000000; b='), 1],
    ['simple/simple', first({ c: 'simple/simple' }), 1],
    ['simple/relaxed', first({ c: 'simple/relaxed' }), 1],
    ['relaxed/simple', first({ c: 'relaxed/simple' }), 1],
    ['relaxed', first({ c: 'relaxed' }), 1],
    ['without c=: simple/simple', first({ c: 'simple/simple', ams: swap(/ c=[^;]*;/, '') }), 1],
    ['over as much of the body as there is', ams('; b=', '; l=8; b='), 1],
    // RFC 8617 §4.1.2 forbids signers to, and no validator to accept it.
    [
      'that covers Authentication-Results',
      withSet(`Authentication-Results: x.test; none\r\n${plain}`, relay, signsResults),
      1,
    ],
    ['that covers the results of a set', withSet(one, relay, { headers: ['from', 'arc-authentication-results'] }), 2],
    ['that covers a field that is not there', first({ headers: ['from', 'from', 'x-none'] }), 1],
    ['with field names in capitals', first({ headers: ['From', 'SUBJECT'] }), 1],
    ['with a comment in the results', first({ aar: text => `(we) ${text}` }), 1],
    ['with folds and white space added on the way', one.replace(/; (?=[a-z]+=)/g, ';\r\n   '), 1],
    [
      'with white space added in the signature of the newest seal',
      one.replace(/(ARC-Seal: .* b=.{20})/, '$1\r\n\t '),
      1,
    ],
    ['with names in another case', one.replace(/^ARC-[\w-]+/gm, name => name.toUpperCase()), 1],
    ['with trailing empty lines added on the way', `${one}\r\n\r\n`, 1],
    ['with a field added on the way that nobody signed', `X-Seen: here\r\n${two}`, 2],
  ])('%s', async (_what, message, instance) => {
    expect(await judged(message)).toMatchObject({ result: 'pass', instance })
  })
})

// RFC 8617 §4.1.4, RFC 8616 §3.
it('a chain holds by a domain in U-labels, which is known by its A-labels', async () => {
  const utf8 = Buffer.from('d=bücher.test').toString('latin1')
  const named = swap('d=relay.test', utf8)
  const results = 'b.test; dmarc=pass header.from=SENDER.test'
  const message = Buffer.from(first({ ams: named, seal: named, results }), 'latin1')
  const zone = { 's1._domainkey.xn--bcher-kva.test': { TXT: relay.record } }
  const { arc } = await checked(message, zone, { trustedForwarders: ['xn--bcher-kva.test'] })
  expect(arc).toMatchObject({ result: 'pass', sealer: 'xn--bcher-kva.test', vouched: 'xn--bcher-kva.test' })
})

const old = (edit: Parameters<typeof withSet>[2]) => withSet(withSet(plain, relay, edit), relay)

describe('chains that hold though the message signature of an older set would not', () => {
  it.each([
    ['expired', { ams: swap('; b=', '; x=1767500001; b=') }],
    ['no bh=', { ams: swap(/ bh=[^;]*;/, '') }],
    ['From not signed', { headers: ['to'] }],
    ['an unknown c=', { ams: swap('c=relaxed', 'c=loose') }],
    ['an unknown algorithm', { ams: swap('a=ed25519', 'a=ed448') }],
    ['no algorithm', { ams: swap(/ a=[^;]*;/, '') }],
    ['a key that is gone', { ams: swap('d=relay.test', 'd=none.test') }],
    ['two h=', { ams: swap('; h=', '; h=from; h=') }],
    ['ARC-Seal in h=', { headers: ['from', 'arc-seal'] }],
    ['a time that is none', { ams: swap(/t=\d+/, 't=soon') }],
  ])('%s', async (_what, edit) => {
    expect(await judged(old(edit))).toMatchObject({ result: 'pass', instance: 2 })
  })
})

const resealed = (cv: string) => second({ cv })

describe('chains that do not hold', () => {
  it.each<readonly [string, string]>([
    // §5.2 step 1
    ['51 sets', chainOf(plain, 51, relay)],
    ['i=51 beside a good set', withSet(one, relay, { i: 51 })],
    // step 2
    ['a newest set that says fail', second({ cv: 'fail', alone: true })],
    ['a set after one that says fail', withSet(second({ cv: 'fail', alone: true }), relay)],
    // step 3 A
    ...(['ARC-Seal', 'ARC-Message-Signature', 'ARC-Authentication-Results'] as const).flatMap(name => [
      [`no ${name} in the only set`, without(one, name, 1)] as const,
      [`no ${name} in the first set`, without(two, name, 1)] as const,
      [`no ${name} in the last set`, without(two, name, 2)] as const,
      [`two ${name} in the first set`, twice(two, name, 1)] as const,
      [`two ${name} in the last set`, twice(two, name, 2)] as const,
    ]),
    // step 3 B
    ['a gap', withSet(one, relay, { i: 3 })],
    ['no first set', first({ i: 2, cv: 'pass' })],
    ['the same instance again', withSet(one, relay, { i: 1 })],
    ['i=0', first({ i: 0 })],
    ['i=0 beside a good set', withSet(one, relay, { i: 0 })],
    ['i=-1', first({ i: '-1' })],
    ['i=1a', first({ i: '1a' })],
    ['i=001', first({ i: '001' })],
    ['an empty i=', first({ i: '' })],
    ['I= for i=', seal('i=1', 'I=1')],
    ['another instance in the seal', seal('i=1', 'i=2')],
    ['no instance in the seal', seal('i=1; ', '')],
    ['no instance in the message signature', ams('i=1; ', '')],
    ['no instance in the results', first({ aar: swap('i=1; ', '') })],
    ['an instance that is not first in the results', first({ aar: () => 'mx.test; i=1; none' })],
    ['two instances in the seal', seal('i=1; ', 'i=1; i=1; ')],
    // step 3 C
    ['cv=pass in the first set', first({ cv: 'pass' })],
    ['cv=fail in the first set', first({ cv: 'fail' })],
    ['cv=none in the second set', resealed('none')],
    ['an empty cv= in the second set', resealed('')],
    ['an unknown cv=', resealed('passed')],
    ['no cv= in the second set', second({ seal: swap(/ cv=[^;]*;/, '') })],
    ['no cv= in the first set', seal(/ cv=[^;]*;/, '')],
    ['an empty cv= in the first set', seal(/cv=[^;]*;/, 'cv=;')],
    ['CV= for cv=', seal('cv=', 'CV=')],
    ['two cv=', seal('cv=none;', 'cv=none; cv=none;')],
    // step 4: the newest message signature
    ['another body than was signed', one.replace('Hello.', 'Goodbye.')],
    ['another subject than was signed', one.replace('Subject: hello', 'Subject: goodbye')],
    ['a change after the newest set, the older ones being broken too', rewritten.replace('the list', 'somebody')],
    [
      'a signed field that was added on the way',
      one.replace('Subject:', 'Subject: first\r\nSubject:').replace(/(Subject: first\r\n)(Subject: hello\r\n)/, '$2$1'),
    ],
    ['an expired message signature', ams('; b=', '; x=1767500001; b=')],
    ['a message signature that expires before it was made', ams('; b=', '; x=1767400000; b=')],
    ['another body hash', ams(/bh=[^;]*/, `bh=${'A'.repeat(43)}=`)],
    ['an empty bh=', ams(/bh=[^;]*/, 'bh=')],
    ['no bh=', ams(/ bh=[^;]*;/, '')],
    ['From not signed', first({ headers: ['to', 'subject'] })],
    ['an empty h=', first({ headers: [] })],
    ['no h=', ams(/ h=[^;]*;/, '')],
    ['ARC-Seal in h=', withSet(one, relay, { headers: ['from', 'arc-seal'] })],
    ['arc-seal in h= of the first set', first({ headers: ['from', 'Arc-Seal'] })],
    ['an unknown c=', ams('c=relaxed/relaxed', 'c=loose/relaxed')],
    ['an empty c=', ams('c=relaxed/relaxed', 'c=')],
    ['a c= of three', ams('c=relaxed/relaxed', 'c=relaxed/relaxed/relaxed')],
    ['a length of more than there is', ams('; b=', '; l=9; b=')],
    ['a b= with something behind it in the message signature', withSet(plain, relay, { ams: junk })],
    ['rsa-sha1 in the message signature', withSet(plain, rsa, { ams: swap('rsa-sha256', 'rsa-sha1') })],
    ['an unknown algorithm in the message signature', ams('a=ed25519-sha256', 'a=ed448-sha256')],
    ['no algorithm in the message signature', ams(/ a=[^;]*;/, '')],
    ['an empty algorithm in the message signature', ams(/a=[^;]*;/, 'a=;')],
    ['no domain in the message signature', ams(/ d=[^;]*;/, '')],
    ['an empty domain in the message signature', ams(/ d=[^;]*;/, ' d=;')],
    ['no selector in the message signature', ams(/ s=[^;]*;/, '')],
    ['a time that is none in the message signature', ams(/t=\d+/, 't=soon')],
    ['an empty time in the message signature', ams(/t=\d+/, 't=')],
    ['a length that is none', ams('; b=', '; l=all; b=')],
    ['two h=', ams('; h=', '; h=from; h=')],
    ['a tag without a value sign', ams('; b=', '; junk; b=')],
    ['an empty b= in the message signature', one.replace(/(ARC-Message-Signature:.* b=).*/, '$1')],
    [
      'a changed b= in the message signature',
      one.replace(/(ARC-Message-Signature:.* b=)(.)/, (_, name, c) => name + (c === 'A' ? 'B' : 'A')),
    ],
    // step 6: every seal
    ['results of the first set that were changed', two.replace('i=1; mx.test; none', 'i=1; mx.test; spf=pass')],
    ['results of the last set that were changed', two.replace('i=2; mx.test; none', 'i=2; mx.test; spf=pass')],
    [
      'a first message signature that was changed',
      two.replace(/(ARC-Message-Signature: i=1;.*)t=1767500000/, '$1t=1767500001'),
    ],
    ['a first seal that was changed', two.replace(/(ARC-Seal: i=1;.*)t=1767500000/, '$1t=1767500001')],
    ['a last seal that was changed', two.replace(/(ARC-Seal: i=2;.*)t=1767500000/, '$1t=1767500001')],
    ['a first seal of somebody else', two.replace(/(ARC-Seal: i=1;.* b=).*/, `$1${'A'.repeat(86)}==`)],
    ['a seal over itself alone that says pass', second({ alone: true })],
    ['h= in the seal', seal('; b=', '; h=from; b=')],
    ['an empty h= in the seal', seal('; b=', '; h=; b=')],
    ['h= in the first of two seals', withSet(seal('; b=', '; h=from; b='), relay)],
    ['rsa-sha1 in the seal', withSet(plain, rsa, { seal: swap('rsa-sha256', 'rsa-sha1') })],
    ['an unknown algorithm in the seal', seal('a=ed25519-sha256', 'a=ed448-sha256')],
    ['no algorithm in the seal', seal(/ a=[^;]*;/, '')],
    ['an empty algorithm in the seal', seal(/ a=[^;]*;/, ' a=;')],
    ['no domain in the seal', seal(/ d=[^;]*;/, '')],
    ['an empty domain in the seal', seal(/ d=[^;]*;/, ' d=;')],
    ['no selector in the seal', seal(/ s=[^;]*;/, '')],
    ['an empty selector in the seal', seal(/ s=[^;]*;/, ' s=;')],
    ['a time that is none in the seal', seal(/t=\d+/, 't=soon')],
    ['an empty time in the seal', seal(/t=\d+/, 't=')],
    ['two d= in the seal', seal('; d=', '; d=relay.test; d=')],
    ['a tag without a value sign in the seal', seal('; b=', '; junk; b=')],
    ['a tag name that is none', seal('; b=', '; 1z=x; b=')],
    ['an empty tag in the middle', seal('; b=', ';; b=')],
    ['an empty b= in the seal', one.replace(/(ARC-Seal:.* b=).*/, '$1')],
    ['no b= in the seal', one.replace(/(ARC-Seal:.*); b=.*/, '$1')],
    ['a b= with something behind it', one.replace(/(ARC-Seal:.* b=.*)/, '$1*')],
    [
      'a b= with something behind it in the first of two seals',
      withSet(one.replace(/(ARC-Seal:.* b=.*)/, '$1*'), relay),
    ],
    ['a b= that is no base 64', one.replace(/(ARC-Seal:.* b=)./, '$1*')],
    // keys
    ['a key that is not published', first({ ams: swap('d=relay.test', 'd=none.test') })],
    ['a seal by a key that is not published', seal('d=relay.test', 'd=none.test')],
    ['a key that was revoked', seal('d=relay.test', 'd=revoked.test')],
    ['a key for SHA-1 only', seal('d=relay.test', 'd=sha1.test')],
    ['a key that is not for mail', seal('d=relay.test', 'd=other.test')],
    ['a key of another type', seal('d=relay.test', 'd=rsa.test')],
    ['a message signature by a key of another type', ams('d=relay.test', 'd=rsa.test')],
    ['a key of 512 bits', withSet(plain, weak)],
    ['a name server that is down: every failure is for good', seal('d=relay.test', 'd=down.test')],
    ['one that does not answer', ams('d=relay.test', 'd=slow.test')],
  ])('%s', async (_what, message) => {
    expect(await judged(message)).toMatchObject({ result: 'fail' })
  })
})

describe('what is no chain', () => {
  it.each([
    ['no ARC fields', plain],
    ['fields that are named alike', `X-ARC-Seal: i=1\r\nARC-Seals: i=1\r\n${plain}`],
  ])('%s', async (_what, message) => {
    expect(await judged(message)).toMatchObject({ result: 'none', instance: 0 })
  })
})
