// Reads the hook tables that plugins' `setup` returned: nothing unknown gets in, everything has its defaults and the
// operator's overrides.
import type { PluginConfig } from '../config/contract.ts'
import { nearest } from '../config/nearest.ts'
import type { DeliveryAgent } from '../delivery.ts'
import { PosthornError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { HookSpec, HookTable, StageName } from '../plugin.ts'
import type { Role } from '../session.ts'
import type { StateKey } from '../state.ts'
import type { HookEntry } from './contract.ts'
import { allRoles, defaultRoles, lifecycle, stageNames, stages } from './stages.ts'
import { compileUnless } from './unless.ts'

/** A plugin as configured, after its setup. */
export interface Instance {
  /** `as`, or the plugin's own name. */
  readonly name: string
  /** The plugin's own name. */
  readonly plugin: string
  /** Index in the config's list. */
  readonly rank: number
  readonly table: HookTable
  readonly settings: Pick<PluginConfig, 'at' | 'on' | 'unless' | 'onError' | 'objection' | 'timeout'>
  readonly log?: Log
}

/** A hook with what only the order needs. */
export interface PlannedHook {
  readonly entry: HookEntry
  readonly instance: Instance
  readonly before: readonly string[]
  readonly after: readonly string[]
  /** Keys that this hook sees written by others: what it reads, and what its `unless` asks for. */
  readonly sees: ReadonlySet<string>
  /** Keys that others can see: not the local ones. */
  readonly shows: ReadonlySet<string>
}

const specKeys = [
  'handler',
  'reads',
  'writes',
  'before',
  'after',
  'effect',
  'on',
  'timeout',
] satisfies (keyof HookSpec<unknown>)[]
const agentKeys = ['route', 'limits', 'send'] satisfies (keyof DeliveryAgent)[]

/** The hooks and the delivery agent of one instance; all that is wrong with them goes to `errors`. */
export function readTable(
  instance: Instance,
  errors: PosthornError[],
): { readonly hooks: PlannedHook[]; readonly agent?: DeliveryAgent } {
  const { table, name } = instance
  const hooks: PlannedHook[] = []
  const wrong = (message: string, fix: string) =>
    errors.push(
      new PosthornError('POSTHORN_HOOK_INVALID', `plugin ${name}: ${message}`, { fix, at: instance.settings.at }),
    )
  if (typeof table !== 'object' || table === null) {
    wrong(`setup returned ${table === null ? 'null' : typeof table} instead of hooks`, 'Return an object, {} at least.')
    return { hooks }
  }
  for (const [key, value] of Object.entries(table)) {
    if (key === 'deliver' || value === undefined) continue
    if (!Object.hasOwn(stages, key)) {
      const near = nearest(key, [...stageNames, 'deliver'])
      const all = `The hooks are ${stageNames.join(', ')} and deliver.`
      wrong(`no such hook: ${key}`, near === undefined ? all : `Did you mean ${near}?`)
      continue
    }
    const stage = key as StageName
    const spec =
      typeof value === 'function' ? { handler: value as HookEntry['handler'] } : readSpec(stage, value, wrong)
    const hook = spec === undefined ? undefined : plan(instance, stage, spec, errors)
    if (hook !== undefined) hooks.push(hook)
  }
  const agent = table.deliver
  return agent !== undefined && isAgent(agent, wrong) ? { hooks, agent } : { hooks }
}

type Wrong = (message: string, fix: string) => void
type Spec = HookSpec<HookEntry['handler']>

function readSpec(stage: StageName, value: unknown, wrong: Wrong): Spec | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    wrong(`hook ${stage} is neither a function nor { handler, … }`, 'Write the function, or { handler: function, … }.')
    return undefined
  }
  const spec = value as Spec
  const before: string[] = []
  const say = (message: string, fix: string) => {
    before.push(message)
    wrong(message, fix)
  }
  for (const key of Object.keys(spec)) {
    if ((specKeys as string[]).includes(key)) continue
    const near = nearest(key, specKeys)
    say(
      `no such key in hook ${stage}: ${key}`,
      near === undefined ? `The keys are ${specKeys.join(', ')}.` : `Did you mean ${near}?`,
    )
  }
  if (typeof spec.handler !== 'function') say(`hook ${stage} has no handler`, 'Give it a function, as `handler`.')
  const isKey = (key: unknown) =>
    typeof (key as StateKey<any, any> | null)?.name === 'string' && 'scope' in (key as object)
  for (const list of ['reads', 'writes'] as const) {
    if (spec[list] !== undefined && !(Array.isArray(spec[list]) && spec[list].every(isKey))) {
      say(
        `\`${list}\` of hook ${stage} is not a list of state keys`,
        'Import the keys and list them; names will not do.',
      )
    }
  }
  for (const list of ['before', 'after'] as const) {
    if (spec[list] !== undefined && !(Array.isArray(spec[list]) && spec[list].every(n => typeof n === 'string'))) {
      say(`\`${list}\` of hook ${stage} is not a list of plugin names`, `Write ${list}: ['name'].`)
    }
  }
  if (spec.effect !== undefined && typeof spec.effect !== 'boolean') {
    say(`\`effect\` of hook ${stage} is not true`, 'Write effect: true, or leave it out.')
  }
  if (spec.on !== undefined && !(Array.isArray(spec.on) && spec.on.every(role => allRoles.includes(role)))) {
    say(`\`on\` of hook ${stage} is not a list of listener roles`, `The roles are ${allRoles.join(', ')}.`)
  }
  const { timeout } = spec
  if (timeout !== undefined && !(Number.isFinite(timeout) && timeout > 0)) {
    say(`the timeout of hook ${stage} is not a number of milliseconds`, 'Write a number over 0.')
  }
  return before.length === 0 ? spec : undefined
}

function plan(instance: Instance, stage: StageName, spec: Spec, errors: PosthornError[]): PlannedHook | undefined {
  const { settings, name, rank, log } = instance
  const none = lifecycle.has(stage)
  let unless: HookEntry['unless']
  try {
    unless = none || settings.unless === undefined ? undefined : compileUnless(settings.unless, settings.at)
  } catch (error) {
    // Said once, not for every hook of the plugin.
    if (!errors.some(e => e.message === (error as Error).message && e.at === (error as PosthornError).at)) {
      errors.push(error as PosthornError)
    }
    return undefined
  }
  const { reads = [], writes = [] } = spec
  const roles: readonly Role[] = none ? allRoles : (settings.on ?? spec.on ?? defaultRoles)
  const entry: HookEntry = {
    plugin: name,
    stage,
    handler: spec.handler,
    timeout: settings.timeout ?? spec.timeout ?? stages[stage].timeout,
    effect: spec.effect === true,
    rank,
    reads: new Set(reads.map(key => key.name)),
    writes: new Set(writes.map(key => key.name)),
    on: new Set(roles),
    onError: settings.onError,
    objection: settings.objection,
    ...(unless === undefined ? {} : { unless }),
    ...(log === undefined ? {} : { log }),
  }
  const shared = (keys: readonly StateKey<any, any>[]) => keys.filter(key => key.scope !== 'local').map(key => key.name)
  return {
    entry,
    instance,
    before: spec.before ?? [],
    after: spec.after ?? [],
    sees: new Set([...shared(reads), ...(none ? [] : (settings.unless?.state ?? []))]),
    shows: new Set(shared(writes)),
  }
}

function isAgent(agent: unknown, wrong: Wrong): boolean {
  if (typeof agent !== 'object' || agent === null) {
    wrong('`deliver` is not an agent', 'Give it { route, send } and perhaps limits.')
    return false
  }
  let good = true
  // An agent may be an instance of a class: only own keys are judged.
  for (const [key, value] of Object.entries(agent)) {
    if (typeof value !== 'function' || (agentKeys as string[]).includes(key)) continue
    const near = nearest(key, agentKeys)
    wrong(
      `no such function in deliver: ${key}`,
      near === undefined ? 'It has route, limits and send.' : `Did you mean ${near}?`,
    )
    good = false
  }
  for (const key of ['route', 'send'] as const) {
    if (typeof (agent as DeliveryAgent)[key] === 'function') continue
    wrong(`deliver has no ${key}`, 'An agent has the functions route and send.')
    good = false
  }
  return good
}
