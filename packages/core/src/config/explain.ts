import { PosthornError } from '../errors.ts'
import { nearest } from './nearest.ts'
import { isSecretAt } from './secrecy.ts'

/** One thing that is wrong, before anybody knows in which file. */
export interface Problem {
  readonly path: readonly PropertyKey[]
  readonly message: string
  readonly fix?: string
}

/** What this needs of a zod issue. Other Standard Schema libraries give `message` and `path` only. */
interface Issue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
  readonly code?: string
  readonly [key: string]: unknown
}

interface ZodLike {
  safeParseAsync(
    value: unknown,
    params: object,
  ): Promise<{ success: true; data: unknown } | { success: false; error: { issues: Issue[] } }>
}
interface StandardLike {
  readonly '~standard': {
    validate(value: unknown): Promise<StandardResult> | StandardResult
  }
}
type StandardResult = { readonly value: unknown; readonly issues?: undefined } | { readonly issues: readonly Issue[] }

/**
 * Validates with any Standard Schema and says all that is wrong in an operator's words: what was expected, what was
 * found, the nearest valid key. Values under names like `password` are never shown.
 */
export async function validate(
  schema: unknown,
  value: unknown,
): Promise<{ readonly value: unknown; readonly problems: readonly Problem[] }> {
  if (isZod(schema)) {
    const result = await schema.safeParseAsync(value, { reportInput: true, error: knownKeys })
    return result.success
      ? { value: result.data, problems: [] }
      : { value: undefined, problems: result.error.issues.flatMap(issue => explain(issue, [], { value, schema })) }
  }
  const result = await (schema as StandardLike)['~standard'].validate(value)
  return result.issues === undefined
    ? { value: result.value, problems: [] }
    : { value: undefined, problems: result.issues.flatMap(issue => explain(issue, [], { value, schema })) }
}

/** What was validated, by what. */
interface Given {
  readonly value: unknown
  readonly schema: unknown
}

function isZod(schema: unknown): schema is ZodLike {
  return typeof schema === 'object' && schema !== null && '_zod' in schema && 'safeParseAsync' in schema
}

// The valid keys of an object are known only where the issue is raised; they travel to `explain` in the message.
function knownKeys(issue: { code?: string | undefined; inst?: unknown }): string | undefined {
  if (issue.code !== 'unrecognized_keys') return undefined
  const inst = issue.inst as { _zod?: { def?: { shape?: object } } } | undefined
  return Object.keys(inst?._zod?.def?.shape ?? {}).join('\n')
}

function explain(issue: Issue, base: readonly PropertyKey[], given: Given): Problem[] {
  const path = [...base, ...(issue.path ?? []).map(part => (typeof part === 'object' ? part.key : part))]
  switch (issue.code) {
    case 'unrecognized_keys':
      return (issue.keys as string[]).map(key => unknownKey(path, key, issue.message.split('\n').filter(Boolean)))
    case 'invalid_union':
      return explainUnion(issue, path, given)
    case 'invalid_type':
      return [expected(path, typeNames[String(issue.expected)] ?? String(issue.expected), issue, given)]
    case 'invalid_value': {
      const values = issue.values as unknown[]
      const input = valueAt(issue, path, given)
      const near =
        typeof input === 'string'
          ? nearest(
              input,
              values.filter(v => typeof v === 'string'),
            )
          : undefined
      const list = values.map(v => JSON.stringify(v)).join(', ')
      return [expected(path, values.length === 1 ? list : `one of ${list}`, issue, given, near)]
    }
    case 'too_small':
    case 'too_big':
      return [expected(path, bound(issue), issue, given)]
    case 'invalid_key':
      return (issue.issues as Issue[]).map(inner => ({
        path,
        message: `${inner.message}, found the name ${quote(String(path.at(-1)))}`,
      }))
    case 'invalid_element':
      return (issue.issues as Issue[]).flatMap(inner => explain(inner, path, given))
    default: {
      // Messages of our schemas say what was expected; the value found is added here, unless it is a secret.
      if (!issue.message.startsWith('expected ')) return [{ path, message: issue.message }]
      return [expected(path, issue.message.slice('expected '.length), issue, given)]
    }
  }
}

function explainUnion(issue: Issue, path: readonly PropertyKey[], given: Given): Problem[] {
  const branches = (issue.errors as Issue[][] | undefined) ?? []
  // The branch that was meant is the one whose own type fits: its faults lie deeper, or in the value.
  const fits = (branch: Issue[]) =>
    branch.length > 0 &&
    branch.every(
      i => (i.path?.length ?? 0) > 0 || !['invalid_type', 'invalid_union', 'invalid_value'].includes(String(i.code)),
    )
  const meant = branches.find(fits)
  if (meant !== undefined) return meant.flatMap(inner => explain(inner, path, given))
  if (issue.message.startsWith('expected '))
    return [expected(path, issue.message.slice('expected '.length), issue, given)]
  const kinds = branches.flatMap(branch => branch.slice(0, 1)).map(i => typeNames[String(i.expected)] ?? i.message)
  return [expected(path, [...new Set(kinds)].join(' or '), issue, given)]
}

/** The problem of a key that nothing knows. */
export function unknownKey(path: readonly PropertyKey[], key: string, known: readonly string[]): Problem {
  const near = nearest(key, known)
  const all = known.length > 0 ? `Options here: ${known.join(', ')}.` : 'There are no options here.'
  return {
    path: [...path, key],
    message: `unknown option ${quote(key)}`,
    fix: near === undefined ? all : `Did you mean "${near}"?`,
  }
}

function expected(path: readonly PropertyKey[], what: string, issue: Issue, given: Given, near?: string): Problem {
  const input = valueAt(issue, path, given)
  const problem =
    input === undefined ? `missing: expected ${what}` : `expected ${what}, found ${shown(input, path, given)}`
  return near === undefined ? { path, message: problem } : { path, message: problem, fix: `Did you mean "${near}"?` }
}

function valueAt(issue: Issue, path: readonly PropertyKey[], given: Given): unknown {
  if ('input' in issue) return issue.input
  let { value } = given
  for (const part of path) value = (value as Record<PropertyKey, unknown> | null | undefined)?.[part]
  return value
}

const typeNames: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a string',
  boolean: 'true or false',
  array: 'a list',
  object: 'a group of options',
  record: 'a group of options',
  undefined: 'nothing',
  null: 'nothing',
}

function bound(issue: Issue): string {
  const [limit, word] = issue.code === 'too_small' ? [issue.minimum, 'at least'] : [issue.maximum, 'at most']
  const unit = issue.origin === 'string' ? ' characters' : issue.origin === 'array' ? ' entries' : ''
  return `${word} ${String(limit)}${unit}`
}

const secretName = /pass|secret|token|credential|private|(^|[^a-z])(key|auth)/i

const shown = (value: unknown, path: readonly PropertyKey[], { schema }: Given) =>
  typeof value !== 'object' && isSecretAt(schema, path) ? notShown : found(value, path)

const notShown = 'something else (not shown)'

/** A value as an error may show it: short, on one line, never a secret, never the inside of a group. */
export function found(value: unknown, path: readonly PropertyKey[]): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object') return 'a group of options'
  if (typeof value === 'function') return 'a function'
  if (path.some(part => typeof part === 'string' && secretName.test(part))) return notShown
  return typeof value === 'string' ? quote(value) : String(value)
}

function quote(text: string): string {
  const short = text.length > 60 ? `${text.slice(0, 57)}...` : text
  return JSON.stringify(short)
}

/** `plugins[2].relay.port`; names that are not plain words are quoted. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = ''
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`
    else if (/^[\w$-]+$/.test(String(part))) text += text === '' ? String(part) : `.${String(part)}`
    else text += `[${quote(String(part))}]`
  }
  return text
}

/** `posthorn.config.yaml:12 plugins[2].relay.port`. */
export function formatPlace(file: string | undefined, line: number | undefined, path: readonly PropertyKey[]): string {
  const place = file === undefined ? '' : line === undefined ? file : `${file}:${line}`
  return [place, formatPath(path)].filter(Boolean).join(' ')
}

/** A problem as the error that people see. */
export function problemError(problem: Problem, at: string): PosthornError {
  return new PosthornError('POSTHORN_CONFIG_INVALID', problem.message, {
    at,
    ...(problem.fix === undefined ? {} : { fix: problem.fix }),
  })
}
