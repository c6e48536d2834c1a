// The ESMTP parameters of MAIL and RCPT, parsed and printed. What a server offers is its own business.
import type { Malformed } from './malformed.ts'
import { decodeUnitext, decodeXtext, encodeUnitext, encodeXtext } from './xtext.ts'

/** What MAIL FROM said beside the reverse-path. Absent stays absent: what was not said is not relayed. */
export interface MailParams {
  /** Octets announced by SIZE= (RFC 1870). */
  readonly size?: number
  readonly body?: '7bit' | '8bitmime' | 'binarymime'
  readonly smtputf8: boolean
  readonly requireTls: boolean
  readonly ret?: 'full' | 'hdrs'
  /** Decoded from xtext (RFC 3461 §4.4). */
  readonly envid?: string
  /** Decoded from xtext; '<>' is kept as is (RFC 4954 §5). */
  readonly auth?: string
  readonly other: Readonly<Record<string, string | true>>
}

export type Notify = 'never' | 'success' | 'failure' | 'delay'

/** What RCPT TO said beside the forward-path (RFC 3461 §4.1, §4.2). Absent NOTIFY stays absent (§5.2.1). */
export interface RcptParams {
  readonly notify?: readonly Notify[]
  /** `addr-type;decoded address`, the case of the address kept. */
  readonly orcpt?: string
  readonly other: Readonly<Record<string, string | true>>
}

/** The keyword of the extension that allows a parameter, where it has another name. */
const extensionOf: Readonly<Record<string, string>> = {
  BY: 'DELIVERBY',
  HOLDFOR: 'FUTURERELEASE',
  HOLDUNTIL: 'FUTURERELEASE',
}
const maxEnvid = 100 // RFC 3461 §4.4
const maxOrcpt = 500 // RFC 3461 §4.2
const maxAuth = 500 // RFC 4954 §3
const maxParameters = 100
const printable = /^[ -~\t]*$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\u0000-\u001f\u007f-\u009f\ufffd]/
// RFC 5321 §4.1.2 esmtp-value; non-ASCII by RFC 6531 §3.3.
const form = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\u{10ffff}]+))?$/u

type Draft<T> = { -readonly [K in keyof T]: T[K] }

/** `rest` is what {@link parsePath} left. Unknown keywords land in `other`, upper case, for the caller to judge. */
export function parseMailParams(rest: string): MailParams | Malformed {
  const given = split(rest)
  if (!(given instanceof Map)) return given
  const smtputf8 = given.has('SMTPUTF8')
  const params: Draft<MailParams> = { smtputf8: false, requireTls: false, other: {} }
  for (const [keyword, value] of given) {
    if (value !== true && !smtputf8 && !isSevenBit(value)) return refuse(`Non-ASCII value of ${keyword} needs SMTPUTF8`)
    const bad = take(params, keyword, value)
    if (bad) return refuse(bad)
  }
  return params
}

/** Of most recipients: one for all, for there may be fifty thousand. */
const plain: RcptParams = Object.freeze({ other: Object.freeze({}) })

/** `smtputf8`: the transaction is one, so that values may be UTF-8. */
export function parseRcptParams(rest: string, options: { readonly smtputf8?: boolean } = {}): RcptParams | Malformed {
  if (rest === '') return plain
  const given = split(rest)
  if (!(given instanceof Map)) return given
  const params: Draft<RcptParams> = { other: {} }
  for (const [keyword, value] of given) {
    if (value !== true && !options.smtputf8 && !isSevenBit(value))
      return refuse(`Non-ASCII value of ${keyword} needs SMTPUTF8`)
    if (keyword === 'NOTIFY') {
      const notify = value === true ? undefined : parseNotify(value)
      if (!notify) return refuse('Bad NOTIFY')
      params.notify = notify
    } else if (keyword === 'ORCPT') {
      const orcpt = value === true ? undefined : parseOrcpt(value)
      if (orcpt === undefined) return refuse('Bad ORCPT')
      params.orcpt = orcpt
    } else remember(params, keyword, value)
  }
  return params
}

/**
 * What to write after the reverse-path, a space before each parameter; '' for none. `offered`: the EHLO keywords of
 * the peer in upper case; what it does not offer is left out, and whether that is right is the caller's question.
 */
export function formatMailParams(params: MailParams, offered: ReadonlySet<string>): string {
  let out = ''
  if (params.size !== undefined && offered.has('SIZE')) out += ` SIZE=${params.size}`
  const { body } = params
  if (body === 'binarymime' ? offered.has('BINARYMIME') : body !== undefined && offered.has('8BITMIME')) {
    out += ` BODY=${body?.toUpperCase()}`
  }
  if (params.smtputf8 && offered.has('SMTPUTF8')) out += ' SMTPUTF8'
  if (params.requireTls && offered.has('REQUIRETLS')) out += ' REQUIRETLS'
  if (offered.has('DSN')) {
    if (params.ret !== undefined) out += ` RET=${params.ret.toUpperCase()}`
    if (params.envid !== undefined) out += ` ENVID=${encodeXtext(params.envid)}`
  }
  if (params.auth !== undefined && offered.has('AUTH')) {
    out += ` AUTH=${params.auth === '<>' ? '<>' : encodeXtext(params.auth)}`
  }
  return out + formatOther(params.other, offered)
}

/** As {@link formatMailParams}. `smtputf8`: the transaction is one, so that an ORCPT in UTF-8 goes as it is (RFC 6533 §3). */
export function formatRcptParams(
  params: Partial<RcptParams>,
  offered: ReadonlySet<string>,
  options: { readonly smtputf8?: boolean } = {},
): string {
  let out = ''
  if (offered.has('DSN')) {
    if (params.notify?.length) out += ` NOTIFY=${params.notify.join(',').toUpperCase()}`
    if (params.orcpt !== undefined) out += ` ORCPT=${formatOrcpt(params.orcpt, options.smtputf8 === true)}`
  }
  return out + formatOther(params.other ?? {}, offered)
}

function split(rest: string): Map<string, string | true> | Malformed {
  const given = new Map<string, string | true>()
  for (const word of rest.split(' ')) {
    if (word === '') continue
    const found = form.exec(word)
    if (!found?.[1] || found[2]?.includes('\ufffd')) return refuse('Malformed parameter')
    const keyword = found[1].toUpperCase()
    if (given.has(keyword)) return refuse(`Repeated parameter ${keyword.slice(0, 32)}`)
    if (given.size === maxParameters) return refuse('Too many parameters')
    given.set(keyword, found[2] ?? true)
  }
  return given
}

/** Puts one parameter of MAIL where it belongs; the reason where it cannot. */
function take(params: Draft<MailParams>, keyword: string, value: string | true): string | undefined {
  const upper = value === true ? '' : value.toUpperCase()
  switch (keyword) {
    case 'SIZE':
      if (value === true || !/^\d{1,20}$/.test(value)) return 'Bad SIZE'
      params.size = Number(value)
      return
    case 'BODY':
      if (upper !== '7BIT' && upper !== '8BITMIME' && upper !== 'BINARYMIME') return 'Bad BODY'
      params.body = upper.toLowerCase() as NonNullable<MailParams['body']>
      return
    case 'SMTPUTF8':
      if (value !== true) return 'SMTPUTF8 takes no value'
      params.smtputf8 = true
      return
    case 'REQUIRETLS':
      if (value !== true) return 'REQUIRETLS takes no value'
      params.requireTls = true
      return
    case 'RET':
      if (upper !== 'FULL' && upper !== 'HDRS') return 'Bad RET'
      params.ret = upper === 'FULL' ? 'full' : 'hdrs'
      return
    case 'ENVID': {
      const envid = value === true || value.length > maxEnvid ? undefined : decodeXtext(value)
      if (envid === undefined || !printable.test(envid)) return 'Bad ENVID'
      params.envid = envid
      return
    }
    case 'AUTH': {
      const auth = value === true || value.length > maxAuth ? undefined : value === '<>' ? value : decodeXtext(value)
      if (auth === undefined || control.test(auth)) return 'Bad AUTH'
      params.auth = auth
      return
    }
    default:
      remember(params, keyword, value)
  }
}

// Own and enumerable whatever the keyword: a client may well say `constructor` (never `__proto__`: no underscores).
function remember(
  params: Draft<{ other: Readonly<Record<string, string | true>> }>,
  keyword: string,
  value: string | true,
) {
  params.other = { ...params.other, [keyword]: value }
}

function parseNotify(value: string): readonly Notify[] | undefined {
  const words = value.toLowerCase().split(',')
  const known = words.filter(word => word === 'success' || word === 'failure' || word === 'delay')
  if (value.toLowerCase() === 'never') return ['never']
  return known.length === words.length ? [...new Set(known)] : undefined
}

function parseOrcpt(value: string): string | undefined {
  const at = value.indexOf(';')
  const type = value.slice(0, at)
  if (value.length > maxOrcpt || !/^[A-Za-z0-9!#$%&'*+\-/?^_`{|}~]+$/.test(type)) return undefined
  const encoded = value.slice(at + 1)
  if (type.toLowerCase() === 'utf-8') {
    // RFC 6533 §4.1: what does not conform is kept without alteration.
    const address = decodeUnitext(encoded) ?? encoded
    return address === '' || control.test(address) ? undefined : `${type};${address}`
  }
  const address = decodeXtext(encoded)
  return address && printable.test(address) ? `${type};${address}` : undefined
}

function formatOrcpt(orcpt: string, smtputf8: boolean): string {
  const at = orcpt.indexOf(';')
  const type = orcpt.slice(0, at)
  const address = orcpt.slice(at + 1)
  return `${type};${type.toLowerCase() === 'utf-8' ? encodeUnitext(address, { ascii: !smtputf8 }) : encodeXtext(address)}`
}

function formatOther(other: Readonly<Record<string, string | true>>, offered: ReadonlySet<string>): string {
  let out = ''
  for (const [keyword, value] of Object.entries(other)) {
    if (!offered.has(extensionOf[keyword] ?? keyword)) continue
    out += value === true ? ` ${keyword}` : ` ${keyword}=${value}`
  }
  return out
}

function isSevenBit(value: string): boolean {
  return /^[!-~]*$/.test(value)
}

function refuse(error: string): Malformed {
  return { error, code: 501, enhanced: '5.5.4' }
}
