import type { PluginConfig } from './contract.ts'
import { formatPlace, found, type Problem, validate } from './explain.ts'
import { pluginEntrySchema } from './schema.ts'
import type { Source } from './source.ts'

/** An entry of `plugins` with the place of its options in the file: `plugins[2].relay`, or `plugins[2].options`. */
export interface PluginEntry {
  readonly config: PluginConfig
  readonly optionsPath: readonly PropertyKey[]
}

/**
 * Reads the list of plugins: `'domains'`, `{ domains: options }`, `{ use, as, on, unless, onError, objection, timeout,
 * options }`. Entries that are wrong go to `problems`; the others come back.
 */
export async function pluginEntries(raw: unknown, source: Source, problems: Problem[]): Promise<PluginEntry[]> {
  const entries: PluginEntry[] = []
  // Not a list: the schema says so.
  if (!Array.isArray(raw)) return entries
  for (const [i, written] of raw.entries()) {
    const path = ['plugins', i]
    const form = formOf(written)
    if ('wrong' in form) {
      problems.push({ path, message: form.wrong, fix: 'Write a name, { name: options } or { use: name, … }.' })
      continue
    }
    const result = await validate(pluginEntrySchema, form.entry)
    problems.push(...result.problems.map(problem => ({ ...problem, path: [...path, ...problem.path] })))
    if (result.problems.length > 0) continue
    const { options, ...rest } = result.value as { use: string } & Omit<PluginConfig, 'at'>
    const present = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
    entries.push({
      // YAML's `- relay:` with nothing below it says null and means no options.
      config: {
        ...(present as typeof rest),
        options: options ?? {},
        at: formatPlace(source.file, source.line(path), path),
      },
      optionsPath: [...path, form.key],
    })
  }
  return entries
}

function formOf(written: unknown): { entry: object; key: string } | { wrong: string } {
  if (typeof written === 'string') return { entry: { use: written }, key: 'options' }
  if (typeof written !== 'object' || written === null || Array.isArray(written)) {
    return { wrong: `expected a plugin, found ${found(written, [])}` }
  }
  if (Object.hasOwn(written, 'use')) return { entry: written, key: 'options' }
  const keys = Object.keys(written)
  const [name] = keys
  if (name === undefined) return { wrong: 'expected a plugin, found an empty group' }
  if (keys.length > 1) {
    const shown = keys
      .slice(0, 5)
      .map(key => key.slice(0, 40))
      .join(', ')
    return { wrong: `expected one plugin, found ${keys.length} names (${shown})` }
  }
  return { entry: { use: name, options: (written as Record<string, unknown>)[name] }, key: name }
}
