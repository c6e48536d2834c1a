// Who provides which service to whom: the order of setups, and what is missing, doubled or circular, before any setup
// runs.
import { PosthornError } from '../errors.ts'
import type { AnyPlugin } from '../plugin.ts'
import type { Token } from '../token.ts'

/** A plugin's entry, named and placed. */
export interface Candidate {
  readonly name: string
  readonly plugin: AnyPlugin
  readonly at: string
}

/**
 * Setup order: providers before those they provide for, else config order. Wrong wiring goes to `errors`:
 * POSTHORN_SERVICE_MISSING, POSTHORN_SERVICE_TWICE, POSTHORN_SERVICE_CYCLE. `hints`: which standard plugin provides a
 * token, by token name.
 */
export function setupOrder<C extends Candidate>(
  candidates: readonly C[],
  core: { has(token: Token<any>): boolean },
  hints: Readonly<Record<string, string>>,
  errors: PosthornError[],
): C[] {
  const providers = new Map<string, C>()
  for (const candidate of candidates) {
    for (const token of candidate.plugin.provides ?? []) {
      const other = providers.get(token.name)
      if (core.has(token)) errors.push(twice(token.name, candidate, undefined))
      else if (other !== undefined) errors.push(twice(token.name, candidate, other))
      else providers.set(token.name, candidate)
    }
  }
  const needs = new Map<C, Set<C>>()
  for (const candidate of candidates) {
    const own = new Set<C>()
    needs.set(candidate, own)
    for (const [as, token] of injected(candidate.plugin)) {
      if (typeof token?.name !== 'string') errors.push(noToken(as, candidate))
      else if (!core.has(token)) {
        const provider = providers.get(token.name)
        if (provider === undefined) errors.push(missing(token.name, candidate, hints[token.name]))
        else own.add(provider)
      }
    }
  }
  const order: C[] = []
  const waiting = new Set(candidates)
  while (waiting.size > 0) {
    const next = [...waiting].find(candidate => ![...(needs.get(candidate) ?? [])].some(need => waiting.has(need)))
    if (next === undefined) {
      errors.push(cycle(waiting, needs))
      break
    }
    waiting.delete(next)
    order.push(next)
  }
  return order
}

const injected = (plugin: AnyPlugin) => Object.entries((plugin.inject ?? {}) as Record<string, Token<any> | undefined>)

function missing(token: string, { name, at }: Candidate, hint: string | undefined): PosthornError {
  return new PosthornError('POSTHORN_SERVICE_MISSING', `plugin ${name} needs ${token}, which no plugin provides`, {
    at,
    fix: hint === undefined ? `Add a plugin that provides ${token}.` : `Add ${hint} to the plugins.`,
  })
}

function noToken(as: string, { name, at }: Candidate): PosthornError {
  return new PosthornError('POSTHORN_SERVICE_MISSING', `plugin ${name} injects \`${as}\`, which is not a token`, {
    at,
    fix: 'Import the token from the package that makes the service.',
  })
}

function twice(token: string, { name, at }: Candidate, other: Candidate | undefined): PosthornError {
  const who = other === undefined ? 'the core' : `plugin ${other.name}`
  return new PosthornError('POSTHORN_SERVICE_TWICE', `${token} is provided by plugin ${name} and by ${who}`, {
    at: other === undefined ? at : `${other.at}, ${at}`,
    fix: other === undefined ? `Take ${name} out of the list.` : `Take ${name} or ${other.name} out of the list.`,
  })
}

function cycle<C extends Candidate>(waiting: ReadonlySet<C>, needs: ReadonlyMap<C, ReadonlySet<C>>): PosthornError {
  const way: C[] = []
  let candidate = [...waiting][0] as C
  while (!way.includes(candidate)) {
    way.push(candidate)
    candidate = [...(needs.get(candidate) as ReadonlySet<C>)].find(need => waiting.has(need)) as C
  }
  const round = way.slice(way.indexOf(candidate))
  const names = [...round, candidate].map(({ name }) => name).join(' → ')
  return new PosthornError('POSTHORN_SERVICE_CYCLE', `plugins need each other's services: ${names}`, {
    at: round.map(({ at }) => at).join(', '),
    fix: `Take one of ${round.map(({ name }) => name).join(', ')} out of the list.`,
  })
}
