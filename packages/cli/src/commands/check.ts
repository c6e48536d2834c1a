import { dirname } from 'node:path'
import { type DryPlan, dryPlan, formatListen, type LoadedConfig, loadConfig } from '@posthorn/core/runtime'
import { bases } from '../distribution.ts'
import { exit } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { table } from '../table.ts'

export async function check(io: Io, options: Common): Promise<number> {
  const warnings: string[] = []
  const loaded = await loadConfig({
    cwd: io.cwd,
    bases,
    warn: message => warnings.push(message),
    ...(options.config === undefined ? {} : { file: options.config }),
  })
  const planned = await dryPlan(loaded)
  if (options.json) io.out(JSON.stringify(report(loaded, planned, warnings)))
  else {
    for (const warning of warnings) io.err(`warning: ${warning}`)
    for (const line of lines(loaded, planned)) io.out(line)
  }
  return exit.ok
}

type Wave = readonly string[]

/** Stages in the order of a message's way, with its hooks as waves: names in one wave run at the same time. */
function stagesOf({ plan }: DryPlan): { stage: string; waves: Wave[]; effects: Wave[] }[] {
  return Object.entries(plan.stages)
    .map(([stage, { waves, effects }]) => ({
      stage,
      waves: waves.map(wave => wave.map(hook => hook.plugin)),
      effects: effects.map(wave => wave.map(hook => hook.plugin)),
    }))
    .filter(({ waves, effects }) => waves.length + effects.length > 0)
}

function report(loaded: LoadedConfig, planned: DryPlan, warnings: readonly string[]) {
  const { config } = loaded
  return {
    file: loaded.file,
    hostname: config.hostname,
    data: config.data,
    listeners: config.listeners.map(({ name, role, listen, tls, auth, requireTls }) => ({
      name,
      role,
      listen: listen.map(formatListen),
      tls,
      auth,
      requireTls,
    })),
    plugins: planned.plugins,
    stages: stagesOf(planned),
    deliver: planned.plan.agents.map(agent => agent.plugin),
    absent: planned.plan.absent,
    unknown: planned.unknown,
    warnings,
  }
}

function lines(loaded: LoadedConfig, planned: DryPlan): string[] {
  const { config } = loaded
  const folder = loaded.file === undefined ? '' : `${dirname(loaded.file)}/`
  const { agents, absent } = planned.plan
  return [
    `${loaded.file ?? 'The configuration'} is valid.`,
    '',
    ...table([
      ['hostname', config.hostname],
      ['data', config.data],
      ['control', config.control.socket],
    ]),
    '',
    ...table([
      ['listener', 'role', 'tls', 'log-in', 'address'],
      ...config.listeners.map(l => [
        l.name,
        l.role,
        l.requireTls ? `${l.tls}, required` : l.tls,
        l.auth,
        l.listen.map(formatListen).join(' '),
      ]),
    ]),
    '',
    ...table([
      ['plugin', 'from'],
      ...planned.plugins.map(p => [
        p.name,
        p.from.startsWith(folder) && folder !== '' ? `./${p.from.slice(folder.length)}` : p.from,
      ]),
    ]),
    '',
    'Stages: → means "then", + means "at the same time", (…) only if nobody objected',
    ...table(
      stagesOf(planned).map(({ stage, waves, effects }) => [stage, order(waves, effects)]),
      '  ',
    ),
    ...table(
      [
        [
          'deliver',
          agents.length === 0
            ? 'no plugin delivers: mail would wait in the queue'
            : agents.map(a => a.plugin).join(', else '),
        ],
      ],
      '  ',
    ),
    ...absent.map(
      ({ plugin, stage, name }) => `note: ${plugin} wants its ${stage} hook before or after ${name}, which is not here`,
    ),
    ...planned.unknown.map(({ name, reason }) => `note: the hooks of ${name} are known only once it runs (${reason})`),
  ]
}

const order = (waves: readonly Wave[], effects: readonly Wave[]) =>
  [...waves.map(wave => wave.join(' + ')), ...effects.map(wave => `(${wave.join(' + ')})`)].join(' → ')
