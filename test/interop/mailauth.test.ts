// Signed mail over SMTP to a running server whose resolver is Unbound: what its Authentication-Results say when all is
// well, when it is not, and when DNS is in trouble, each kind of trouble as it comes in life.

import { join } from 'node:path'
import { SmtpScript } from '@posthorn/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sign, signer } from '../../packages/plugins/mailauth/test/signed.ts'
import { type DnsRig, dnsPrograms, type RigZone, startDns } from './dns-rig.ts'
import { delivered, headerOf } from './mailbox.ts'
import { needs } from './needs.ts'
import { accounts, type RunningPosthorn, startPosthorn } from './posthorn.ts'

/** Everybody signs with one key. */
const { record } = signer('any.test', { kind: 2048 })
const text = (record.match(/.{1,200}/g) ?? []).map(part => `"${part}"`).join(' ')

/** A domain that signs, whose mail comes from `host`. */
const sending = (state?: RigZone['state'], { host = '127.0.0.1', policy = 'reject' } = {}): RigZone => ({
  ...(state === undefined ? {} : { state }),
  records: `@ TXT "v=spf1 ip4:${host} -all"
_dmarc TXT "v=DMARC1; p=${policy}"
s1._domainkey TXT ${text}
host A 127.0.0.1
host TXT "v=spf1 a -all"`,
})

const zones = {
  'good.test': sending('signed'),
  'plain.test': sending(),
  'away.test': sending('signed', { host: '192.0.2.1' }),
  'mild.test': sending('signed', { host: '192.0.2.1', policy: 'none' }),
  'strict.test': sending('signed', { host: '192.0.2.1', policy: 'quarantine' }),
  'bogus.test': sending('bogus'),
  'lame.test': sending('lame'),
  'asleep.test': sending('signed'),
  'gone.test': sending('signed'),
  'silent.test': sending('signed'),
}

describe.runIf(needs(...dnsPrograms))('a server behind Unbound', () => {
  let rig: DnsRig
  /** What DNS trouble does there: nothing, or `451`. */
  let accepting: RunningPosthorn
  let deferring: RunningPosthorn

  beforeAll(async () => {
    rig = await startDns(zones)
    const start = (temperror: 'accept' | 'defer') =>
      startPosthorn({
        dns: { servers: [rig.resolver], timeout: 1_000, attempts: 1 },
        plugins: [
          'storage-level',
          { domains: { domains: ['example.test'] } },
          accounts,
          'maildir',
          { mailauth: { temperror, workers: 1 } },
        ],
      })
    accepting = await start('accept')
    deferring = await start('defer')
  })
  afterAll(async () => {
    await accepting?.[Symbol.asyncDispose]()
    await deferring?.[Symbol.asyncDispose]()
    await rig?.[Symbol.asyncDispose]()
  })

  let letters = 0

  /** A letter from `domain`, signed; the reply to its dot, and what the results say of it if it arrived. */
  async function mail(
    domain: string,
    { to = accepting, change = (eml: string) => eml, junk = false, from = `anna@${domain}` } = {},
  ) {
    const box = `n${letters++}`
    const eml = `From: anna@${domain}\r\nTo: ${box}@example.test\r\nSubject: hello\r\n\r\nHow are you?\r\n`
    const signed = change(await sign(eml, [signer(domain, { kind: 2048 })]))
    await using client = await SmtpScript.connect({ port: to.ports.mx as number, patience: 30_000 })
    await client.speak(`
      S: 220 *
      C: EHLO host.good.test
      S: 250 ...
      C: MAIL FROM:<${from}>
      S: 250 *
      C: RCPT TO:<${box}@example.test>
      S: 250 *
      C: DATA
      S: 354 *
    `)
    await client.send(`${signed}.\r\n`)
    const [reply = ''] = await client.reply()
    if (!reply.startsWith('250')) return { reply, results: [] }
    const maildir = join(to.folder, 'data/mail/example.test', box, junk ? '.Junk' : '')
    const [stored = ''] = await delivered(maildir, 1)
    const field = /^Authentication-Results: mx\.example\.test; (.*)\r?$/m.exec(headerOf(stored))?.[1] ?? ''
    return { reply, results: field.split('; ').filter(result => /^(?:spf|dkim|dmarc)=/.test(result)) }
  }

  /** Short of what is not the same each time. */
  const brief = (results: readonly string[]) =>
    results.filter(result => !result.includes('smtp.helo')).map(result => result.replace(/ header\.[iasb]=\S+/g, ''))

  const temperror = (domain: string, why: 'ETIMEOUT' | 'ESERVFAIL') => [
    expect.stringMatching(new RegExp(`^spf=temperror .*smtp\\.mailfrom=anna@${domain}$`)),
    `dkim=temperror (DNS failure: ${why}) header.d=${domain}`,
    `dmarc=temperror (${why} TXT _dmarc.${domain}) header.from=${domain}`,
  ]

  test('says pass of mail that is what it says, and that DNSSEC vouches for the key', async () => {
    expect(brief((await mail('good.test')).results)).toEqual([
      'spf=pass (domain of anna@good.test designates 127.0.0.1 as permitted sender) smtp.mailfrom=anna@good.test',
      'dkim=pass (key by DNSSEC) header.d=good.test',
      'dmarc=pass (p=reject) header.from=good.test policy.dmarc=reject',
    ])
    expect(brief((await mail('plain.test')).results)).toContain('dkim=pass header.d=plain.test')
  })

  test('of another host: SPF fails, and DMARC passes by the signature', async () => {
    expect(brief((await mail('away.test')).results)).toEqual([
      expect.stringMatching(/^spf=fail .* smtp\.mailfrom=anna@away\.test$/),
      'dkim=pass (key by DNSSEC) header.d=away.test',
      'dmarc=pass (p=reject) header.from=away.test policy.dmarc=reject',
    ])
  })

  test('of a changed letter: DKIM fails, and DMARC passes by the host', async () => {
    const change = (eml: string) => eml.replace('How are you', 'Who are you')
    expect(brief((await mail('good.test', { change })).results)).toEqual([
      expect.stringMatching(/^spf=pass /),
      'dkim=fail (body hash did not verify) header.d=good.test',
      'dmarc=pass (p=reject) header.from=good.test policy.dmarc=reject',
    ])
  })

  test('of both, all fails: it is refused, goes to Junk or arrives, as the domain asks', async () => {
    const change = (eml: string) => eml.replace('Subject: hello', 'Subject: goodbye')
    expect((await mail('away.test', { change })).reply).toBe(
      '550 5.7.1 Not authorised by the domain of its author (DMARC policy of away.test)',
    )
    for (const [domain, policy] of [
      ['strict.test', 'quarantine'],
      ['mild.test', 'none'],
    ] as const) {
      const { results } = await mail(domain, { change, junk: policy === 'quarantine' })
      expect(brief(results)).toEqual([
        expect.stringMatching(new RegExp(`^spf=fail .* smtp\\.mailfrom=anna@${domain}$`)),
        expect.stringMatching(new RegExp(`^dkim=fail \\(bad signature.*\\) header\\.d=${domain}$`)),
        `dmarc=fail (p=${policy}) header.from=${domain} policy.dmarc=${policy}`,
      ])
    }
  })

  test.each(['bogus.test', 'lame.test'])('%s, which Unbound answers with SERVFAIL: a temporary error', async domain => {
    expect(brief((await mail(domain)).results)).toEqual(temperror(domain, 'ESERVFAIL'))
    expect((await mail(domain, { to: deferring })).reply).toBe('451 4.7.0 DMARC cannot be checked now, try again later')
  })

  test('a resolver that sleeps: the same by timeout; it wakes, and all is well', async () => {
    rig.sleep()
    try {
      const { results } = await mail('asleep.test')
      expect(brief(results)).toEqual(temperror('asleep.test', 'ETIMEOUT'))
      expect((await mail('asleep.test', { to: deferring })).reply).toMatch(/^451 4\.7\.0 /)
    } finally {
      rig.wake()
    }
    expect(brief((await mail('good.test')).results)).toContain('dkim=pass (key by DNSSEC) header.d=good.test')
  })

  test('name servers of a domain that are gone: the same, and what is known still passes', async () => {
    await rig.stop('authority')
    const { results } = await mail('gone.test')
    expect(brief(results)).toEqual(temperror('gone.test', 'ETIMEOUT'))
    expect((await mail('gone.test', { to: deferring })).reply).toMatch(/^451 4\.7\.0 /)
    expect(brief((await mail('good.test')).results)).toContain(
      'dmarc=pass (p=reject) header.from=good.test policy.dmarc=reject',
    )
  })

  test('no resolver: the same, at once', async () => {
    await rig.stop('resolver')
    expect(brief((await mail('silent.test')).results)).toEqual(temperror('silent.test', 'ETIMEOUT'))
    expect((await mail('silent.test', { to: deferring })).reply).toMatch(/^451 4\.7\.0 /)
  })
})
