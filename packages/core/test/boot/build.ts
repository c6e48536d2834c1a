// Configurations without files: plugins as values, a log that is read back.

import { type FakeClock, fakeClock } from '@posthorn/testing'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import * as z from 'zod'
import type { LoadedConfig } from '../../src/boot/contract.ts'
import { Generations, type GenerationsOptions } from '../../src/boot/generations.ts'
import type { Config, PluginConfig } from '../../src/config/contract.ts'
import type { PosthornErrors } from '../../src/errors.ts'
import type { AnyPlugin, HookTable, Setup } from '../../src/plugin.ts'
import type { Token } from '../../src/token.ts'

/** Milliseconds that a retired generation may live on, here. */
export const drain = 600_000

export type Entry = AnyPlugin | ({ readonly plugin: AnyPlugin } & Partial<PluginConfig>)

export function loaded(...entries: Entry[]): LoadedConfig {
  const given = entries.map(entry => ('plugin' in entry ? entry : { plugin: entry }))
  return {
    config: {
      drain,
      plugins: given.map(({ plugin, ...settings }, i) => ({
        use: plugin.name,
        onError: 'fail',
        objection: 'keep',
        options: {},
        at: `plugins[${i}]`,
        ...settings,
      })),
    } as unknown as Config,
    plugins: given.map(({ plugin }) => ({ plugin, from: `/plugins/${plugin.name}` })),
  }
}

interface Parts {
  readonly inject?: Record<string, Token<any>>
  readonly provides?: readonly Token<any>[]
  readonly schema?: StandardSchemaV1
}

/** A plugin whose setup is all that matters. */
export function plugin(
  name: string,
  setup: (
    ctx: Setup<Record<string, Token<any>>>,
    options: any,
  ) => HookTable | void | Promise<HookTable | void> = () => {},
  { schema = z.strictObject({}), ...parts }: Parts = {},
): AnyPlugin {
  return { name, schema, ...parts, setup: async (ctx, options) => (await setup(ctx, options)) ?? {} }
}

export interface Server {
  readonly generations: Generations
  readonly clock: FakeClock
  readonly logged: { readonly level: string; readonly message: string; readonly [field: string]: unknown }[]
}

export function server(options: Partial<GenerationsOptions> = {}): Server {
  const clock = fakeClock()
  const logged: Server['logged'] = []
  const line =
    (level: string) =>
    (fields: object, message = '') =>
      void logged.push({ level, message, ...fields })
  const log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
  return { generations: new Generations({ clock, log, ...options }), clock, logged }
}

/** What was wrong, as an operator reads it: `place: message | fix`. */
export async function wrong(attempt: Promise<unknown>): Promise<string[]> {
  try {
    await attempt
  } catch (error) {
    return (error as PosthornErrors).errors.map(({ at, message, fix }) => `${at}: ${message} | ${fix}`)
  }
  throw new Error('it was accepted')
}
