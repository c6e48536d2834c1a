// Every error with a code, found in the sources: what it says and what to do. Texts have `…` where the case is told.

import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface KnownError {
  readonly code: string
  /** From the root. */
  readonly file: string
  /** Absent where it is put together elsewhere. */
  readonly message?: string
  readonly fix?: string
}

const text = String.raw`(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\x60(?:[^\x60\\]|\\.)*\x60)`
const thrown = new RegExp(String.raw`['"](POSTHORN_[A-Z_]+)['"](?:,\s*(${text}))?`, 'g')
const advice = new RegExp(String.raw`fix:\s*(${text})`)

/** The text of a literal; undefined where it is put together of others. */
function plain(literal: string | undefined): string | undefined {
  const text = literal?.slice(1, -1).replaceAll(/\$\{(?:[^{}]|\{[^{}]*\})*\}/g, '…')
  return text?.includes('${') ? undefined : text?.replaceAll(/\\(.)/g, '$1')
}

/** All of them, by code, then by file; each wording once. */
export function knownErrors(root: string): readonly KnownError[] {
  const found = new Map<string, KnownError>()
  for (const file of globSync(['packages/*/src/**/*.ts', 'packages/plugins/*/src/**/*.ts'], { cwd: root }).sort()) {
    const source = readFileSync(join(root, file), 'utf8').replaceAll(/^\s*(\/\/|\*).*$/gm, '')
    const places = [...source.matchAll(thrown)]
    for (const [i, { 0: whole, 1: code, 2: said, index }] of places.entries()) {
      // What to do is said soon, and before the next error.
      const after = source.slice(index + whole.length, Math.min(places[i + 1]?.index ?? source.length, index + 600))
      const message = plain(said)
      const fix = message === undefined ? undefined : plain(advice.exec(after)?.[1])
      const error: KnownError = {
        code: code as string,
        file,
        ...(message === undefined ? {} : { message }),
        ...(fix === undefined ? {} : { fix }),
      }
      found.set(JSON.stringify([code, message, fix]), error)
    }
  }
  const all = [...found.values()].sort((a, b) => a.code.localeCompare(b.code) || a.file.localeCompare(b.file))
  // A code that is only compared with, or whose text is put together, says nothing where another place says it.
  return all.filter(e => e.message !== undefined || !all.some(o => o.code === e.code && o.message !== undefined))
}
