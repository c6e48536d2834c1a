// A folder of configuration files for one test, removed with it.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { PosthornError, PosthornErrors } from '../../src/errors.ts'

/** Writes files by path into a new folder, and gives its path. */
export function folderOf(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'posthorn-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  return folder
}

/** A plugin that needs no package. */
export const plugin = (name: string) => `
export default {
  name: ${JSON.stringify(name)},
  schema: { '~standard': { version: 1, vendor: 'test', validate: value => ({ value }) } },
  setup: () => ({}),
}
`

/** What `work` rejects with, as lines `at | message | fix`, the folder cut out. */
export async function complaints(folder: string, work: Promise<unknown>): Promise<string[]> {
  const error = await work.then(
    () => {
      throw new Error('nothing was refused')
    },
    (reason: PosthornErrors) => reason,
  )
  const all: readonly PosthornError[] = error.errors ?? [error]
  return all.map(({ at, message, fix }) => [at, message, fix].filter(Boolean).join(' | ').replaceAll(`${folder}/`, ''))
}
