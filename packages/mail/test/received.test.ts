import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatReceived, type Received, receivedProtocol, scanHeader } from '../src/index.ts'

const base: Received = { by: 'mx.example', id: '01JABC', date: 0 }

describe('formatReceived', () => {
  test('a client over TLS', () => {
    expect(
      formatReceived({
        ...base,
        helo: 'client.test',
        ip: '192.0.2.1',
        name: 'host.client.test',
        protocol: 'ESMTPSA',
        tls: { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384' },
        for: { local: 'bob', domain: 'example.com' },
      }),
    ).toBe(
      [
        'Received: from client.test (host.client.test [192.0.2.1])',
        '\tby mx.example with ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384)',
        '\tid 01JABC for <bob@example.com>;',
        '\tThu, 1 Jan 1970 00:00:00 +0000',
        '',
      ].join('\r\n'),
    )
  })

  test('mail that began here', () => {
    expect(formatReceived(base)).toBe('Received: by mx.example\r\n\tid 01JABC;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n')
  })

  test('IPv6, a literal HELO, none at all, a unix socket', () => {
    expect(formatReceived({ ...base, helo: '[IPv6:::1]', ip: '::1' })).toContain('from [IPv6:::1] ([IPv6:::1])\r\n')
    expect(formatReceived({ ...base, helo: '', ip: '192.0.2.1' })).toContain('from unknown ([192.0.2.1])\r\n')
    expect(formatReceived({ ...base, helo: 'x', ip: 'unix' })).toContain('from x\r\n')
    expect(formatReceived({ ...base, helo: 'bücher.test', ip: '::1' })).toContain('from xn--bcher-kva.test (')
  })

  test('a recipient that cannot stand there is left out', () => {
    expect(formatReceived({ ...base, for: { local: 'ü', domain: 'x' } })).not.toContain('for')
    expect(formatReceived({ ...base, protocol: 'UTF8SMTP', for: { local: 'ü', domain: 'x' } })).toContain('for <ü@x>')
    expect(formatReceived({ ...base, for: { local: 'a b', domain: 'x' } })).not.toContain('for')
    expect(formatReceived({ ...base, for: { local: 'a"b', domain: 'x' } })).toContain('for <"a\\"b"@x>')
  })

  test('hostile words become ?', () => {
    const field = formatReceived({ ...base, helo: 'a) by evil\r\nX: y (', ip: '::1', name: '(', by: 'mx"', id: 'a;b' })
    expect(field).toContain('from a??by?evil??X:?y?? (? [IPv6:::1])\r\n\tby mx?\r\n\tid a?b;')
  })

  test('property: one field, balanced, short lines, whatever the client said', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 400 }),
      fc.constantFrom('\r\nX: y', ')', '(', '\\', '"', ';', '\0'),
    )
    fc.assert(
      fc.property(text, text, text, text, text, (helo, name, cipher, id, local) => {
        const field = formatReceived({
          ...base,
          helo,
          name,
          ip: '192.0.2.1',
          id,
          protocol: 'UTF8SMTPS',
          tls: { protocol: 'TLSv1.3', cipher },
          for: { local, domain: 'x' },
        })
        expect(scanHeader(Buffer.from(`${field}\r\n`)).fields).toHaveLength(1)
        expect(field.split('(').length).toBe(field.split(')').length)
        for (const line of field.split('\r\n')) expect(Buffer.byteLength(line)).toBeLessThanOrEqual(998)
      }),
    )
  })
})

test('the words after "with" (RFC 3848, RFC 6531 §4.3)', () => {
  const word = (verb: 'HELO' | 'EHLO' | 'LHLO', tls = false, auth = false, smtputf8 = false) =>
    receivedProtocol({ verb, tls, auth, smtputf8 })
  expect([word('HELO'), word('HELO', true, false, true)]).toEqual(['SMTP', 'SMTP'])
  expect([word('EHLO'), word('EHLO', true), word('EHLO', false, true), word('EHLO', true, true)]).toEqual([
    'ESMTP',
    'ESMTPS',
    'ESMTPA',
    'ESMTPSA',
  ])
  expect([word('EHLO', true, true, true), word('LHLO', true), word('LHLO', false, true, true)]).toEqual([
    'UTF8SMTPSA',
    'LMTPS',
    'UTF8LMTPA',
  ])
})
