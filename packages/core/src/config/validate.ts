import { hostname as machineName } from 'node:os'
import { join } from 'node:path'
import { PosthornErrors } from '../errors.ts'
import type { Config } from './contract.ts'
import { type Problem, problemError, validate } from './explain.ts'
import { warnOfConfig, whileReading } from './folder.ts'
import { listenersOf } from './listeners.ts'
import { type ConfigInput, configSchema, type ParsedConfig } from './schema.ts'

/** Everything of a configuration but its plugins. */
export type ConfigWithoutPlugins = Omit<Config, 'plugins'>

/** Validates what a configuration file says, and fills in what it leaves open. All problems go to `problems`. */
export async function validateConfig(value: unknown, problems: Problem[]): Promise<ConfigWithoutPlugins | undefined> {
  const result = await validate(configSchema, value)
  problems.push(...result.problems)
  if (result.value === undefined) {
    // What is wrong elsewhere must not hide what is wrong with the listeners.
    const alone = await validate(configSchema, { listeners: (value as { listeners?: unknown } | null)?.listeners })
    if (alone.value !== undefined) listenersOf(alone.value as ParsedConfig, '', problems)
    return undefined
  }
  const config = result.value as ParsedConfig
  const hostname = config.hostname ?? machineName()
  if (!hostname.includes('.')) {
    warnOfConfig(
      `hostname is ${hostname}, which has no domain; other servers may refuse it: set hostname: mail.example.org`,
    )
  }
  const listeners = listenersOf(config, hostname, problems)
  const { plugins: _, hostname: __, ...rest } = config
  const complete = {
    ...rest,
    hostname,
    listeners,
    control: { socket: config.control.socket ?? join(config.data, 'control.sock') },
  }
  return dropUndefined(complete) as ConfigWithoutPlugins
}

/** A configuration made by a program or a test, without plugins. Throws PosthornErrors for what is wrong in it. */
export async function configOf(value: Omit<ConfigInput, 'plugins'>, folder: string): Promise<ConfigWithoutPlugins> {
  const problems: Problem[] = []
  const config = await whileReading({ folder, warn: () => {} }, () => validateConfig(value, problems))
  if (config === undefined || problems.length > 0) {
    const errors = problems.map(problem => problemError(problem, 'the given configuration'))
    throw new PosthornErrors('POSTHORN_CONFIG_INVALID', errors.map(error => error.message).join('; '), errors)
  }
  return config
}

// `exactOptionalPropertyTypes`: an absent option is absent, not undefined.
function dropUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(dropUndefined)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== undefined)
      .map(([key, inner]) => [key, dropUndefined(inner)]),
  )
}
