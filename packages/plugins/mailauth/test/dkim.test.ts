import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checked, dkimResults } from './checked.ts'
import { letter } from './given.ts'
import { sign, signer } from './signed.ts'

/**
 * With the line ends of the wire. RFC 6376's own text does not verify: its typesetting took a space from each fold and
 * gave one to the body; the fixture is what was signed, as the hashes prove.
 */
const example = (name: string) =>
  readFileSync(new URL(`./fixtures/${name}`, import.meta.url), 'utf8').replace(/\r?\n/g, '\r\n')

describe('examples of the RFCs', () => {
  const rfc6376 = {
    'brisbane._domainkey.example.com': {
      TXT:
        'v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt' +
        'IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi' +
        'tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB',
    },
  }
  const rfc8463 = {
    'brisbane._domainkey.football.example.com': {
      TXT: 'v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=',
    },
    'test._domainkey.football.example.com': {
      TXT:
        'v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bd' +
        'OKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3' +
        'Ip3G+2kryOTIKT+l/K4w3QIDAQAB',
    },
  }

  it('RFC 6376 A.2, simple/simple', async () => {
    expect(await dkimResults(example('rfc6376-a2.eml'), rfc6376)).toEqual(['pass'])
    expect(await dkimResults(example('rfc6376-a2.eml').replace('dinner', 'lunch'), rfc6376)).toEqual([
      'fail (bad signature)',
    ])
  })

  it('RFC 8463 A.3, Ed25519 beside RSA', async () => {
    expect(await dkimResults(example('rfc8463-a3.eml'), rfc8463)).toEqual(['pass', 'pass'])
    expect(await dkimResults(example('rfc8463-a3.eml').replace('hungry', 'angry'), rfc8463)).toEqual([
      'fail (body hash did not verify)',
      'fail (body hash did not verify)',
    ])
  })
})

const anna = signer('sender.test')
const zones = { [anna.name]: { TXT: anna.record } }

describe('what a signature covers', () => {
  it('holds in every canonicalization and algorithm', async () => {
    const folded = letter(
      { Subject: 'a  long\r\n\tsubject \t with\r\n  folds' },
      'Trailing \t \r\n\r\n  x\ty\r\n\r\n\r\n',
    )
    for (const canonicalization of ['simple/simple', 'simple/relaxed', 'relaxed/simple', 'relaxed/relaxed']) {
      for (const kind of ['ed25519', 2048] as const) {
        const by = signer('sender.test', { kind })
        const message = await sign(folded, [by], { canonicalization })
        expect(await dkimResults(message, { [by.name]: { TXT: by.record } })).toEqual(['pass'])
      }
    }
  })

  it('breaks with a changed octet, header or body, and not with a field added above', async () => {
    const message = await sign(letter(), [anna])
    expect(await dkimResults(message.replace('hello', 'hallo'), zones)).toEqual(['fail (bad signature)'])
    expect(await dkimResults(message.replace('Hello.', 'Hallo.'), zones)).toEqual(['fail (body hash did not verify)'])
    expect(await dkimResults(`X-Scanned: yes\r\n${message}`, zones)).toEqual(['pass'])
  })

  it('is the same however the message is cut', async () => {
    const body = Array.from(
      { length: 300 },
      (_, i) => `line ${i} \t with  spaces \r\n${i % 7 === 0 ? '\r\n' : ''}`,
    ).join('')
    const message = Buffer.from(
      await sign(letter({}, body), [anna, signer('sender.test', { kind: 2048, selector: 'rsa' })], {
        canonicalization: 'relaxed/simple',
      }),
    )
    const rsa = signer('sender.test', { kind: 2048, selector: 'rsa' })
    const header = message.indexOf('\r\n\r\n') + 4
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: header, max: message.length }), { maxLength: 12 }), async cuts => {
        const at = [0, ...[...new Set(cuts)].sort((a, b) => a - b), message.length]
        const chunks = at.slice(1).map((end, i) => message.subarray(at[i], end))
        const found = await dkimResults(chunks, { ...zones, [rsa.name]: { TXT: rsa.record } })
        expect(found).toEqual(['pass', 'pass'])
      }),
      { numRuns: 40 },
    )
  })

  it('counts what l= leaves out', async () => {
    const message = await sign(letter(), [anna], { maxBodyLength: 6 })
    const { dkim } = await checked(`${message}An advertisement.\r\n`, zones)
    expect(dkim.signatures).toMatchObject([{ result: 'pass', unsigned: 21 }])
  })

  it('reads an empty body, no body at all, 8-bit text and long lines', async () => {
    for (const body of ['', '\r\n\r\n', 'Grüße aus München\r\n', `${'x'.repeat(200_000)}\r\n`, 'no line end']) {
      expect(await dkimResults(await sign(letter({}, body), [anna]), zones)).toEqual(['pass'])
    }
    const bare = (await sign(letter({}, ''), [anna])).replace(/\r\n\r\n$/, '\r\n')
    expect(await dkimResults(bare, zones)).toEqual(['pass'])
    expect((await checked('', {})).dkim).toEqual({ signatures: [], more: 0 })
  })
})

describe('signatures that nobody should believe', () => {
  const changed = async (change: (message: string) => string, by = anna) =>
    dkimResults(change(await sign(letter(), [by])), { [by.name]: { TXT: by.record } })

  it('says what is wrong with them', async () => {
    expect(await changed(m => m.replace(/v=1;/, 'v=2;'))).toEqual(['neutral (incompatible version)'])
    expect(await changed(m => m.replace(/a=ed25519-sha256;/, 'a=rsa-md5;'))).toEqual(['neutral (unknown algorithm)'])
    expect(await changed(m => m.replace(/h=/, 'x='))).toEqual(['neutral (signature missing required tag)'])
    expect(await changed(m => m.replace(/d=sender.test;/, 'd=sender.test; d=bank.test;'))).toEqual([
      'neutral (signature syntax error)',
    ])
    expect(await changed(m => m.replace(/d=sender.test;/, 'd=sender.test; i=@bank.test;'))).toEqual([
      'neutral (domain mismatch)',
    ])
    expect(await changed(m => m.replace(/:\s*From/, ''))).toEqual(['permerror (From field not signed)'])
  })

  it('does not take one that has expired', async () => {
    const expires = new Date(Date.UTC(2026, 0, 4, 12))
    expect(await dkimResults(await sign(letter(), [anna], { expires }), zones)).toEqual(['neutral (expired)'])
    const message = await sign(letter(), [anna], { expires: new Date(Date.UTC(2026, 0, 6)) })
    expect(await dkimResults(message, zones)).toEqual(['pass'])
  })

  it('does not take SHA-1 (RFC 8301)', async () => {
    const by = signer('sender.test', { kind: 2048 })
    const message = await sign(letter(), [by], { algorithm: 'rsa-sha1' })
    expect(await dkimResults(message, { [by.name]: { TXT: by.record } })).toEqual(['policy (weak algorithm)'])
  })
})

describe('keys', () => {
  const withKey = async (TXT: string | string[], more: object = {}) =>
    dkimResults(await sign(letter(), [anna]), { [anna.name]: { TXT, ...more } })

  it('must be there, for this, and readable', async () => {
    const { record } = anna
    expect(await dkimResults(await sign(letter(), [anna]))).toEqual(['permerror (no key)'])
    expect(await withKey('v=DKIM1; p=')).toEqual(['permerror (invalid public key)'])
    expect(await withKey('v=DKIM1; k=ed25519; p=%%%')).toEqual(['permerror (invalid public key)'])
    expect(await withKey(record.replace('DKIM1', 'DKIM2'))).toEqual(['permerror (unknown key version)'])
    expect(await withKey(record.replace('k=ed25519', 'k=rsa'))).toEqual([expect.stringContaining('permerror')])
    expect(await withKey(`${record}; h=sha1`)).toEqual(['permerror (inappropriate hash algorithm)'])
    expect(await withKey(`${record}; s=tlsrpt`)).toEqual(['permerror (key not for email)'])
    expect(await withKey(`${record}; t=y`)).toEqual(['pass'])
  })

  it('are found among other records, and by selectors with an underscore', async () => {
    expect(await withKey(['google-site-verification=x', anna.record])).toEqual(['pass'])
    const odd = signer('sender.test', { selector: 'k2_2026' })
    expect(await dkimResults(await sign(letter(), [odd]), { [odd.name]: { TXT: odd.record } })).toEqual(['pass'])
  })

  it('have a size', async () => {
    for (const [kind, result] of [
      [512, 'policy (weak key)'],
      [1024, 'pass'],
      [3072, 'pass'],
    ] as const) {
      const by = signer('sender.test', { kind })
      const zone = { [by.name]: { TXT: by.record } }
      expect(await dkimResults(await sign(letter(), [by]), zone)).toEqual([result])
      if (kind === 3072) {
        expect(await dkimResults(await sign(letter(), [by]), zone, { maxKeyBits: 2048 })).toEqual([
          'policy (key too large)',
        ])
      }
    }
  })

  it('are said to be secure where DNSSEC vouches for them, each for itself', async () => {
    const rsa = signer('sender.test', { selector: 'rsa', kind: 2048 })
    const zone = { [anna.name]: { TXT: anna.record, secure: true }, [rsa.name]: { TXT: rsa.record } }
    const { signatures } = (await checked(await sign(letter(), [anna, rsa]), zone)).dkim
    expect(signatures.map(({ selector, secure }) => `${selector} ${secure}`)).toEqual(['s1 true', 'rsa undefined'])
  })

  it('that cannot be had now are a temporary error', async () => {
    const message = await sign(letter(), [anna])
    for (const fail of ['servfail', 'timeout', 'refused'] as const) {
      expect(await dkimResults(message, { [anna.name]: { fail } })).toEqual([expect.stringContaining('temperror')])
    }
  })
})
