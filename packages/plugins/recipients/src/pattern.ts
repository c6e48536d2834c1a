// Patterns of addresses that no address can make slow: what backtracks without bound is refused when it is read.

const maxLength = 500
/** `*`, `+` and `{n,}` in one pattern: each multiplies the time by the length of the address. */
const maxUnbounded = 3

/** The pattern, to be matched against whole addresses in lower case; or why it is not taken. */
export function addressPattern(text: string): RegExp | string {
  const wrong = unsafe(text)
  if (wrong !== undefined) return wrong
  try {
    return new RegExp(`^(?:${text})$`, 'iu')
  } catch (error) {
    return `not a regular expression: ${(error as Error).message}`
  }
}

/** Nested repetition, repeated alternatives, references and look-around are what makes matching exponential. */
function unsafe(text: string): string | undefined {
  if (text.length > maxLength) return `longer than ${maxLength} characters`
  const groups: { repeats: boolean }[] = [{ repeats: false }]
  const top = () => groups.at(-1) as { repeats: boolean }
  let unbounded = 0
  let closed = false
  const token =
    /\\(?:[1-9]|k<)|\\.|\[(?:\\.|[^\]\\])*\]|\(\?(?:[=!]|<[=!])|\((?:\?(?::|<\w+>))?|\)|[|*+?]|\{\d*,?\d*\}|./gsu
  for (const [part] of text.matchAll(token)) {
    if (/^\\(?:[1-9]|k<)/.test(part)) return 'references back are not allowed'
    if (/^\(\?(?:[=!]|<)/.test(part) && !/^\(\?<\w+>$/.test(part)) return 'look-around is not allowed'
    const quantifier = /^(?:[*+]|\{\d*,?\d*\})$/.test(part)
    if (quantifier && closed) return 'a repeated group must not hold repetitions or alternatives'
    closed = false
    if (part.startsWith('(')) groups.push({ repeats: false })
    else if (part === ')') {
      const group = groups.length > 1 ? groups.pop() : undefined
      closed = group?.repeats ?? false
      if (closed) top().repeats = true
    } else if (part === '|' || part === '?') top().repeats = true
    else if (quantifier) {
      top().repeats = true
      if (/[*+]|,\}|\{\d{2,}|,\d{2,}\}/.test(part) && ++unbounded > maxUnbounded) {
        return `more than ${maxUnbounded} repetitions`
      }
    }
  }
  return undefined
}
