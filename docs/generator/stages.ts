// The stages that plugins hook into: kinds, times and faults from the table that the runtime itself runs by.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatDuration, stageNames, stages } from '@posthorn/core/runtime'
import { table } from './options.ts'

const kinds = {
  gate: 'all are asked, objections merge',
  first: 'one after another until one answers',
  sequence: 'one after another, all of them',
  observer: 'told, cannot object',
}

/** The comment at each hook in the interface that plugins write against. */
function comments(root: string): ReadonlyMap<string, string> {
  const source = readFileSync(join(root, 'packages/core/src/plugin.ts'), 'utf8')
  const body = source.match(/export interface Hooks \{\n([\s\S]*?)\n\}/)?.[1] ?? ''
  const members = body.matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(\w+): \(/g)
  return new Map(Array.from(members, m => [m[2] as string, (m[1] as string).replaceAll(/\s*\n\s*\*\s*/g, ' ').trim()]))
}

export function stagesTable(root: string): string {
  const said = comments(root)
  return table(
    ['stage', 'kind', 'time for a hook', 'a fault is', ''],
    stageNames.map(name => {
      const { kind, timeout, failure } = stages[name]
      const others = kind === 'observer' ? 'logged' : 'the end of the boot or reload'
      const fault = failure === undefined ? others : `${failure.code} ${failure.enhanced}`
      return [`\`${name}\``, kind, formatDuration(timeout), fault, said.get(name) ?? '']
    }),
  )
}

export const kindsTable = (): string => table(['kind', ''], Object.entries(kinds))
