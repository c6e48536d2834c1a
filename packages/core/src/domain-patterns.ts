// Domains as they are written in tables: `example.org`, `*.example.org` for every domain below it, `*` for all.
import { canonicalDomain } from '@posthorn/mail'
import * as z from 'zod'

/** The pattern with its domain in A-label form; undefined for what is none. */
export function canonicalPattern(text: string): string | undefined {
  if (text === '*') return text
  const below = text.startsWith('*.')
  const name = canonicalDomain(below ? text.slice(2) : text)
  return name === undefined ? undefined : below ? `*.${name}` : name
}

/** A zod schema for one pattern, but not `*`: who means all says so elsewhere. Gives it in canonical form. */
export function domainPattern() {
  return z
    .string()
    .transform((text, ctx) => {
      const pattern = canonicalPattern(text)
      if (pattern !== undefined && pattern !== '*') return pattern
      ctx.issues.push({ code: 'custom', input: text, message: 'expected a domain, example.org or *.example.org' })
      return z.NEVER
    })
    .describe('A domain; `*.example.org` is every domain below it')
}

/** The patterns that a domain (in canonical form) fits, the nearest first: itself, `*.` of each parent, `*`. */
export function* patternsOf(domain: string): Generator<string> {
  yield domain
  // An address literal has no parents.
  if (!domain.startsWith('[')) {
    for (let dot = domain.indexOf('.'); dot >= 0; dot = domain.indexOf('.', dot + 1)) yield `*${domain.slice(dot)}`
  }
  yield '*'
}

/** Whether it fits one of them; patterns in canonical form. */
export function fitsPattern(domain: string, patterns: ReadonlySet<string>): boolean {
  if (patterns.size === 0) return false
  for (const pattern of patternsOf(domain)) if (patterns.has(pattern)) return true
  return false
}
