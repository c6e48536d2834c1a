import { readFileSync } from 'node:fs'
import { type ResolveFnOutput, type ResolveHookContext, registerHooks } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

// Node keeps every module for ever, by URL. Code of the operator's own (config file, local plugins) is imported as
// `file.ts?g=<generation>`, and passes the mark on to what it imports by path inside its own package, so that a reload
// reads all of it again. Packages, ours included, are imported by name and never marked: one copy for the process.
// A reload keeps about 13 kB of heap. CommonJS is cached by file name and cannot be read again without tricks that hand
// out half-loaded modules (probed on Node 24.21): changes there need a restart, and the loader says so.

const mark = /[?&]g=(\d+)$/
let installed = false

/** Modules that the operator's own code may import ours from, where it has no copy of its own. */
let distribution: readonly string[] = []

/**
 * Imports a file anew for each generation, with all that it imports by path inside its own package. What it imports by
 * name and has no copy of, ours and zod, comes from `bases`: a global install needs no node_modules beside the config.
 */
export async function importFresh(
  file: string,
  generation: number,
  bases: readonly string[] = [],
): Promise<{ readonly default?: unknown }> {
  install()
  owners.clear()
  distribution = [...bases, import.meta.url]
  return import(`${pathToFileURL(file).href}?g=${generation}`)
}

function install(): void {
  if (installed) return
  installed = true
  registerHooks({
    resolve(specifier, context, next) {
      const result = resolveOrLend(specifier, context, next)
      const generation = context.parentURL === undefined ? undefined : mark.exec(context.parentURL)?.[1]
      if (generation === undefined || mark.test(result.url) || !byPath(specifier)) return result
      if (!result.url.startsWith('file:') || result.url.includes('/node_modules/')) return result
      if (owner(result.url) !== owner(context.parentURL as string)) return result
      return { ...result, url: `${result.url}${result.url.includes('?') ? '&' : '?'}g=${generation}` }
    },
  })
}

type Next = (specifier: string, context: ResolveHookContext) => ResolveFnOutput

const ours = /^(posthorn|zod|@posthorn\/[\w-]+)($|\/)/

function resolveOrLend(specifier: string, context: ResolveHookContext, next: Next): ResolveFnOutput {
  try {
    return next(specifier, context)
  } catch (error) {
    if (context.parentURL === undefined || !mark.test(context.parentURL) || !ours.test(specifier)) throw error
    for (const parentURL of distribution) {
      try {
        return next(specifier, { ...context, parentURL })
      } catch {
        // The next one may have it.
      }
    }
    throw error
  }
}

const byPath = (specifier: string) => /^(\.{0,2}\/|file:|#)/.test(specifier)

const owners = new Map<string, string>()

/** The folder of the package that a file belongs to: the nearest package.json with a name; else the root. */
function owner(url: string): string {
  const start = dirname(fileURLToPath(url.replace(mark, '')))
  const known = owners.get(start)
  if (known !== undefined) return known
  let folder = start
  while (folder !== dirname(folder) && !isNamed(folder)) folder = dirname(folder)
  owners.set(start, folder)
  return folder
}

function isNamed(folder: string): boolean {
  try {
    return typeof JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).name === 'string'
  } catch {
    return false
  }
}
