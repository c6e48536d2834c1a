import { readFileSync } from 'node:fs'
import { createRequire, registerHooks } from 'node:module'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

// Node keeps every module for ever, by URL. Code of the operator's own (config file, local plugins) is imported as
// `file.ts?g=<generation>`, and passes the mark on to what it imports by path inside its own package, so that a reload
// reads all of it again. Packages, ours included, are imported by name and never marked: one copy for the process.
// A reload keeps about 13 kB of heap (docs/decisions: hot reload).

const mark = /[?&]g=(\d+)$/
let installed = false

/** Imports a file anew for each generation, with all that it imports by path inside its own package. */
export async function importFresh(file: string, generation: number): Promise<{ readonly default?: unknown }> {
  install()
  owners.clear()
  const url = `${pathToFileURL(file).href}?g=${generation}`
  forgetCommonJs(url, String(generation))
  return import(url)
}

function install(): void {
  if (installed) return
  installed = true
  registerHooks({
    resolve(specifier, context, next) {
      const result = next(specifier, context)
      const generation = context.parentURL === undefined ? undefined : mark.exec(context.parentURL)?.[1]
      if (generation === undefined || mark.test(result.url) || !byPath(specifier)) return result
      if (!result.url.startsWith('file:') || result.url.includes('/node_modules/')) return result
      if (owner(result.url) !== owner(context.parentURL as string)) return result
      forgetCommonJs(result.url, generation)
      return { ...result, url: `${result.url}${result.url.includes('?') ? '&' : '?'}g=${generation}` }
    },
  })
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

const require = createRequire(import.meta.url)
const forgotten = new Map<string, string>()

// CommonJS is cached by file name, whatever the query says.
function forgetCommonJs(url: string, generation: string): void {
  if (extname(new URL(url).pathname) === '.mjs') return
  const file = fileURLToPath(url.replace(mark, ''))
  if (forgotten.get(file) === generation) return
  forgotten.set(file, generation)
  delete require.cache[file]
}
