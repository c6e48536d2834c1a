import { readFileSync } from 'node:fs'

/** Where plugins of the standard distribution are resolved from when the config's own folder has none. */
export const bases: readonly string[] = [import.meta.url]

export const version = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version

/** What to type before a command: in a checkout started by npm, the script's name. */
export function commandName(env: Readonly<Record<string, string | undefined>>): string {
  return env.npm_lifecycle_event === 'start' || env.npm_lifecycle_event === 'posthorn'
    ? 'npm run posthorn --'
    : 'posthorn'
}
