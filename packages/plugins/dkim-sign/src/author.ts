// Whose mail it is: the domain of the author in From (RFC 5322 §3.6.2), as much of the grammar as that takes.
import { canonicalDomain } from '@posthorn/mail'

/** The domain of the first address; `undefined` where there is none to be found. Comments and quotes do not mislead it. */
export function authorDomain(from: string): string | undefined {
  const plain = withoutComments(from).replace(/"(?:\\.|[^"\\])*"/g, 'quoted')
  const address = /<[^<>]*@([^<>@\s]+)\s*>/.exec(plain) ?? /(?:^|[\s,:;])[^\s,<>:;]+@([^\s,<>;]+)/.exec(plain)
  return address?.[1] === undefined ? undefined : canonicalDomain(address[1])
}

function withoutComments(text: string): string {
  let depth = 0
  let quoted = false
  let plain = ''
  for (let i = 0; i < text.length; i++) {
    const char = text[i] as string
    if (char === '\\') {
      if (depth === 0) plain += text.slice(i, i + 2)
      i++
    } else if (depth === 0 && char === '"') {
      quoted = !quoted
      plain += char
    } else if (!quoted && char === '(') depth++
    else if (!quoted && char === ')' && depth > 0) depth--
    else if (depth === 0) plain += char
  }
  return plain
}
