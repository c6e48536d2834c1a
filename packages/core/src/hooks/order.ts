// From the plugins' hook tables to the plan: who runs after whom in each stage. Data decides first (a hook runs after
// those that write what it reads), then names, then the config's order. A contradiction stops the boot.
import { PosthornError, PosthornErrors } from '../errors.ts'
import type { StageName } from '../plugin.ts'
import type { AgentEntry, HookEntry, Plan, StagePlan } from './contract.ts'
import { stageNames } from './stages.ts'
import { type Instance, type PlannedHook, readTable } from './table.ts'

export type { Instance } from './table.ts'

/** `to` runs after `from`, and why, in words for whoever must break a cycle. */
interface Edge {
  readonly from: PlannedHook
  readonly to: PlannedHook
  readonly why: string
}

/**
 * Plans all stages. Throws PosthornErrors with all that is wrong: unknown hooks and keys (POSTHORN_HOOK_INVALID,
 * POSTHORN_UNLESS_INVALID), cycles (POSTHORN_ORDER_CYCLE), hooks that want to run after an effect (POSTHORN_ORDER_EFFECT).
 */
export function buildPlan(instances: readonly Instance[]): Plan {
  const errors: PosthornError[] = []
  const agents: AgentEntry[] = []
  const byStage = new Map<StageName, PlannedHook[]>(stageNames.map(stage => [stage, []]))
  for (const instance of instances) {
    const { hooks, agent } = readTable(instance, errors)
    for (const hook of hooks) byStage.get(hook.entry.stage)?.push(hook)
    if (agent !== undefined) agents.push({ plugin: instance.name, rank: instance.rank, agent })
  }
  const absent: { plugin: string; stage: StageName; name: string }[] = []
  const planned = [...byStage].map(([stage, hooks]) => {
    for (const { entry, before, after } of hooks) {
      for (const name of [...before, ...after]) {
        if (!instances.some(instance => instance.name === name || instance.plugin === name)) {
          absent.push({ plugin: entry.plugin, stage, name })
        }
      }
    }
    return [stage, planStage(hooks, instances, errors)] as const
  })
  if (errors.length > 0) {
    throw new PosthornErrors('POSTHORN_BOOT_FAILED', errors.map(error => error.message).join('; '), errors)
  }
  return {
    stages: Object.fromEntries(planned) as Record<StageName, StagePlan>,
    agents: agents.sort((a, b) => a.rank - b.rank),
    absent,
  }
}

function planStage(hooks: readonly PlannedHook[], instances: readonly Instance[], errors: PosthornError[]): StagePlan {
  const edges = edgesOf(hooks, instances)
  for (const { from, to, why } of edges) {
    if (from.entry.effect && !to.entry.effect) errors.push(afterEffect(from, to, why))
  }
  const part = (effect: boolean) => {
    const own = hooks.filter(hook => hook.entry.effect === effect)
    return wavesOf(
      own,
      edges.filter(edge => edge.from.entry.effect === effect && edge.to.entry.effect === effect),
      errors,
    )
  }
  return { waves: part(false), effects: part(true) }
}

function edgesOf(hooks: readonly PlannedHook[], instances: readonly Instance[]): Edge[] {
  const edges: Edge[] = []
  const add = (from: PlannedHook, to: PlannedHook, why: string) => edges.push({ from, to, why })
  for (const hook of hooks) {
    for (const name of hook.after)
      for (const other of named(name, hook, hooks, instances)) add(other, hook, `after: ['${name}']`)
    for (const name of hook.before)
      for (const other of named(name, hook, hooks, instances)) add(hook, other, `before: ['${name}']`)
  }
  const decided = (a: PlannedHook, b: PlannedHook) =>
    edges.some(({ from, to }) => (from === a && to === b) || (from === b && to === a))
  for (const reader of hooks) {
    for (const key of reader.sees) {
      for (const writer of hooks) {
        if (writer === reader || !writer.shows.has(key)) continue
        if (writer.sees.has(key) && reader.shows.has(key)) {
          // Both read and both write it (two instances of a plugin): a name decides, or the config's order.
          if (writer.entry.rank < reader.entry.rank && !decided(writer, reader))
            add(writer, reader, `both change ${key}`)
        } else add(writer, reader, `${reader.entry.plugin} reads ${key}`)
      }
    }
  }
  return edges
}

/** Hooks that a name in before/after means: of the instance that goes by it, else of all instances of the plugin. */
function named(
  name: string,
  by: PlannedHook,
  hooks: readonly PlannedHook[],
  instances: readonly Instance[],
): PlannedHook[] {
  const exact = instances.some(instance => instance.name === name)
  return hooks.filter(
    ({ instance }) =>
      instance !== by.instance &&
      (exact ? instance.name === name : instance.plugin === name && instance.plugin !== by.instance.plugin),
  )
}

/** Each hook in the earliest wave after those it must follow (longest path). */
function wavesOf(hooks: readonly PlannedHook[], edges: readonly Edge[], errors: PosthornError[]): HookEntry[][] {
  const level = new Map<PlannedHook, number>()
  const waiting = new Set(hooks)
  while (waiting.size > 0) {
    const ready = [...waiting].filter(hook => edges.every(({ from, to }) => to !== hook || !waiting.has(from)))
    if (ready.length === 0) {
      errors.push(cycle(waiting, edges))
      return []
    }
    for (const hook of ready) {
      const before = edges.filter(({ to }) => to === hook).map(({ from }) => level.get(from) ?? 0)
      level.set(hook, before.length === 0 ? 0 : Math.max(...before) + 1)
    }
    for (const hook of ready) waiting.delete(hook)
  }
  const waves: HookEntry[][] = []
  for (const [{ entry }, at] of level) {
    waves[at] ??= []
    waves[at].push(entry)
  }
  for (const wave of waves) wave.sort((a, b) => a.rank - b.rank)
  return waves
}

function cycle(waiting: ReadonlySet<PlannedHook>, edges: readonly Edge[]): PosthornError {
  // Every hook that waits has a predecessor that waits: walking back must come round.
  const back = (hook: PlannedHook) => edges.find(({ from, to }) => to === hook && waiting.has(from)) as Edge
  const way: Edge[] = []
  let hook = [...waiting][0] as PlannedHook
  while (!way.some(({ to }) => to === hook)) {
    const edge = back(hook)
    way.push(edge)
    hook = edge.from
  }
  const round = way.slice(way.findIndex(({ to }) => to === hook)).reverse()
  const members = round.map(({ from }) => from)
  const { stage } = hook.entry
  const path = [...members, members[0] as PlannedHook].map(({ entry }) => entry.plugin).join(' → ')
  const whys = round.map(({ from, to, why }) => `${to.entry.plugin} after ${from.entry.plugin} (${why})`).join(', ')
  return new PosthornError('POSTHORN_ORDER_CYCLE', `hook ${stage} has no order: ${path}: ${whys}`, {
    at: members.map(({ instance }) => instance.settings.at).join(', '),
    fix: `Drop one of these conditions, or take one of ${members.map(({ entry }) => entry.plugin).join(', ')} out of the list.`,
  })
}

function afterEffect(from: PlannedHook, to: PlannedHook, why: string): PosthornError {
  const [effect, other] = [from.entry.plugin, to.entry.plugin]
  return new PosthornError(
    'POSTHORN_ORDER_EFFECT',
    `hook ${to.entry.stage} of ${other} cannot run after that of ${effect} (${why}): ${effect} has an effect, and effects run last`,
    {
      at: `${to.instance.settings.at}, ${from.instance.settings.at}`,
      fix: `Give the hook of ${other} \`effect: true\` too, or drop the condition.`,
    },
  )
}
