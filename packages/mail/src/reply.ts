// SMTP replies: ours printed, a peer's parsed as it arrives (RFC 5321 §4.2, RFC 2034).

/** A reply of ours, before it is written. `lines` carry no codes; `close` hangs up after it (421 always does). */
export interface Reply {
  readonly code: number
  readonly enhanced?: string
  readonly lines: readonly string[]
  readonly close?: boolean
}

/** A reply of a peer, kept verbatim, and where in the dialogue it came. */
export interface RemoteReply {
  readonly host: string
  readonly phase: 'connect' | 'hello' | 'mail' | 'rcpt' | 'data' | 'dot'
  readonly code: number
  readonly enhanced?: string
  readonly lines: readonly string[]
}

const maxLine = 512 // RFC 5321 §4.5.3.1.5, CRLF included
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const unsafe = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const nonAscii = /[^\u0000-\u007f]/gu

/**
 * The reply as octets go, CRLF included. The enhanced code is on every line, and only where its class is that of the
 * basic code (RFC 2034 §4). Control characters become spaces, lines are cut at 512 octets, and non-ASCII becomes `?`
 * unless `utf8`: the client said SMTPUTF8 in this transaction (RFC 6531 §3.7.4.2).
 */
export function formatReply(reply: Reply, options: { readonly utf8?: boolean } = {}): string {
  const { code, enhanced, lines } = reply
  const prefix = enhanced !== undefined && enhanced.charCodeAt(0) - 48 === Math.trunc(code / 100) ? `${enhanced} ` : ''
  if (lines.length === 1) return `${code} ${fit(prefix + lines[0], options.utf8)}\r\n`
  if (lines.length === 0) return `${code} ${prefix.trimEnd()}\r\n`
  let out = ''
  const last = lines.length - 1
  for (let i = 0; i < last; i++) out += `${code}-${fit(prefix + lines[i], options.utf8)}\r\n`
  return `${out}${code} ${fit(prefix + lines[last], options.utf8)}\r\n`
}

function fit(text: string, utf8 = false): string {
  let safe = text.replace(unsafe, ' ')
  if (!utf8) safe = safe.replace(nonAscii, '?')
  const room = maxLine - 6 // "250-" and CRLF
  if (safe.length <= room && (!utf8 || Buffer.byteLength(safe) <= room)) return safe
  if (!utf8) return safe.slice(0, room)
  const octets = Buffer.from(safe)
  let end = room
  while (end > 0 && ((octets[end] ?? 0) & 0xc0) === 0x80) end--
  return octets.toString('utf8', 0, end)
}
