import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Clock, systemClock } from '../clock.ts'
import { formatPlace, type Problem, problemError } from '../config/explain.ts'
import { type Reading, warnOfConfig, whileReading } from '../config/folder.ts'
import { type PluginEntry, pluginEntries } from '../config/plugin-entries.ts'
import { findConfig, readSource, type Source } from '../config/source.ts'
import { validateConfig } from '../config/validate.ts'
import { PosthornError, PosthornErrors } from '../errors.ts'
import type { AnyPlugin } from '../plugin.ts'
import type { LoadedConfig, LoadedPlugin } from './contract.ts'
import { importFresh } from './local.ts'
import { checkOptions } from './options.ts'
import { resolvePlugin } from './resolve.ts'
import { within } from './within.ts'

export interface LoadOptions {
  /** Where to search from, upwards; default: the working folder. */
  readonly cwd?: string
  /** A configuration file, relative to `cwd`; then nothing is searched. */
  readonly file?: string
  /** A configuration made by the program; paths in it count from `folder`, and errors call it `name`. */
  readonly inline?: { readonly value: unknown; readonly folder: string; readonly name: string }
  /** URLs of modules that plugins are resolved from after the config file: the distribution's own. */
  readonly bases?: readonly string[]
  /** Told what is allowed but unwise: a secret that everybody can read. */
  warn?(message: string): void
  readonly clock?: Clock
}

/** Milliseconds that a plugin's module may take to load. */
const importTimeout = 30_000

let generation = 0

/**
 * Reads, validates and resolves a configuration, and imports its plugins. Nothing is started. Each call reads files of
 * the operator's own again: the config file, local plugins and what they import by path.
 * @throws PosthornErrors all that is wrong, each with its place
 */
export async function loadConfig(options: LoadOptions = {}): Promise<LoadedConfig> {
  const { warn = () => {} } = options
  const said = new Set<string>()
  const warnOnce = (message: string) => {
    if (!said.has(message)) warn(message)
    said.add(message)
  }
  const number = ++generation
  const source = await whileReading({ folder: options.cwd ?? process.cwd(), warn: warnOnce }, () =>
    open(options, number),
  )
  const folder = options.inline?.folder ?? dirname(source.file)
  const reading = { folder, warn: warnOnce }
  const loaded = await whileReading(reading, () => load(source, reading, number, options))
  return { ...loaded, warnings: [...said] }
}

async function open(options: LoadOptions, number: number): Promise<Source> {
  const { inline, cwd = process.cwd() } = options
  if (inline !== undefined) return { file: inline.name, value: inline.value, line: () => undefined }
  return readSource(
    options.file === undefined ? await findConfig(cwd) : resolve(cwd, options.file),
    number,
    options.bases,
  )
}

async function load(source: Source, reading: Reading, number: number, options: LoadOptions): Promise<LoadedConfig> {
  const problems: Problem[] = []
  const errors: { line: number | undefined; error: PosthornError }[] = []
  const config = await validateConfig(source.value, problems)
  const raw = (source.value as { plugins?: unknown } | null)?.plugins ?? []
  const entries = await pluginEntries(raw, source, problems)
  const bases = [pathToFileURL(resolve(reading.folder, 'posthorn.config.js')).href, ...(options.bases ?? [])]
  const plugins: LoadedPlugin[] = []
  for (const entry of entries) {
    try {
      const loaded = await loadPlugin(entry, bases, number, options.clock ?? systemClock)
      const where = whereOf(source, entry)
      plugins.push({ ...loaded, plugin: inFolder(loaded.plugin, reading), where })
      const { plugin } = loaded
      const name = entry.config.as ?? plugin.name
      const checked = await checkOptions(plugin.schema, entry.config.options, name, entry.config.at, where)
      errors.push(...checked.errors.map(error => ({ line: lineIn(error, source), error })))
    } catch (error) {
      errors.push({ line: source.line(entry.optionsPath), error: placed(error, entry) })
    }
  }
  const placedProblems = problems.map(p => ({
    line: source.line(p.path),
    error: problemError(p, formatPlace(source.file, source.line(p.path), p.path)),
  }))
  const found = [...placedProblems, ...errors].sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity))
  const all = found.map(({ error }) => error)
  if (config === undefined || all.length > 0) {
    throw new PosthornErrors(
      'POSTHORN_CONFIG_INVALID',
      `${all.length === 1 ? 'one problem' : `${all.length} problems`} in ${source.file}`,
      all,
    )
  }
  return {
    config: { ...config, plugins: entries.map(entry => entry.config) },
    plugins,
    place: path => formatPlace(source.file, source.line(path), path),
    ...(options.inline === undefined ? { file: source.file } : {}),
  }
}

const lineIn = ({ at = '' }: PosthornError, { file }: Source) => {
  const line = at.startsWith(`${file}:`) ? Number.parseInt(at.slice(file.length + 1), 10) : Number.NaN
  return Number.isNaN(line) ? undefined : line
}

const whereOf = (source: Source, entry: PluginEntry) => (path: readonly PropertyKey[]) => {
  const full = [...entry.optionsPath, ...path]
  return formatPlace(source.file, source.line(full), full)
}

async function loadPlugin(
  { config }: PluginEntry,
  bases: readonly string[],
  number: number,
  clock: Clock,
): Promise<LoadedPlugin> {
  const { file, local } = resolvePlugin(config.use, bases)
  if (local && /\.c[jt]s$/.test(file))
    warnOfConfig(`${file} is CommonJS: a reload does not see changes in it, a restart does`)
  // A module that never finishes loading must not hang a reload for ever.
  const module = await within(clock, importTimeout, () =>
    local ? importFresh(file, number, bases) : (import(pathToFileURL(file).href) as Promise<{ default?: unknown }>),
  )
  const value = module.default
  // What TypeScript makes of `export default` in CommonJS.
  const plugin = isPlugin(value) ? value : (value as { default?: unknown } | undefined)?.default
  if (!isPlugin(plugin)) {
    throw new PosthornError('POSTHORN_PLUGIN_BROKEN', `${file} is not a plugin: ${lacks(plugin ?? value)}`, {
      fix: 'End it with `export default definePlugin({ name, schema, setup })`; a schema without options is `z.strictObject({})`.',
    })
  }
  return { plugin, from: file }
}

const isPlugin = (value: unknown): value is AnyPlugin => lacks(value) === undefined

/** What keeps it from being a plugin. */
function lacks(value: unknown): string | undefined {
  if (value === undefined) return 'it has no default export'
  if (typeof value !== 'object' || value === null) return `its default export is a ${typeof value}`
  const { name, schema, setup } = value as Partial<AnyPlugin>
  const missing = [
    typeof name === 'string' && name !== '' ? undefined : 'name',
    typeof schema?.['~standard']?.validate === 'function' ? undefined : 'schema',
    typeof setup === 'function' ? undefined : 'setup',
  ].filter(one => one !== undefined)
  return missing.length === 0 ? undefined : `its default export has no ${missing.join(', ')}`
}

/** A plugin whose schema reads relative paths and secrets from the config's folder, whoever validates with it, whenever. */
function inFolder(plugin: AnyPlugin, reading: Reading): AnyPlugin {
  const { schema } = plugin
  const standard = schema['~standard']
  const own: Record<string, PropertyDescriptor> = {
    '~standard': {
      value: { ...standard, validate: (value: unknown) => whileReading(reading, () => standard.validate(value)) },
    },
  }
  const zod = (schema as { safeParseAsync?: (...args: unknown[]) => unknown }).safeParseAsync
  if (zod !== undefined) {
    own.safeParseAsync = { value: (...args: unknown[]) => whileReading(reading, () => zod.apply(schema, args)) }
  }
  return Object.assign(Object.create(Object.getPrototypeOf(plugin)), plugin, { schema: Object.create(schema, own) })
}

function placed(error: unknown, { config }: PluginEntry): PosthornError {
  if (error instanceof PosthornError) {
    return new PosthornError(error.code, error.message, {
      at: config.at,
      cause: error,
      ...(error.fix === undefined ? {} : { fix: error.fix }),
    })
  }
  const message = error instanceof Error ? error.message : String(error)
  return new PosthornError(
    'POSTHORN_PLUGIN_BROKEN',
    `the plugin ${JSON.stringify(config.use)} failed to load: ${message.split('\n')[0]}`,
    {
      at: config.at,
      cause: error,
      fix: 'See the cause with --verbose.',
    },
  )
}
