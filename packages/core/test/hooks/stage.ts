// A stage without a pipeline: hooks made in one line, a scene that writes down what it is told.

import { type FakeClock, fakeClock } from '@posthorn/testing'
import { Aborter } from '../../src/aborter.ts'
import type { HookEntry, RunOptions, Scene, Settled, StagePlan } from '../../src/hooks/contract.ts'
import { hookRuntime } from '../../src/hooks/run.ts'
import { stages } from '../../src/hooks/stages.ts'
import type { Call, StageName } from '../../src/plugin.ts'
import type { Origin } from '../../src/session.ts'

export const origin: Origin = {
  id: 's1',
  protocol: 'smtp',
  listener: { name: 'mx', role: 'mx' },
  local: { ip: '192.0.2.25', port: 25, hostname: 'mx.example' },
  client: { ip: '198.51.100.7', port: 4711, via: 'direct', trusted: false },
}

export type Handler = (call: Call) => unknown

let rank = 0

/** A hook of the plugin `name`; later ones rank behind earlier ones. */
export function hook(name: string, handler: Handler, extra: Partial<HookEntry> = {}): HookEntry {
  const stage = extra.stage ?? 'mail'
  return {
    plugin: name,
    stage,
    handler: handler as HookEntry['handler'],
    timeout: stages[stage].timeout,
    effect: false,
    rank: rank++,
    reads: new Set(),
    writes: new Set(),
    on: new Set(['mx', 'submission', 'lmtp', 'access']),
    onError: 'fail',
    objection: 'keep',
    ...extra,
  }
}

export const waves = (...all: HookEntry[][]): StagePlan => ({ waves: all, effects: [] })

export interface Stage {
  readonly clock: FakeClock
  readonly scene: Scene
  readonly parent: Aborter
  /** `plugin:keep`, `plugin:drop`, in the order they happened. */
  readonly units: string[]
  /** `plugin` and how it ended, as told to the scene. */
  readonly told: string[]
  readonly logged: string[]
  options(stage?: StageName | 'end', more?: Partial<RunOptions>): RunOptions
}

export function stage(scene: Partial<Scene> = {}): Stage {
  const clock = fakeClock()
  const runtime = hookRuntime(clock)
  const parent = new Aborter()
  const units: string[] = []
  const told: string[] = []
  const logged: string[] = []
  const line = (_fields: object, message = '') => void logged.push(message)
  return {
    clock,
    parent,
    units,
    told,
    logged,
    options: (name = 'mail', more = {}) => ({ runtime, stage: name, ...more }),
    scene: {
      role: 'mx',
      facts: { origin, state: () => undefined },
      parent,
      open: entry => ({
        run: call => entry.handler(call),
        keep: () => void units.push(`${entry.plugin}:keep`),
        drop: () => void units.push(`${entry.plugin}:drop`),
      }),
      settled: settled => void told.push(`${settled.entry.plugin} ${ending(settled)}`),
      log: () => ({ debug: line, info: line, warn: line, error: line }),
      ...scene,
    },
  }
}

function ending({ fault, skipped, overridden, value }: Settled): string {
  if (skipped) return 'skipped'
  if (fault !== undefined) return fault.kind
  const said = value === undefined ? '-' : ((value as { kind?: string }).kind ?? JSON.stringify(value))
  return overridden === undefined ? said : `${said} (${overridden})`
}

/** Promises settled by hand. */
export function pending<T>() {
  return Promise.withResolvers<T>()
}
