// Says whether the programs that an interop test talks to are installed. In CI a missing one is a failure: a skipped
// interop test proves nothing.

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

// Debian keeps servers in sbin, which is not in everybody's PATH.
const folders = [...new Set([...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/local/sbin'])]

/** The full path of a program, or undefined where it is not installed. */
export function program(name: string): string | undefined {
  for (const folder of folders) {
    const path = join(folder, name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // not here; look in the next folder
    }
  }
  return
}

/**
 * `describe.runIf(needs('postfix', 'swaks'))`: true where every program is installed. Else says on stderr what is
 * missing, or throws where CI_INTEROP_REQUIRED=1.
 */
export function needs(...programs: readonly string[]): boolean {
  const missing = programs.filter(name => program(name) === undefined)
  if (missing.length === 0) return true
  const reason = `not installed: ${missing.join(', ')}`
  if (process.env.CI_INTEROP_REQUIRED === '1') {
    throw new Error(`an interop test cannot run here, ${reason}. Install it, or unset CI_INTEROP_REQUIRED.`)
  }
  process.stderr.write(`interop test skipped, ${reason}\n`)
  return false
}
