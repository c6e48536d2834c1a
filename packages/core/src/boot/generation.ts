// Builds one configuration generation aside: options checked, services wired, plugins set up, hooks planned, `ready`
// hooks run. Whatever goes wrong, what was opened is closed again and all that is wrong is thrown together.
import { Aborter, aborted } from '../aborter.ts'
import type { PluginConfig } from '../config/contract.ts'
import { PosthornError, PosthornErrors } from '../errors.ts'
import type { HookRuntime } from '../hooks/contract.ts'
import { buildPlan, type Instance } from '../hooks/order.ts'
import { runSequence } from '../hooks/run.ts'
import type { Log } from '../log.ts'
import type { HookTable } from '../plugin.ts'
import type { Services } from './container.ts'
import type { LoadedConfig, LoadedPlugin } from './contract.ts'
import { Disposer } from './dispose.ts'
import { lifecycleScene } from './lifecycle.ts'
import { LiveGeneration } from './live.ts'
import { checkOptions } from './options.ts'
import { pluginLog } from './plugin-log.ts'
import { type Candidate, setupOrder } from './providers.ts'
import { makeSetup } from './setup.ts'
import type { SharedRegistry } from './shared.ts'
import { within } from './within.ts'

/** What a generation is built with; the same for all of a process. */
export interface BuildParts {
  /** Core services, in the process's container. */
  readonly services: Services
  readonly shared: SharedRegistry
  readonly runtime: HookRuntime
  readonly log: Log
  /** Which standard plugin provides a token, by token name: `core/storage` → `storage-level`. */
  readonly hints?: Readonly<Record<string, string>>
}

/** Milliseconds that one plugin's setup may take. */
const setupTimeout = 60_000

interface Entry extends Candidate {
  readonly settings: PluginConfig
  readonly loaded: LoadedPlugin
  readonly rank: number
  readonly log: Log
}

/** Throws PosthornErrors; nothing is left open then. */
export async function buildGeneration(
  loaded: LoadedConfig,
  number: number,
  parts: BuildParts,
): Promise<LiveGeneration> {
  const entries = loaded.config.plugins.map((settings, rank): Entry => {
    const { plugin } = loaded.plugins[rank] as LoadedPlugin
    const name = settings.as ?? plugin.name
    const log = pluginLog(parts.log, name)
    return { name, plugin, at: settings.at, settings, loaded: loaded.plugins[rank] as LoadedPlugin, rank, log }
  })
  const errors: PosthornError[] = []
  checkNames(entries, errors)
  const options = new Map<Entry, unknown>()
  for (const entry of entries) {
    const { settings, plugin, name, at } = entry
    const checked = await checkOptions(
      plugin.schema,
      settings.options,
      name,
      at,
      entry.loaded.where?.bind(entry.loaded),
    )
    errors.push(...checked.errors)
    options.set(entry, checked.value)
  }
  const order = setupOrder(entries, parts.services, parts.hints ?? {}, errors)
  fail(errors)

  const { runtime } = parts
  const services = parts.services.child()
  const disposer = new Disposer(runtime.clock)
  const over = new Aborter()
  try {
    const tables = new Map<Entry, HookTable>()
    for (const entry of order) tables.set(entry, await setUp(entry, options.get(entry)))
    const plan = buildPlan(entries.map(entry => instanceOf(entry, tables.get(entry) as HookTable)))
    const plugins = entries.map(({ name, settings, loaded: { from } }) => ({ name, use: settings.use, from }))
    const live = new LiveGeneration({ number, config: loaded.config, plan, plugins, services, disposer, over, parts })
    await runReady(live, runtime)
    return live
  } catch (error) {
    over.abort(aborted.retired)
    await disposer.dispose()
    services.clear()
    throw error instanceof PosthornErrors ? error : one(error as PosthornError)
  }

  async function setUp(entry: Entry, value: unknown): Promise<HookTable> {
    const { plugin, name, at, log } = entry
    const setup = makeSetup({ plugin, name, log, services, shared: parts.shared, disposer, over })
    try {
      const table = await within(runtime.clock, setupTimeout, async () => plugin.setup(setup.context, value))
      setup.close(true)
      return table
    } catch (error) {
      setup.close()
      throw setupError(error, name, at)
    }
  }
}

const instanceOf = ({ name, plugin, rank, settings, log }: Entry, table: HookTable): Instance => ({
  name,
  plugin: plugin.name,
  rank,
  table,
  settings,
  log,
})

const nameForm = /^[a-z0-9][a-z0-9._-]{0,63}$/

function checkNames(entries: readonly Entry[], errors: PosthornError[]): void {
  const seen = new Map<string, Entry>()
  for (const entry of entries) {
    const { name, at } = entry
    const other = seen.get(name)
    if (other !== undefined) {
      errors.push(
        new PosthornError('POSTHORN_PLUGIN_TWICE', `two plugins go by the name ${name}`, {
          at: `${other.at}, ${at}`,
          fix: `Give one of them another: { use: '${entry.settings.use}', as: '${name}-2' }.`,
        }),
      )
    } else seen.set(name, entry)
    // It becomes part of lane names and log fields; `core` is ourselves.
    if (!nameForm.test(name) || name === 'core') {
      errors.push(
        new PosthornError('POSTHORN_PLUGIN_NAME', `${JSON.stringify(name)} cannot be the name of a plugin`, {
          at,
          fix: 'Use small letters, digits, dots and dashes, at most 64, and not "core".',
        }),
      )
    }
  }
}

function setupError(error: unknown, name: string, at: string): PosthornError {
  const known = error instanceof PosthornError ? error : undefined
  const message = error instanceof Error ? error.message : String(error)
  return new PosthornError(known?.code ?? 'POSTHORN_PLUGIN_SETUP', `plugin ${name} could not be set up: ${message}`, {
    at: known?.at ?? at,
    fix: known?.fix ?? 'Correct its options or what it depends on, or take it out of the list.',
    cause: error,
  })
}

function fail(errors: readonly PosthornError[]): void {
  if (errors.length > 0) {
    throw new PosthornErrors('POSTHORN_BOOT_FAILED', errors.map(error => error.message).join('; '), errors)
  }
}

const one = (error: PosthornError) => new PosthornErrors(error.code ?? 'POSTHORN_BOOT_FAILED', error.message, [error])

async function runReady(live: LiveGeneration, runtime: HookRuntime): Promise<void> {
  const { settled } = await runSequence(live.plan.stages.ready, lifecycleScene(live.over), { runtime, stage: 'ready' })
  const failed = settled.find(({ fault, entry }) => fault !== undefined && entry.onError === 'fail')
  if (failed?.fault === undefined) return
  const { error } = failed.fault
  const known = error instanceof PosthornError ? error : undefined
  throw new PosthornError(
    known?.code ?? 'POSTHORN_PLUGIN_READY',
    `plugin ${failed.entry.plugin} did not get ready: ${error.message}`,
    {
      at: known?.at ?? live.config.plugins[failed.entry.rank]?.at ?? '',
      fix: known?.fix ?? 'Correct what it depends on, or take it out of the list.',
      cause: error,
    },
  )
}
