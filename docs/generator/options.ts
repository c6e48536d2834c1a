// Options of a zod schema as Markdown: one row for each key, in words, from the descriptions that stand at the schema.

import * as z from 'zod'

interface Schema {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: Schema | false
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly minimum?: number
  readonly maximum?: number
}

/** As a cell of a table: no line ends, no bars that part cells. */
const cell = (text: string) => text.replaceAll('\n', ' ').replaceAll('|', '\\|')
const code = (value: unknown) => `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``

/** What may stand there, in words. */
function kindOf(schema: Schema): string {
  if (schema.const !== undefined) return code(schema.const)
  if (schema.enum !== undefined) return schema.enum.map(code).join(', ')
  if (schema.anyOf !== undefined) return [...new Set(schema.anyOf.map(kindOf))].join(' or ')
  const types = [schema.type ?? 'any'].flat()
  // Durations and sizes are written either way.
  if (types.includes('string') && types.includes('number')) return 'text with a unit, or number'
  const type = types.join(' or ')
  if (type === 'array') return `list of ${schema.items === undefined ? 'any' : kindOf(schema.items)}`
  if (type === 'object') return schema.additionalProperties ? 'by name' : 'object'
  if (type === 'integer' || type === 'number') return range(schema)
  return type === 'string' ? 'text' : type
}

function range({ minimum, maximum }: Schema): string {
  const high = maximum !== undefined && maximum < 1e9 ? maximum : undefined
  if (minimum !== undefined && minimum > -1e9 && high !== undefined) return `number, ${minimum} to ${high}`
  return high === undefined ? 'number' : `number up to ${high}`
}

function* rows(schema: Schema, path: string): Generator<readonly string[]> {
  for (const [name, one] of Object.entries(schema.properties ?? {})) {
    const here = path === '' ? name : `${path}.${name}`
    const empty = typeof one.default === 'object' && one.default !== null && Object.keys(one.default).length === 0
    const value =
      one.default === undefined ? (schema.required?.includes(name) ? 'required' : '') : empty ? '' : code(one.default)
    yield [`\`${here}\``, kindOf(one), value, one.description ?? '']
    yield* rows(one, here)
    if (one.additionalProperties) yield* rows(one.additionalProperties, `${here}.<name>`)
    if (one.items !== undefined) yield* rows(one.items, `${here}[]`)
    for (const way of one.anyOf ?? []) {
      yield* rows(way, here)
      if (way.additionalProperties) yield* rows(way.additionalProperties, `${here}.<name>`)
    }
  }
}

export const table = (head: readonly string[], body: Iterable<readonly string[]>): string =>
  [head, head.map(() => '---'), ...body].map(row => `| ${row.map(cell).join(' | ')} |`).join('\n')

/** The table of all options of `schema`; a line saying so where there are none. */
export function optionsTable(schema: z.ZodType): string {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Schema
  const ways = json.properties === undefined ? (json.anyOf ?? []) : [json]
  const body = ways.flatMap(way => [...rows(way, '')])
  return body.length === 0 ? 'No options.' : table(['option', 'what', 'default', ''], body)
}
