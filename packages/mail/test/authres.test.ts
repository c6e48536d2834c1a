import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AuthResults,
  authservIdOf,
  claimsAuthserv,
  foldField,
  formatAuthResults,
  parseAuthResults,
  sameAuthserv,
} from '../src/index.ts'

const unfolded = (value: string) => value.replace(/\r\n/g, '')

describe('printed', () => {
  test('one result a line', () => {
    expect(
      formatAuthResults({
        authservId: 'mx.example',
        results: [
          { method: 'spf', result: 'pass', properties: [['smtp.mailfrom', 'bob@x.test']] },
          {
            method: 'dkim',
            result: 'fail',
            comment: 'bad (really)',
            reason: 'body hash',
            properties: [['header.d', 'x.test']],
          },
        ],
      }),
    ).toBe(
      'mx.example;\r\n\tspf=pass smtp.mailfrom=bob@x.test;\r\n\tdkim=fail (bad \\(really\\)) reason="body hash" header.d=x.test',
    )
    expect(formatAuthResults({ authservId: 'mx.example', results: [] })).toBe('mx.example; none')
  })

  test('hostile values stay values', () => {
    const value = formatAuthResults({
      authservId: 'mx.example',
      results: [
        {
          method: 'spf',
          result: 'pass',
          properties: [
            ['smtp.mailfrom', 'a"; dkim=pass (\r\nX: y'],
            ['b ad', 'z'],
          ],
        },
      ],
    })
    expect(parseAuthResults(unfolded(value))?.results).toEqual([
      { method: 'spf', result: 'pass', properties: [['smtp.mailfrom', 'a"; dkim=pass (  X: y']] },
    ])
    expect(foldField('Authentication-Results', value)).not.toContain('\r\nX')
  })
})

describe('read', () => {
  // RFC 8601 Appendix B.
  test.each([
    ['example.org 1; none', 'example.org', []],
    ['example.com; spf=pass smtp.mailfrom=example.net', 'example.com', [['spf', 'pass']]],
    [
      'example.com; auth=pass (cram-md5) smtp.auth=sender@example.net; spf=pass smtp.mailfrom=example.net',
      'example.com',
      [
        ['auth', 'pass'],
        ['spf', 'pass'],
      ],
    ],
    [
      "foo.example.net (foobar) 1 (baz); dkim (Because I like it) / 1 (One yay) = (wait for it) fail policy (A dot can go here) . (like that) expired (this surprised me) = (as I wasn't expecting it) 1362471462",
      'foo.example.net',
      [['dkim', 'fail']],
    ],
    ['mx; dkim=pass reason="good; \\"signature\\"" header.i=@x.test;', 'mx', [['dkim', 'pass']]],
  ])('%s', (value, authservId, results) => {
    const found = parseAuthResults(value)
    expect(found?.authservId).toBe(authservId)
    expect(found?.results.map(one => [one.method, one.result])).toEqual(results)
  })

  test.each([
    '',
    ';',
    'mx',
    'mx;',
    'mx; spf',
    'mx; spf=',
    'mx; spf=pass smtp',
    'mx; spf=pass (',
    '"mx; none',
    'mx; none; spf=pass',
  ])('%j is none', value => expect(parseAuthResults(value)).toBeUndefined())
})

describe('whose it is', () => {
  test.each([
    'mx.example; spf=pass',
    'MX.Example;spf=pass',
    '  mx.example 1; none',
    '(hi) mx.example; none',
    '(a (nested \\) ) c) "mx.example" (x) 1; none',
    '"mx.ex\\ample"; none',
    'mx.example.; none',
    'mx.example',
    'mx.example(x); utter garbage = = ;',
    '"mx.example; spf=pass',
    '(mx.example; spf=pass',
  ])('%j claims to be ours', value => expect(claimsAuthserv(value, 'mx.example')).toBe(true))

  test.each(['mx.example.org; spf=pass', 'other; spf=pass smtp.mailfrom=mx.example', '(mx.example) other; none', ''])(
    '%j does not',
    value => expect(claimsAuthserv(value, 'mx.example')).toBe(false),
  )

  test('U-labels and A-labels are one id', () => {
    expect(sameAuthserv('bücher.example', 'xn--bcher-kva.EXAMPLE')).toBe(true)
    expect(authservIdOf('"a b"; none')).toBe('a b')
    expect(authservIdOf('(only a comment)')).toBeUndefined()
  })
})

test('property: what is printed is read as it was meant, folded or not', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1 }).filter(text => !/\p{Cc}|[\u2028\u2029]/u.test(text))
  const keyword = fc.constantFrom('spf', 'dkim', 'x-test', 'iprev')
  const result = fc.record(
    {
      method: keyword,
      result: fc.constantFrom('pass', 'fail', 'temperror'),
      reason: text,
      properties: fc.array(fc.tuple(fc.constantFrom('smtp.mailfrom', 'header.d', 'policy.x-y'), text), {
        minLength: 1,
      }),
    },
    { requiredKeys: ['method', 'result'] },
  )
  fc.assert(
    fc.property(text, fc.array(result, { maxLength: 4 }), (authservId, results) => {
      const given: AuthResults = { authservId, results }
      const value = formatAuthResults(given)
      expect(parseAuthResults(unfolded(value))).toEqual(given)
      expect(claimsAuthserv(unfolded(value), authservId)).toBe(true)
    }),
  )
})

test('property: no text makes the reader throw, and long ones take no time', () => {
  const piece = fc.constantFrom('mx', ';', '(', ')', '"', '\\', '=', '.', '/', ' ', 'none', 'spf', '1', 'ü', '\0')
  fc.assert(
    fc.property(fc.array(piece), pieces => {
      parseAuthResults(pieces.join(''))
      claimsAuthserv(pieces.join(''), 'mx')
    }),
    { numRuns: 2000 },
  )
  for (const hostile of ['(', '"', '\\', '; a=b', 'a.b=c ', '"\\', '((\\']) {
    const began = performance.now()
    parseAuthResults(`mx; a=b ${hostile.repeat(50_000)}`)
    parseAuthResults(hostile.repeat(50_000))
    expect(performance.now() - began).toBeLessThan(1000)
  }
})
