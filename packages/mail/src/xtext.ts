// xtext (RFC 3461 §4) and its sister for addresses in UTF-8 (RFC 6533 §3). Texts in and out, octets between.
import { isUtf8 } from 'node:buffer'

/** Every octet of the UTF-8 form that is not a printable ASCII character, and `+` and `=`, as `+HH`. */
export function encodeXtext(text: string): string {
  if (/^[!-*,-<>-~]*$/.test(text)) return text
  let out = ''
  for (const octet of Buffer.from(text)) {
    out += octet >= 33 && octet <= 126 && octet !== 0x2b && octet !== 0x3d ? String.fromCharCode(octet) : hex(octet)
  }
  return out
}

/** `undefined` where it is not xtext, or does not decode to UTF-8. Lower-case digits are taken too: they are common. */
export function decodeXtext(text: string): string | undefined {
  if (!/^(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*$/.test(text)) return undefined
  if (!text.includes('+')) return text
  const octets = Buffer.from(
    text.replace(/\+(..)/g, (_, pair: string) => String.fromCharCode(Number.parseInt(pair, 16))),
    'latin1',
  )
  return isUtf8(octets) ? octets.toString() : undefined
}

/**
 * RFC 6533 §3: `\x{HEXPOINT}` for what is not allowed as it is. `ascii` gives utf-8-addr-xtext, fit for any peer;
 * without it non-ASCII stays itself (utf-8-addr-unitext), fit for an SMTPUTF8 transaction.
 */
export function encodeUnitext(text: string, options: { readonly ascii: boolean }): string {
  let out = ''
  for (const char of text) {
    const point = char.codePointAt(0) ?? 0
    const plain = point > 0x7f ? !options.ascii : point > 32 && point < 127 && !'\\+='.includes(char)
    out += plain ? char : `\\x{${point.toString(16).toUpperCase().padStart(2, '0')}}`
  }
  return out
}

/** Takes both forms. `undefined` for a backslash that begins no code point, or surrogates (RFC 6533 §3). */
export function decodeUnitext(text: string): string | undefined {
  let bad = false
  const out = text.replace(/\\(?:x\{([0-9A-Fa-f]{2,6})\})?/g, (_, digits: string | undefined) => {
    const point = digits === undefined ? Number.NaN : Number.parseInt(digits, 16)
    if (!(point <= 0x10ffff) || (point >= 0xd800 && point <= 0xdfff)) {
      bad = true
      return ''
    }
    return String.fromCodePoint(point)
  })
  return bad ? undefined : out
}

function hex(octet: number): string {
  return `+${octet.toString(16).toUpperCase().padStart(2, '0')}`
}
