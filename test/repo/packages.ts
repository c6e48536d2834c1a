// Reads the workspace as text: its packages, their files, and what each file imports. Judges nothing.

import { existsSync, globSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../', import.meta.url))

export interface Manifest {
  readonly name: string
  readonly version: string
  readonly license?: string
  readonly private?: boolean
  readonly engines?: { readonly node?: string }
  readonly bin?: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  readonly files: readonly string[]
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly repository?: { readonly directory?: string }
}

export interface SourceFile {
  /** From the root, with slashes. */
  readonly path: string
  readonly text: string
  /** The text without comments. */
  readonly code: string
  /** Specifiers as written, of static and dynamic imports and re-exports. */
  readonly imports: readonly string[]
}

export interface Package {
  /** From the root: `packages/core`. */
  readonly folder: string
  readonly manifest: Manifest
  readonly src: readonly SourceFile[]
  readonly tests: readonly SourceFile[]
}

/** Comments out, line breaks kept. Strings that hold `//` survive, since only a `//` after a space or line start counts. */
const withoutComments = (text: string): string =>
  text.replace(/\/\*[\s\S]*?\*\//g, comment => comment.replace(/[^\n]/g, '')).replace(/(^|\s)\/\/.*$/gm, '$1')

/** What a file's text imports, by any form of import or re-export. */
export function importsOf(text: string): readonly string[] {
  const code = withoutComments(text)
  const statics = code.matchAll(/^\s*(?:import\s*|(?:import|export)\b[^'"`]*?\bfrom\s*)['"]([^'"]+)['"]/gm)
  const dynamics = code.matchAll(/\b(?:import|require(?:\.resolve)?)\(\s*['"]([^'"]+)['"]\s*\)/g)
  return [...statics, ...dynamics].map(match => match[1] as string)
}

/** Files that a glob pattern finds from the root, sorted; never in node_modules, dist or fixtures. */
export function files(...patterns: readonly string[]): readonly SourceFile[] {
  return globSync(patterns as string[], { cwd: root, exclude: path => /node_modules|dist|fixtures|\.cache/.test(path) })
    .map(path => path.split(sep).join('/'))
    .sort()
    .map(path => {
      const text = readFileSync(join(root, path), 'utf8')
      return { path, text, code: withoutComments(text), imports: importsOf(text) }
    })
}

/** Every workspace of the root manifest, in its order. */
export function packages(): readonly Package[] {
  const { workspaces } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { workspaces: string[] }
  return workspaces
    .flatMap(pattern => globSync(pattern, { cwd: root }).sort())
    .map(folder => folder.split(sep).join('/'))
    .filter(folder => existsSync(join(root, folder, 'package.json')))
    .map(folder => ({
      folder,
      manifest: JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Manifest,
      src: files(`${folder}/src/**/*.ts`, `${folder}/bin/*.js`),
      tests: files(`${folder}/test/**/*.ts`),
    }))
}

/** `@scope/name` or `name` of a bare specifier; undefined for relative ones and Node's own. */
export function packageOf(specifier: string): string | undefined {
  if (/^[./#]/.test(specifier) || specifier.startsWith('node:') || specifier.startsWith('file:')) return
  if (builtinModules.includes(specifier)) return
  const parts = specifier.split('/')
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]
}
