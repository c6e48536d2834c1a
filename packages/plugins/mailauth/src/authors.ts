// Whom a From field names, as any reader of it may see it. A field such as `<a@one.test> <b@two.test>` breaks RFC 5322
// §3.6.2, and readers differ in which of the two they show: both are authors then, so that DMARC finds no one domain.

const quoted = /"(?:[^"\\]|\\.)*"?/gs
const comment = /\((?:[^()\\]|\\.)*\)/gs
const angled = /<([^<>]*)>?/g
const mostNested = 10

/** `parsed`: the addresses that the library found in `field`, in order. */
export function authorsOf(field: string, parsed: readonly string[]): readonly string[] {
  // It could not be read, or there are several such fields.
  if (parsed.length === 0) return parsed
  let plain = field.replace(quoted, '')
  for (let depth = 0; depth < mostNested && plain.includes('('); depth++) plain = plain.replace(comment, '')
  const known = new Set(parsed.map(address => address.toLowerCase()))
  const others = Array.from(plain.matchAll(angled), ([, inside = '']) =>
    // RFC 5322 §4.4: a route before the address.
    inside.slice(inside.lastIndexOf(':') + 1).replace(/\s/g, ''),
  ).filter(address => address.includes('@') && !known.has(address.toLowerCase()))
  return others.length === 0 ? parsed : [...parsed, ...others]
}
