import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  decodeUnitext,
  decodeXtext,
  encodeUnitext,
  encodeXtext,
  formatMailParams,
  formatRcptParams,
  isMalformed,
  parseMailParams,
  parseRcptParams,
} from '../src/index.ts'

const all = new Set([
  'SIZE',
  '8BITMIME',
  'BINARYMIME',
  'SMTPUTF8',
  'REQUIRETLS',
  'DSN',
  'AUTH',
  'MT-PRIORITY',
  'DELIVERBY',
])

describe('MAIL', () => {
  test('every parameter', () => {
    const rest = 'size=1024 Body=8bitmime SMTPUTF8 REQUIRETLS RET=hdrs ENVID=QQ+20314+2B AUTH=<> MT-PRIORITY=-3 X'
    expect(parseMailParams(rest)).toEqual({
      size: 1024,
      body: '8bitmime',
      smtputf8: true,
      requireTls: true,
      ret: 'hdrs',
      envid: 'QQ 314+',
      auth: '<>',
      other: { 'MT-PRIORITY': '-3', X: true },
    })
  })

  test('none: absent stays absent', () => {
    expect(parseMailParams('')).toEqual({ smtputf8: false, requireTls: false, other: {} })
  })

  test.each([
    'SIZE',
    'SIZE=',
    'SIZE=-1',
    'SIZE=1e3',
    `SIZE=${'9'.repeat(21)}`,
    'BODY',
    'BODY=9BIT',
    'SMTPUTF8=yes',
    'REQUIRETLS=1',
    'RET',
    'RET=BODY',
    'ENVID',
    'ENVID=a+2',
    'ENVID=a+0D+0Ab',
    'ENVID=a+C3+A9',
    `ENVID=${'a'.repeat(101)}`,
    'AUTH',
    'AUTH=+0A',
    'SIZE=1 SIZE=2',
    'SIZE=1 size=1',
    'X X',
    '=1',
    '-X=1',
    'X==1',
    'X=a=b',
    'X=\u0001',
    'X\u0000=1',
    'X=ü',
    'SIZE=1\tBODY=7BIT',
    Array.from({ length: 101 }, (_, i) => `X${i}`).join(' '),
  ])('%j is 501 5.5.4', rest => expect(parseMailParams(rest)).toMatchObject({ code: 501, enhanced: '5.5.4' }))

  test('a refusal quotes nothing of what was sent', () => {
    const found = parseMailParams('ENVID=+zzSECRET')
    expect(JSON.stringify(found)).not.toContain('SECRET')
  })

  test('limits hold at the edge', () => {
    expect(parseMailParams(`ENVID=${'a'.repeat(100)}`)).toMatchObject({ envid: 'a'.repeat(100) })
    expect(parseMailParams(`SIZE=${'9'.repeat(20)}`)).toHaveProperty('size')
  })

  test('keywords that are names of object members are kept like others', () => {
    const found = parseMailParams('CONSTRUCTOR=1 TOSTRING')
    expect(found).toEqual({ smtputf8: false, requireTls: false, other: { CONSTRUCTOR: '1', TOSTRING: true } })
  })

  test('what the peer does not offer is not said', () => {
    const params = parseMailParams('SIZE=9 BODY=8BITMIME RET=FULL ENVID=a+20b AUTH=u+40x BY=120;N MT-PRIORITY=3')
    if (isMalformed(params)) throw new Error(params.error)
    expect(formatMailParams(params, new Set())).toBe('')
    expect(formatMailParams(params, new Set(['SIZE']))).toBe(' SIZE=9')
    expect(formatMailParams(params, new Set(['DSN']))).toBe(' RET=FULL ENVID=a+20b')
    expect(formatMailParams(params, all)).toBe(
      ' SIZE=9 BODY=8BITMIME RET=FULL ENVID=a+20b AUTH=u@x BY=120;N MT-PRIORITY=3',
    )
    expect(formatMailParams({ ...params, body: 'binarymime' }, new Set(['8BITMIME']))).toBe('')
  })
})

describe('RCPT', () => {
  test('NOTIFY', () => {
    expect(parseRcptParams('NOTIFY=never')).toMatchObject({ notify: ['never'] })
    expect(parseRcptParams('NOTIFY=Success,FAILURE,delay,success')).toMatchObject({
      notify: ['success', 'failure', 'delay'],
    })
    expect(parseRcptParams('')).toEqual({ other: {} })
  })

  test.each([
    'NOTIFY',
    'NOTIFY=',
    'NOTIFY=NEVER,SUCCESS',
    'NOTIFY=SUCCESS,NEVER',
    'NOTIFY=SUCCESS,',
    'NOTIFY=,SUCCESS',
    'NOTIFY=ALWAYS',
    'NOTIFY=NEVER NOTIFY=NEVER',
    'ORCPT',
    'ORCPT=bob@x',
    'ORCPT=rfc822;',
    'ORCPT=;bob@x',
    'ORCPT=rfc822;a+0D+0ASubject:',
    'ORCPT=rfc822;a+C3+BC',
    'ORCPT=utf-8;a\\x{0A}b',
    `ORCPT=rfc822;${'a'.repeat(494)}`,
    'ORCPT=utf-8;ü@x',
  ])('%j is 501 5.5.4', rest => expect(parseRcptParams(rest)).toMatchObject({ code: 501, enhanced: '5.5.4' }))

  test('ORCPT keeps its case, and says the same to the next peer', () => {
    const params = parseRcptParams('ORCPT=RFC822;Bob+2BTag@Example.COM')
    expect(params).toMatchObject({ orcpt: 'RFC822;Bob+Tag@Example.COM' })
    if (!isMalformed(params)) expect(formatRcptParams(params, all)).toBe(' ORCPT=RFC822;Bob+2BTag@Example.COM')
  })

  test('ORCPT in UTF-8, in all three forms (RFC 6533 §3)', () => {
    for (const [text, smtputf8] of [
      ['utf-8;\\x{FC}\\x{5C}@x', false],
      ['utf-8;ü\\x{5C}@x', true],
    ] as const) {
      const params = parseRcptParams(`ORCPT=${text}`, { smtputf8 })
      expect(params).toMatchObject({ orcpt: 'utf-8;ü\\@x' })
      if (isMalformed(params)) continue
      expect(formatRcptParams(params, all)).toBe(' ORCPT=utf-8;\\x{FC}\\x{5C}@x')
      expect(formatRcptParams(params, all, { smtputf8: true })).toBe(' ORCPT=utf-8;ü\\x{5C}@x')
    }
    // What is labelled so and is not is kept as it came.
    expect(parseRcptParams('ORCPT=utf-8;a\\b@x')).toMatchObject({ orcpt: 'utf-8;a\\b@x' })
  })

  test('absent NOTIFY stays absent', () => {
    expect(formatRcptParams({ orcpt: 'rfc822;a@b' }, all)).toBe(' ORCPT=rfc822;a@b')
    expect(formatRcptParams({ notify: ['never'] }, new Set())).toBe('')
    expect(formatRcptParams({ notify: ['success', 'delay'] }, all)).toBe(' NOTIFY=SUCCESS,DELAY')
  })
})

describe('property:', () => {
  const text = fc.string({ unit: 'binary' }).map(text => text.toWellFormed())

  test('xtext and unitext give back what they were given, in allowed characters', () => {
    fc.assert(
      fc.property(text, text => {
        const xtext = encodeXtext(text)
        expect(xtext).toMatch(/^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/)
        expect(decodeXtext(xtext)).toBe(text)
        for (const ascii of [true, false]) {
          const encoded = encodeUnitext(text, { ascii })
          expect(encoded).toMatch(ascii ? /^[!-*,-<>-~]*$/ : /^[!-*,-<>-~\u0080-\u{10ffff}]*$/u)
          expect(decodeUnitext(encoded)).toBe(text)
        }
      }),
    )
  })

  test('no text makes a parser throw', () => {
    const words = fc.array(
      fc.oneof(
        text,
        fc.constantFrom('SIZE=', 'ORCPT=utf-8;', 'ORCPT=rfc822;', 'NOTIFY=', '+', '\\x{110000}', '\\x{D800}', ','),
      ),
    )
    fc.assert(
      fc.property(words, fc.constantFrom('', ' '), (words, glue) => {
        parseMailParams(words.join(glue))
        parseRcptParams(words.join(glue), { smtputf8: true })
      }),
    )
  })

  test('parameters say the same once printed and read again', () => {
    const printable = fc.string({ maxLength: 30 })
    const mail = fc.record(
      {
        size: fc.nat(),
        body: fc.constantFrom('7bit', '8bitmime', 'binarymime'),
        ret: fc.constantFrom('full', 'hdrs'),
        envid: printable,
        auth: printable.filter(text => text !== ''),
        smtputf8: fc.boolean(),
        requireTls: fc.boolean(),
        other: fc.constantFrom({}, { 'MT-PRIORITY': '2' }),
      },
      { requiredKeys: ['smtputf8', 'requireTls', 'other'] },
    )
    fc.assert(
      fc.property(mail, params => {
        if (params.envid === '') delete params.envid
        if ((params.envid && encodeXtext(params.envid).length > 100) || params.auth === '<>') return
        expect(parseMailParams(formatMailParams(params, all))).toEqual(params)
      }),
    )
    const address = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
      .filter(text => !/\p{Cc}|\ufffd/u.test(text))
    fc.assert(
      fc.property(address, fc.boolean(), (address, smtputf8) => {
        const orcpt = `utf-8;${address}`
        expect(parseRcptParams(formatRcptParams({ orcpt }, all, { smtputf8 }), { smtputf8 })).toMatchObject({ orcpt })
      }),
    )
  })
})
