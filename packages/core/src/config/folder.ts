import { AsyncLocalStorage } from 'node:async_hooks'
import { homedir } from 'node:os'
import { resolve } from 'node:path'

/** Where the configuration being read lives, and who hears of what is allowed but unwise. */
export interface Reading {
  readonly folder: string
  warn(message: string): void
}

// Schemas are values made long before anybody knows the config's folder, and plugins' schemas are validated elsewhere.
const reading = new AsyncLocalStorage<Reading>()

/** Runs `fn` so that the paths, secrets and warnings of schemas parsed inside it belong to this configuration. */
export function whileReading<T>(config: Reading, fn: () => T): T {
  return reading.run(config, fn)
}

/** An absolute path: relative ones count from the folder of the configuration being read, `~/` from the home folder. */
export function fromConfig(path: string): string {
  const expanded = path === '~' || path.startsWith('~/') ? homedir() + path.slice(1) : path
  return resolve(reading.getStore()?.folder ?? process.cwd(), expanded)
}

export function warnOfConfig(message: string): void {
  reading.getStore()?.warn(message)
}
