// What a parser of this package answers to text that it does not take: a value, not a throw.

/** Ready to be a reply: `{ code, enhanced, lines: [error] }`. `error` is generic: it never quotes what was received. */
export interface Malformed {
  readonly error: string
  readonly code: 501 | 553
  readonly enhanced: string
}

/** Tells a parser's result from its refusal. */
export function isMalformed(result: object | null): result is Malformed {
  return result !== null && 'error' in result
}
