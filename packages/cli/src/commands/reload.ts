import type { Reloaded } from '@posthorn/core/runtime'
import { exit } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { type Where, withServer } from '../remote.ts'

export async function reload(io: Io, options: Common & Where): Promise<number> {
  const result = await withServer(io, options, client => client.call<Reloaded>('reload'))
  if (options.json) io.out(JSON.stringify(result))
  else {
    for (const warning of result.warnings) io.err(`warning: ${warning}`)
    io.out(`Reloaded: configuration ${result.generation} is at work.`)
  }
  return exit.ok
}
