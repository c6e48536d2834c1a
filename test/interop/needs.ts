// Says whether the programs that an interop test talks to are installed. In CI a missing one is a failure: a skipped
// interop test proves nothing.

import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, resolve } from 'node:path'

// Debian keeps servers in sbin, which is not in everybody's PATH.
const folders = [...new Set([...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/local/sbin'])]

/** The full path of a program, which may be one already, or undefined where it is not installed. */
export function program(name: string): string | undefined {
  for (const folder of folders) {
    const path = resolve(folder, name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // not here; look in the next folder
    }
  }
  return
}

/** `root`: to run as root; `perl:Net::SSLeay`: a Perl module; else a program. Undefined where it is there. */
function missing(need: string): string | undefined {
  if (need === 'root') return process.getuid?.() === 0 ? undefined : 'not root'
  if (need.startsWith('perl:')) {
    const there = spawnSync('perl', [`-M${need.slice('perl:'.length)}`, '-e', '1']).status === 0
    return there ? undefined : `not installed: Perl module ${need.slice('perl:'.length)}`
  }
  return program(need) === undefined ? `not installed: ${need}` : undefined
}

/**
 * `describe.runIf(needs('postfix', 'swaks'))`: true where everything is there: programs, `perl:Module`, `root`. Else
 * says on stderr what is missing, or throws where CI_INTEROP_REQUIRED=1.
 */
export function needs(...all: readonly string[]): boolean {
  const reasons = all.map(missing).filter(reason => reason !== undefined)
  if (reasons.length === 0) return true
  const reason = reasons.join(', ')
  if (process.env.CI_INTEROP_REQUIRED === '1') {
    throw new Error(`an interop test cannot run here, ${reason}. Install it, or unset CI_INTEROP_REQUIRED.`)
  }
  process.stderr.write(`interop test skipped, ${reason}\n`)
  return false
}
