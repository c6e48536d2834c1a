import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { dirname, extname, join, resolve } from 'node:path'
import { fromConfig } from '../config/folder.ts'
import { nearest } from '../config/nearest.ts'
import { PosthornError } from '../errors.ts'

/** Where the code of a plugin is. `local`: the operator's own file, read again at each reload. */
export interface Found {
  readonly file: string
  readonly local: boolean
}

// What npm allows for new packages, a scope included.
const packageName = /^(@[a-z0-9-~][a-z0-9-._~]*\/)?[a-z0-9-~][a-z0-9-._~]*$/
const extensions = ['.ts', '.mts', '.js', '.mjs', '.cjs']

/**
 * Finds the code of a plugin. A path (`./x.ts`, a file or folder) counts from the config file. A short name `x` is
 * `@posthorn/plugin-x`, then `posthorn-plugin-x`; any other name is a package. Packages are looked for from each of
 * `bases` in turn: the config file, then the posthorn distribution, so that a global install finds its own.
 * @throws PosthornError POSTHORN_PLUGIN_NOT_FOUND, POSTHORN_PLUGIN_BROKEN
 */
export function resolvePlugin(use: string, bases: readonly string[]): Found {
  if (/^(\.{1,2}($|\/)|\/|~\/)/.test(use)) return { file: resolveLocal(fromConfig(use), use), local: true }
  if (!packageName.test(use)) {
    const looksLikePath = extensions.includes(extname(use)) || use.includes('/')
    throw notFound(
      `${JSON.stringify(use.slice(0, 80))} is neither a package name nor a path`,
      looksLikePath ? `Did you mean "./${use}"?` : undefined,
    )
  }
  const candidates = use.includes('/') ? [use] : [`@posthorn/plugin-${use}`, `posthorn-plugin-${use}`]
  if (!use.includes('/') && /plugin/.test(use)) candidates.push(use)
  for (const name of candidates) {
    for (const base of bases) {
      const manifest = manifestOf(name, base)
      if (manifest !== undefined) return { file: entryOf(dirname(manifest), name), local: false }
    }
  }
  const tried = candidates.join(', ')
  if (existsSync(fromConfig(use)))
    throw notFound(`no plugin ${JSON.stringify(use)} (looked for ${tried})`, `Did you mean "./${use}"?`)
  const near = use.includes('/') ? undefined : nearest(use, standardNames(bases))
  const install = `npm install ${candidates[0]}`
  throw notFound(
    `no plugin ${JSON.stringify(use)} (looked for ${tried})`,
    near === undefined ? `Install it: ${install}` : `Did you mean "${near}"? Else install it: ${install}`,
  )
}

const notFound = (message: string, fix: string | undefined) =>
  new PosthornError('POSTHORN_PLUGIN_NOT_FOUND', message, fix === undefined ? {} : { fix })

const broken = (message: string, fix: string) => new PosthornError('POSTHORN_PLUGIN_BROKEN', message, { fix })

function resolveLocal(full: string, use: string): string {
  if (!existsSync(full)) {
    const other = extensions.find(extension => existsSync(full + extension))
    throw notFound(
      `no plugin ${JSON.stringify(use)}: there is no ${full}`,
      other === undefined ? undefined : `Did you mean "${use}${other}"?`,
    )
  }
  if (!statSync(full).isDirectory()) return realpathSync(full)
  if (existsSync(join(full, 'package.json'))) return entryOf(full, use)
  const index = extensions.map(extension => join(full, `index${extension}`)).find(file => existsSync(file))
  if (index === undefined) throw notFound(`the folder ${full} holds no index.ts or index.js`, 'Name the file itself.')
  return realpathSync(index)
}

function manifestOf(name: string, base: string): string | undefined {
  try {
    return findPackageJSON(name, base)
  } catch {
    return undefined
  }
}

/** The file that `import 'package'` means: `exports` by Node's conditions, then `main`, then index.js. */
function entryOf(folder: string, name: string): string {
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    exports?: unknown
    main?: string
  }
  const conditions = new Set(['node', 'import', 'module-sync', 'default'])
  // Run from a checkout, our own packages are run from their sources too: one copy of each.
  if (extname(import.meta.url) === '.ts') conditions.add('@posthorn/source')
  const indexes = extensions.map(extension => `./index${extension}`)
  const targets = manifest.exports === undefined ? [manifest.main, ...indexes] : targetsOf(manifest.exports, conditions)
  for (const target of targets) {
    if (typeof target !== 'string') continue
    const file = resolve(folder, target)
    if (existsSync(file) && statSync(file).isFile()) return realpathSync(file)
  }
  throw broken(`the package ${name} in ${folder} has no code to import`, 'Build it, or install it again.')
}

function targetsOf(exports: unknown, conditions: ReadonlySet<string>): unknown[] {
  if (typeof exports !== 'object' || exports === null) return [exports]
  if (Array.isArray(exports)) return exports.flatMap(target => targetsOf(target, conditions))
  const entries = Object.entries(exports)
  if (entries.some(([key]) => key.startsWith('.'))) {
    return entries.filter(([key]) => key === '.').flatMap(([, target]) => targetsOf(target, conditions))
  }
  return entries.filter(([key]) => conditions.has(key)).flatMap(([, target]) => targetsOf(target, conditions))
}

/** Short names of the standard plugins: what the distribution depends on. */
function standardNames(bases: readonly string[]): string[] {
  const names: string[] = []
  for (const base of bases) {
    const manifest = manifestOf('..', base) ?? manifestOf('.', base)
    if (manifest === undefined) continue
    try {
      const { dependencies = {} } = JSON.parse(readFileSync(manifest, 'utf8')) as { dependencies?: object }
      for (const name of Object.keys(dependencies)) {
        const short = /^(?:@posthorn\/|posthorn-)plugin-(.+)$/.exec(name)?.[1]
        if (short !== undefined) names.push(short)
      }
    } catch {
      // Only hints come from here.
    }
  }
  return names
}
