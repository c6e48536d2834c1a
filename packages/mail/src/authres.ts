// Authentication-Results values (RFC 8601), printed, and read well enough to know whose they are.
import { canonicalDomain, isAscii, unicodeDomain } from './domain.ts'

/** One `method=result`. Property values may be any text; they are quoted where they must be. */
export interface AuthResult {
  /** `spf`, `dkim`, `auth` … (RFC 8601 §2.7). */
  readonly method: string
  /** The method's version, when it is not 1. */
  readonly version?: number
  readonly result: string
  readonly reason?: string
  /** Text in parentheses after the result. */
  readonly comment?: string
  /** `smtp.mailfrom`, `header.d`, `policy.iprev` … and their values, in order. */
  readonly properties?: readonly (readonly [name: string, value: string])[]
}

export interface AuthResults {
  /** As written. Compare with {@link sameAuthserv}. */
  readonly authservId: string
  readonly version?: number
  /** Empty for `none`. */
  readonly results: readonly AuthResult[]
}

/**
 * The value of the field, one result a line, ready for folding. Never throws: controls in values become spaces, names
 * that are no keywords are left out. Non-ASCII stays itself: write it in SMTPUTF8 messages only.
 */
export function formatAuthResults(given: AuthResults): string {
  const id = token(given.authservId)
  const results = given.results.map(formatResult).filter(text => text !== '')
  return `${id}${results.length > 0 ? results.map(text => `;\r\n\t${text}`).join('') : '; none'}`
}

/** Whether a field with that id claims to be by the server called `ours`: case, U-labels and a final dot do not matter. */
export function sameAuthserv(id: string, ours: string): boolean {
  return canonicalId(id) === canonicalId(ours)
}

/**
 * The id of an unfolded value, comments and quotes taken off; `undefined` where there is none to be found. Lenient on
 * purpose: whatever some reader could take for an id is one, so that stripping forged fields by id is reliable.
 */
export function authservIdOf(value: string): string | undefined {
  const lexer = new Lexer(value)
  const id = lexer.value()
  return id === '' ? undefined : id
}

/**
 * Whether the unfolded value claims to come from the server called `ours`: by its id, or by naming `ours` anywhere in
 * a value whose id cannot be told. What `strip` goes by.
 */
export function claimsAuthserv(value: string, ours: string): boolean {
  const lexer = new Lexer(value)
  const id = lexer.value()
  if (id === '' || lexer.bad) return value.toLowerCase().includes(ours.toLowerCase())
  return sameAuthserv(id, ours)
}

/** Reads an unfolded value; `undefined` where it is not by RFC 8601 §2.2. */
export function parseAuthResults(value: string): AuthResults | undefined {
  const lexer = new Lexer(value)
  const authservId = lexer.value()
  if (authservId === '' || lexer.bad) return undefined
  const version = /^[0-9]+/.exec(lexer.value())?.[0]
  const results: AuthResult[] = []
  let none = false
  while (lexer.take(';')) {
    if (lexer.atEnd) break // a final semicolon is common
    const keyword = lexer.keyword()
    if (keyword.toLowerCase() === 'none' && results.length === 0 && lexer.atEnd) {
      none = true
      break
    }
    const result = readResult(lexer, keyword)
    if (!result) return undefined
    results.push(result)
  }
  if (!lexer.atEnd || lexer.bad || (results.length === 0 && !none)) return undefined
  return { authservId, ...(version === undefined ? {} : { version: Number(version) }), results }
}

function readResult(lexer: Lexer, name: string): AuthResult | undefined {
  const methodVersion = lexer.take('/') ? lexer.keyword() : undefined
  if (name === '' || !lexer.take('=')) return undefined
  const result = lexer.keyword()
  if (result === '') return undefined
  let reason: string | undefined
  const properties: (readonly [string, string])[] = []
  while (!lexer.atEnd && !lexer.next(';')) {
    const type = lexer.keyword()
    if (type === '') return undefined
    if (type.toLowerCase() === 'reason' && lexer.take('=')) {
      reason = lexer.value()
      continue
    }
    if (!lexer.take('.')) return undefined
    const property = lexer.keyword()
    if (property === '' || !lexer.take('=')) return undefined
    properties.push([`${type}.${property}`.toLowerCase(), lexer.value()])
  }
  return {
    method: name.toLowerCase(),
    ...(methodVersion === undefined ? {} : { version: Number(methodVersion) }),
    result: result.toLowerCase(),
    ...(reason === undefined ? {} : { reason }),
    ...(properties.length > 0 ? { properties } : {}),
  }
}

// Only ASCII white space ends a word: a no-break space is text.
const word = /[^ \t\r\n;()"]+/y

/** Comments, nested ones too, are white space; quoted strings are unquoted (RFC 5322 §3.2). Linear in its input. */
class Lexer {
  bad = false
  #at = 0
  readonly #text: string

  constructor(text: string) {
    this.#text = text
    this.#skip()
  }

  get atEnd(): boolean {
    return this.#at >= this.#text.length
  }

  next(char: string): boolean {
    return this.#text[this.#at] === char
  }

  take(char: string): boolean {
    if (!this.next(char)) return false
    this.#at++
    this.#skip()
    return true
  }

  /** RFC 8601 §2.2 Keyword; '' for none. */
  keyword(): string {
    return this.#run(/[A-Za-z0-9_-]+/y)
  }

  /** RFC 2045 value, or an address as pvalue allows; '' for none. */
  value(): string {
    if (!this.next('"')) return this.#run(word)
    let local = ''
    for (this.#at++; this.#at < this.#text.length && !this.next('"'); this.#at++) {
      if (this.next('\\')) this.#at++
      local += this.#text[this.#at] ?? ''
    }
    if (!this.next('"')) {
      this.bad = true
      return local
    }
    this.#at++
    // pvalue: a quoted local part may be followed by its domain.
    const domain = this.next('@') ? this.#run(word) : ''
    this.#skip()
    return domain === '' ? local : `"${local.replace(/["\\]/g, '\\$&')}"${domain}`
  }

  #run(pattern: RegExp): string {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0] ?? ''
    this.#at += found.length
    this.#skip()
    return found
  }

  #skip(): void {
    let depth = 0
    for (; this.#at < this.#text.length; this.#at++) {
      const char = this.#text[this.#at] as string
      if (char === '(') depth++
      else if (depth > 0 && char === '\\') this.#at++
      else if (depth > 0 && char === ')') depth--
      else if (depth === 0 && char !== ' ' && char !== '\t' && char !== '\r' && char !== '\n') break
    }
    if (depth > 0) this.bad = true
  }
}

function formatResult(given: AuthResult): string {
  const method = keywordOf(given.method)
  const result = keywordOf(given.result)
  if (method === '' || result === '') return ''
  let text = given.version === undefined || given.version === 1 ? method : `${method}/${given.version}`
  text += `=${result}`
  if (given.comment) text += ` (${given.comment.replace(controls, ' ').replace(/[()\\]/g, '\\$&')})`
  if (given.reason) text += ` reason=${quote(given.reason)}`
  for (const [name, value] of given.properties ?? []) {
    const [type, property, ...more] = name.split('.')
    if (!keywordOf(type) || !keywordOf(property) || more.length > 0) continue
    text += ` ${name}=${pvalue(value)}`
  }
  return text
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g
const tokenForm = /^[!#$%&'*+\-.0-9A-Z^_`a-z{|}~\u0080-\u{10ffff}]+$/u
// [local-part "@"] domain-name, the local part a dot-string.
const addressForm = /^[!#$%&'*+\-./0-9=?A-Z^_`a-z{|}~\u0080-\u{10ffff}]*@[0-9A-Za-z._-]+$/u

function pvalue(value: string): string {
  return addressForm.test(value) ? value : token(value)
}

function token(value: string): string {
  const safe = value.replace(controls, ' ')
  return tokenForm.test(safe) ? safe : quote(safe)
}

function quote(value: string): string {
  return `"${value.replace(controls, ' ').replace(/["\\]/g, '\\$&')}"`
}

function keywordOf(text: string | undefined): string {
  return text !== undefined && /^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$/.test(text) ? text : ''
}

function canonicalId(id: string): string {
  const lower = id.trim().toLowerCase().replace(/\.$/, '')
  return isAscii(lower) ? unicodeDomain(lower) : unicodeDomain(canonicalDomain(lower) ?? lower)
}
