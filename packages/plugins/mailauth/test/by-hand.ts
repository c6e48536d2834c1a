// Signing by hand (RFC 6376 §3.4, §3.7), so that a test can write anything into a signature and have it signed as it
// stands: what is wrong is wrong in one place, and right in every other.
import { createHash, createPrivateKey, sign } from 'node:crypto'
import type { Signer } from './signed.ts'

export const same = (text: string): string => text

export function parts(message: string) {
  const end = message.indexOf('\r\n\r\n') + 2
  const head = message.slice(0, end)
  const fields = head.split(/\r\n(?![ \t])/).flatMap(text => {
    const name = /^[^:]+/.exec(text)?.[0].trim().toLowerCase()
    return name === undefined ? [] : [{ name, text }]
  })
  return { head, body: message.slice(end + 2), fields }
}

/** The octets that are signed of the fields that `h=` of this tag list names, from the bottom up. */
export function fieldsSigned(
  tags: string,
  fields: readonly { readonly name: string; readonly text: string }[],
  simple: boolean,
): string {
  const covered = (/[;\s]h\s*=([^;]*)/.exec(tags)?.[1] ?? '').split(':').map(name => name.trim().toLowerCase())
  const left = [...fields]
  const chosen = covered.flatMap(name => {
    const at = left.findLastIndex(field => field.name === name)
    return at < 0 ? [] : left.splice(at, 1)
  })
  return chosen.map(({ text }) => `${(simple ? same : relaxed)(text)}\r\n`).join('')
}

/** The signature goes where it says `b=`. */
export function withSignature(text: string, octets: string, by: Signer): string {
  const key = createPrivateKey(by.privateKey)
  const data = Buffer.from(octets, 'latin1')
  const signature =
    key.asymmetricKeyType === 'ed25519'
      ? sign(null, createHash('sha256').update(data).digest(), key)
      : sign('sha256', data, key)
  return text.replace(/(^|;\s*)b=/, `$&${signature.toString('base64')}`)
}

/** RFC 6376 §3.4.2, without the line end. */
export function relaxed(field: string): string {
  const at = field.indexOf(':')
  const value = field
    .slice(at + 1)
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ')
    .trim()
  return `${field.slice(0, at).trim().toLowerCase()}:${value}`
}

/** RFC 6376 §3.4.3, §3.4.4. */
export function bodyOf(body: string, canon: string): string {
  if (canon === 'simple') return `${body.replace(/(\r\n)+$/, '')}\r\n`
  const lines = body.split('\r\n').map(line => line.replace(/[ \t]+/g, ' ').replace(/ $/, ''))
  const text = lines.join('\r\n').replace(/(\r\n)+$/, '')
  return text === '' ? '' : `${text}\r\n`
}

export interface SignatureOptions {
  readonly headers?: readonly string[]
  readonly c?: string
  /** Octets of the canonical body that are hashed. */
  readonly l?: number
  /** Changes the text of the field before it is signed. */
  readonly edit?: (text: string) => string
}

/** The message with a DKIM-Signature on top. */
export function withDkim(message: string, by: Signer, options: SignatureOptions = {}): string {
  const { headers = ['from', 'to', 'subject', 'date'], c = 'relaxed/relaxed', l, edit = same } = options
  const { body, fields } = parts(message)
  const [headerCanon = 'simple', bodyCanon = 'simple'] = c.split('/')
  const a = by.record.includes('k=rsa') ? 'rsa-sha256' : 'ed25519-sha256'
  const hashed = Buffer.from(bodyOf(body, bodyCanon), 'latin1').subarray(0, l)
  const bh = createHash('sha256').update(hashed).digest('base64')
  const tags = `v=1; a=${a}; c=${c}; d=${by.domain}; s=${by.selector}; t=1767500000; h=${headers.join(':')}; bh=${bh}; b=`
  const text = edit(l === undefined ? tags : tags.replace('; bh=', `; l=${l}; bh=`))
  const simple = headerCanon === 'simple'
  const own = `DKIM-Signature: ${text}`
  const octets = fieldsSigned(text, fields, simple) + (simple ? own : relaxed(own))
  return `DKIM-Signature: ${withSignature(text, octets, by)}\r\n${message}`
}
