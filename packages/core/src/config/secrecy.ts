/** As much of a zod schema as is needed to walk it. */
interface Node {
  readonly _zod?: { readonly def?: Record<string, unknown> & { readonly type?: string } }
  meta?(): { readonly secret?: unknown } | undefined
}

/** Whether a schema marks the value at `path` as secret: `.meta({ secret: true })`, as `secret()` does. */
export function isSecretAt(schema: unknown, path: readonly PropertyKey[]): boolean {
  let nodes = unwrapped(schema)
  for (const part of path) {
    if (nodes.some(isMarked)) return true
    nodes = nodes.flatMap(node => inside(node, part)).flatMap(unwrapped)
  }
  return nodes.some(isMarked)
}

const isMarked = (node: Node) => typeof node.meta === 'function' && node.meta()?.secret === true

/** The schema, and those that it wraps or chooses from. */
function unwrapped(schema: unknown): Node[] {
  const node = schema as Node | undefined
  const def = node?._zod?.def
  if (node === undefined || def === undefined) return []
  const inner = [def.innerType, def.in, def.out, ...((def.options as unknown[] | undefined) ?? [])]
  return [node, ...inner.flatMap(unwrapped)]
}

function inside(node: Node, part: PropertyKey): unknown[] {
  const def = node._zod?.def ?? {}
  const shape = def.shape as Record<PropertyKey, unknown> | undefined
  return [shape !== undefined && Object.hasOwn(shape, part) ? shape[part] : undefined, def.valueType, def.element]
}
