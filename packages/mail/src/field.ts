// Header fields as we write them: checked, folded, injection-proof (RFC 5322 §2.1.1, §2.2, §3.6.8).
import { isAscii } from './domain.ts'

/** A field that must not be written. The message names the fault, never the value. */
export class FieldError extends Error {
  readonly code: 'POSTHORN_FIELD_NAME' | 'POSTHORN_FIELD_VALUE' | 'POSTHORN_FIELD_UTF8' | 'POSTHORN_FIELD_LENGTH'

  constructor(code: FieldError['code'], message: string) {
    super(message)
    this.name = 'FieldError'
    this.code = code
  }
}

const softLimit = 78 // RFC 5322 §2.1.1, characters
const hardLimit = 998 // octets, without CRLF
const fieldName = /^[!-9;-~]{1,76}$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const unfit = /[\u0000-\u0008\u000a-\u001f\u007f]/
/** Printable ASCII in lines that are short enough, each fold before a word: as it should be written. */
const ready = /^[\t -~]{1,78}(?:\r\n[\t ][!-~][\t -~]{0,76})*$/

/**
 * `Name: value` and CRLF, folded at white space so that unfolding gives the value back. A value may already be folded
 * by CRLF and white space. Throws {@link FieldError} for a bad name; for any other CR, LF or control character (TAB is
 * fine), or a folded line of white space only; for non-ASCII without `utf8`; and where a line over 998 octets has no
 * white space to fold at.
 */
export function foldField(name: string, value: string, options: { readonly utf8?: boolean } = {}): string {
  if (!fieldName.test(name)) throw new FieldError('POSTHORN_FIELD_NAME', 'not a header field name (RFC 5322 §3.6.8)')
  const trimmed = trimBlank(value)
  const line = trimmed === '' ? `${name}:` : `${name}: ${trimmed}`
  if (ready.test(line)) return `${line}\r\n`
  const plain = isAscii(trimmed)
  if (!plain && !options.utf8) {
    throw new FieldError('POSTHORN_FIELD_UTF8', `${name}: non-ASCII in a message that is not SMTPUTF8`)
  }
  if (!plain && !trimmed.isWellFormed())
    throw new FieldError('POSTHORN_FIELD_VALUE', `${name}: lone surrogate in value`)
  let out = ''
  for (const [nth, part] of line.split('\r\n').entries()) {
    if (unfit.test(part)) throw new FieldError('POSTHORN_FIELD_VALUE', `${name}: CR, LF or control character in value`)
    if (nth > 0 && (!isBlank(part.charCodeAt(0)) || trimBlank(part) === '')) {
      throw new FieldError('POSTHORN_FIELD_VALUE', `${name}: line break in value that is not a fold`)
    }
    out += foldLine(name, part)
  }
  return out
}

function foldLine(name: string, line: string): string {
  let out = ''
  let rest = line
  while (rest.length > softLimit) {
    let at = foldPoint(rest)
    if (at < 0 && Buffer.byteLength(rest) > hardLimit) at = afterName(rest) - 1
    if (at < 0) break
    out += `${checked(name, rest.slice(0, at))}\r\n`
    rest = rest.slice(at)
  }
  return `${out}${checked(name, rest)}\r\n`
}

function checked(name: string, line: string): string {
  if (line.length <= hardLimit / 3 || Buffer.byteLength(line) <= hardLimit) return line
  throw new FieldError('POSTHORN_FIELD_LENGTH', `${name}: over ${hardLimit} octets without white space to fold at`)
}

/** The white space to break before: the last that keeps the line short, else the first after; -1 for none. */
function foldPoint(line: string): number {
  let text = 0 // leading white space is the previous fold's
  while (text < line.length && isBlank(line.charCodeAt(text))) text++
  // The space after the name is kept with it, unless the first word would not fit otherwise.
  const least = Math.max(text, afterName(line))
  for (let i = softLimit; i > least; i--) if (startsFold(line, i)) return i
  for (let i = Math.max(softLimit, least) + 1; i < line.length; i++) if (startsFold(line, i)) return i
  return -1
}

/** Where the value begins on the first line; 0 on others. */
function afterName(line: string): number {
  return /^[!-9;-~]+: /.exec(line)?.[0].length ?? 0
}

// The first of a run of white space: what follows the run is text, so no folded line is blank.
function startsFold(line: string, at: number): boolean {
  return isBlank(line.charCodeAt(at)) && !isBlank(line.charCodeAt(at - 1))
}

function isBlank(unit: number): boolean {
  return unit === 32 || unit === 9
}

function trimBlank(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return start === 0 && end === text.length ? text : text.slice(start, end)
}
