// What a configuration would do, without starting it: every plugin's setup is run with services and shared things that
// do nothing, and the hooks are planned. For `posthorn check`.
import { Aborter, aborted } from '../aborter.ts'
import { systemClock } from '../clock.ts'
import { PosthornError, PosthornErrors } from '../errors.ts'
import type { Plan } from '../hooks/contract.ts'
import { buildPlan, type Instance } from '../hooks/order.ts'
import { silentLog } from '../log.ts'
import type { HookTable } from '../plugin.ts'
import { CertificateFiles } from '../smtp/tls.ts'
import { Storage } from '../storage/contract.ts'
import { Place } from '../storage/place.ts'
import type { Token } from '../token.ts'
import { Services } from './container.ts'
import type { LoadedConfig, LoadedPlugin } from './contract.ts'
import { Disposer } from './dispose.ts'
import { standardHints } from './hints.ts'
import { checkOptions } from './options.ts'
import { inPlace } from './place.ts'
import { type Candidate, setupOrder } from './providers.ts'
import { makeSetup } from './setup.ts'
import { SharedRegistry } from './shared.ts'
import { within } from './within.ts'

export interface DryPlan {
  readonly plan: Plan
  readonly plugins: readonly { readonly name: string; readonly use: string; readonly from: string }[]
  /** Plugins whose setup could not be run without starting; their hooks are not in the plan. */
  readonly unknown: readonly { readonly name: string; readonly reason: string }[]
}

interface Entry extends Candidate {
  readonly rank: number
  readonly loaded: LoadedPlugin
}

/** Milliseconds. */
const setupTimeout = 10_000

/** Services named `core/…` are the core's, but for those that a plugin of the distribution provides. */
const isCore = (token: Token<any>) => token.name.startsWith('core/') && !Object.hasOwn(standardHints, token.name)

/**
 * Plans a configuration. `given`: services that are what they say; all others are inert.
 * @throws PosthornErrors what would stop the start: missing services, cycles, bad hooks
 */
export async function dryPlan(
  loaded: LoadedConfig,
  given: readonly (readonly [Token<any>, unknown])[] = [],
): Promise<DryPlan> {
  const entries = loaded.config.plugins.map((settings, rank): Entry => {
    const own = loaded.plugins[rank] as LoadedPlugin
    return { name: settings.as ?? own.plugin.name, plugin: own.plugin, at: settings.at, rank, loaded: own }
  })
  const errors: PosthornError[] = []
  refuseTwice(entries, errors)
  const provided = new Set(entries.flatMap(({ plugin }) => (plugin.provides ?? []).map(token => token.name)))
  const order = setupOrder(entries, { has: token => isCore(token) && !provided.has(token.name) }, standardHints, errors)
  if (!provided.has(Storage.name)) {
    const fix = "Add 'storage-level' to the list."
    errors.push(
      new PosthornError('POSTHORN_NO_STORAGE', 'no plugin provides a store for the queue', { at: 'plugins', fix }),
    )
  }
  // Reads every PEM file, as a start would.
  await CertificateFiles.load(loaded.config.tls).catch(error => errors.push(error))
  if (errors.length > 0) throw inPlace(failed(errors), loaded)
  const unknown: { name: string; reason: string }[] = []
  const tables = new Map<Entry, HookTable>()
  for (const entry of order) {
    // Opening is all that a store's setup is for; it has no hooks.
    if (entry.plugin.provides?.some(token => token.name === Storage.name)) continue
    const result = await setUp(entry, loaded, given)
    if ('table' in result) tables.set(entry, result.table)
    else if (result.error instanceof PosthornError) errors.push(result.error)
    else unknown.push({ name: entry.name, reason: result.error.message })
  }
  if (errors.length > 0) throw inPlace(failed(errors), loaded)
  const instances = entries.flatMap((entry): Instance[] => {
    const table = tables.get(entry)
    const settings = loaded.config.plugins[entry.rank]
    if (table === undefined || settings === undefined) return []
    return [{ name: entry.name, plugin: entry.plugin.name, rank: entry.rank, table, settings, log: silentLog }]
  })
  return {
    plan: buildPlan(instances),
    plugins: entries.map(({ name, rank, loaded: own }) => ({
      name,
      use: loaded.config.plugins[rank]?.use ?? name,
      from: own.from,
    })),
    unknown,
  }
}

async function setUp(
  entry: Entry,
  loaded: LoadedConfig,
  given: readonly (readonly [Token<any>, unknown])[],
): Promise<{ table: HookTable } | { error: Error }> {
  const { plugin, name, at } = entry
  const disposer = new Disposer(systemClock)
  const over = new Aborter()
  const services = Services.of([])
  const settings = loaded.config.plugins[entry.rank]
  try {
    for (const token of Object.values(plugin.inject ?? {})) services.provide(token as never, inert as never)
    services.provide(Place, { data: loaded.config.data })
    for (const [token, value] of given) services.provide(token, value)
    const { value } = await checkOptions(plugin.schema, settings?.options, name, at, undefined)
    const shared = new InertRegistry()
    const setup = makeSetup({ plugin, name, log: silentLog, services, shared, disposer, over })
    const table = await within(systemClock, setupTimeout, async () => plugin.setup(setup.context, value))
    return { table }
  } catch (error) {
    return { error: error instanceof PosthornError ? placed(error, name, at) : (error as Error) }
  } finally {
    over.abort(aborted.retired)
    await disposer.dispose()
    services.clear()
  }
}

/** Opens nothing: the store may be in use by the running server. */
class InertRegistry extends SharedRegistry {
  override acquire<T>() {
    return Promise.resolve({ value: inert as T, release: () => Promise.resolve() })
  }
}

/** Stands for any service: whatever is read of it or called on it is itself. Not a thenable, so it can be awaited. */
const inert: unknown = new Proxy(() => {}, {
  get: (_target, key) => (key === 'then' ? undefined : key === Symbol.toPrimitive ? () => '' : inert),
  apply: () => inert,
  construct: () => inert as object,
})

function refuseTwice(entries: readonly Entry[], errors: PosthornError[]): void {
  const seen = new Map<string, Entry>()
  for (const entry of entries) {
    const other = seen.get(entry.name)
    if (other !== undefined) {
      errors.push(
        new PosthornError('POSTHORN_PLUGIN_TWICE', `two plugins go by the name ${entry.name}`, {
          at: `${other.at}, ${entry.at}`,
          fix: `Give one of them another: as: '${entry.name}-2'.`,
        }),
      )
    }
    seen.set(entry.name, entry)
  }
}

function placed(error: PosthornError, name: string, at: string): PosthornError {
  return new PosthornError(error.code, `plugin ${name}: ${error.message}`, {
    at: error.at ?? at,
    ...(error.fix === undefined ? {} : { fix: error.fix }),
    cause: error,
  })
}

const failed = (errors: readonly PosthornError[]) =>
  new PosthornErrors('POSTHORN_BOOT_FAILED', errors.map(error => error.message).join('; '), errors)
