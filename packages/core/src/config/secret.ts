import { readFileSync, statSync } from 'node:fs'
import * as z from 'zod'
import { fromConfig, warnOfConfig } from './folder.ts'

/** How a secret is written in a configuration. */
export type SecretInput = string | { readonly env: string } | { readonly file: string }

const expected = 'expected a string, { env: NAME } or { file: path }'

// One object, not one for each: so a misspelt key is told with the nearest of both.
const reference = z
  .strictObject({ env: z.string().optional(), file: z.string().optional() })
  .refine(({ env, file }) => (env === undefined) !== (file === undefined), { error: expected })
  .transform(found => found as { readonly env: string } | { readonly file: string })

/**
 * A zod schema for a secret: a string, `{ env: NAME }` or `{ file: path }` (relative to the config file; one final line
 * break is cut off). Read when the configuration is. A missing variable or file is an error that names it; no error
 * ever shows a value. A file that others may read is warned about.
 */
export function secret() {
  return z
    .union([z.string(), reference], { error: expected })
    .transform((input: SecretInput, ctx) => {
      const result = typeof input === 'string' ? { value: input } : 'env' in input ? env(input.env) : file(input.file)
      const problem = 'problem' in result ? result.problem : result.value === '' ? 'the secret is empty' : undefined
      if (problem !== undefined) {
        ctx.issues.push({ code: 'custom', input: undefined, message: problem, params: { secret: true } })
        return z.NEVER
      }
      return (result as { value: string }).value
    })
    .meta({ secret: true })
}

function env(name: string): { value: string } | { problem: string } {
  const value = process.env[name]
  return value === undefined ? { problem: `the environment variable ${name} is not set` } : { value }
}

function file(path: string): { value: string } | { problem: string } {
  const full = fromConfig(path)
  try {
    const mode = statSync(full).mode
    if ((mode & 0o004) !== 0)
      warnOfConfig(`${full} holds a secret and everybody on this machine can read it: chmod 600 ${full}`)
    return { value: readFileSync(full, 'utf8').replace(/\r?\n$/, '') }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    return { problem: `the file ${full} ${code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`}` }
  }
}
