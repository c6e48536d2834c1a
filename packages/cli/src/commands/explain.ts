import type { Trace, TraceLine } from '@posthorn/core/runtime'
import { exit, usageError } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { type Where, withServer } from '../remote.ts'
import { printable, table, when } from '../table.ts'

export async function explain(io: Io, options: Common & Where, id: string): Promise<number> {
  const params = { id: messageId(id) }
  const trace = await withServer(io, options, client => client.call<Trace>('explain', params))
  if (options.json) {
    io.out(JSON.stringify(trace))
    return exit.ok
  }
  const [first] = trace.entries
  io.out(first === undefined ? `${trace.id}: nothing was traced` : `${trace.id}, ${when(first.at)}`)
  for (const line of traceLines(trace.entries)) io.out(line)
  if (trace.truncated) io.out('  (more happened than a trace holds)')
  return exit.ok
}

/** Ids are typed by hand and pasted from replies. */
export function messageId(text: string): string {
  const id = text.trim().replace(/^<|>$/g, '')
  if (!/^[\w.@+-]{1,100}$/.test(id)) throw usageError(`${JSON.stringify(text.slice(0, 40))} is not the id of a message`)
  return id
}

/** The entries of a trace: stage, plugin, verdict, duration; below each what it wrote and why. */
export function traceLines(entries: readonly TraceLine[], since = entries[0]?.at ?? 0): string[] {
  const heads = table(
    entries.map(entry => [
      `+${seconds(entry.at - since)}`,
      entry.stage,
      entry.plugin ?? '',
      `${entry.verdict}${entry.count !== undefined && entry.count > 1 ? ` ×${entry.count}` : ''}`,
      entry.ms === undefined ? '' : `${entry.ms < 10 ? entry.ms.toFixed(1) : Math.round(entry.ms)} ms`,
      entry.recipient ?? '',
    ]),
    '  ',
  )
  return entries.flatMap((entry, i) => [
    heads[i] ?? '',
    ...(entry.lane === undefined ? [] : [`      lane ${printable(entry.lane)}${by(entry)}`]),
    ...(entry.reason === undefined ? [] : [`      ${printable(entry.reason)}`]),
    ...(entry.edits ?? []).map(edit => `      ${printable(edit)}`),
  ])
}

const by = ({ via }: TraceLine) => (via === undefined ? '' : `, to ${printable(via)}`)

const seconds = (ms: number) => (ms < 60_000 ? `${(ms / 1000).toFixed(3)}s` : `${Math.round(ms / 1000)}s`)
