// Validates one plugin's options by its Standard Schema, whatever library that is of: all that is wrong, in an
// operator's words, with its place. Keys that a lenient schema would silently drop are errors too (invariant 7).
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { formatPath, type Problem, problemError, unknownKey, validate } from '../config/explain.ts'
import { PosthornError } from '../errors.ts'

export interface CheckedOptions {
  readonly value: unknown
  readonly errors: readonly PosthornError[]
}

/** `where` says where an option is written; `at` is the place of the plugin's entry. */
export async function checkOptions(
  schema: StandardSchemaV1,
  options: unknown,
  plugin: string,
  at: string,
  where: ((path: readonly PropertyKey[]) => string) | undefined,
): Promise<CheckedOptions> {
  const place = where ?? ((path: readonly PropertyKey[]) => join(at, path))
  try {
    const { value, problems } = await validate(schema, options)
    const unknown = problems.length > 0 ? [] : strayKeys(inputShape(schema), options, [])
    const errors = [...problems, ...unknown].map(problem => {
      const named = { ...problem, message: `plugin ${plugin}: ${problem.message}` }
      return problemError(named, place(problem.path))
    })
    return { value, errors }
  } catch (cause) {
    const message = `plugin ${plugin}: its schema could not check the options: ${(cause as Error).message}`
    return { value: undefined, errors: [new PosthornError('POSTHORN_CONFIG_INVALID', message, { at, cause })] }
  }
}

const join = (at: string, path: readonly PropertyKey[]) => {
  const inner = formatPath(path)
  return `${at}.options${inner === '' || inner.startsWith('[') ? inner : `.${inner}`}`
}

interface Shape {
  readonly properties?: Readonly<Record<string, Shape>>
  readonly additionalProperties?: unknown
  readonly items?: Shape
}

/** The schema's own description of its input, where the library gives one (Standard JSON Schema). */
function inputShape(schema: StandardSchemaV1): Shape | undefined {
  const standard = schema['~standard'] as { jsonSchema?: { input?(options: { target: string }): unknown } }
  try {
    return standard.jsonSchema?.input?.({ target: 'draft-2020-12' }) as Shape | undefined
  } catch {
    // Something in it has no JSON Schema. Then its own strictness has to do.
    return undefined
  }
}

// `z.object` drops what it does not know and says nothing of `additionalProperties`; `z.looseObject` says `{}`.
function strayKeys(shape: Shape | undefined, value: unknown, path: readonly PropertyKey[]): Problem[] {
  if (typeof shape !== 'object' || typeof value !== 'object' || value === null) return []
  if (Array.isArray(value)) return value.flatMap((item, i) => strayKeys(shape.items, item, [...path, i]))
  const { properties } = shape
  if (properties === undefined) return []
  return Object.entries(value).flatMap(([key, inner]) => {
    if (Object.hasOwn(properties, key)) return strayKeys(properties[key], inner, [...path, key])
    return shape.additionalProperties === undefined ? [unknownKey(path, key, Object.keys(properties))] : []
  })
}
