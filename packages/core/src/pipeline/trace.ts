// The decision trace of a message while it is made: what each hook said, folded where many recipients got the same.
import type { Settled } from '../hooks/contract.ts'
import { describeEdit, type Edit } from '../message/edits.ts'
import type { TraceEntry } from '../queue/contract.ts'
import type { PassedOn, Verdict } from '../verdict.ts'
import { describeVerdict } from './replies.ts'

/** Entries of one trace at most; with 64 characters each a trace stays well under 64 KiB. */
const most = 500
/** From here on equal entries of further recipients are counted, not kept. */
const foldAfter = 20

type Writable<T> = { -readonly [K in keyof T]: T[K] }

export class Trace {
  readonly entries: TraceEntry[] = []
  #dropped = 0
  #folded: Map<string, { count: number; index: number }> | undefined

  add(entry: TraceEntry): void {
    if (entry.recipient !== undefined && this.entries.length >= foldAfter) {
      const key = `${entry.stage}\0${entry.plugin}\0${entry.verdict}\0${entry.reason}`
      this.#folded ??= new Map()
      const seen = this.#folded.get(key)
      if (seen !== undefined) {
        seen.count++
        this.entries[seen.index] = { ...(this.entries[seen.index] as TraceEntry), count: seen.count }
        return
      }
      this.#folded.set(key, { count: 1, index: this.entries.length })
    }
    if (this.entries.length < most) this.entries.push(entry)
    else this.#dropped++
  }

  hook(settled: Settled, edits: readonly Edit[] | undefined, recipient?: string): void {
    const { at, entry, ms } = settled
    const line: Writable<TraceEntry> = {
      at,
      stage: entry.stage,
      plugin: entry.plugin,
      verdict: answerOf(settled),
      ms: Math.round(ms * 100) / 100,
    }
    const reason = reasonOf(settled)
    if (reason !== undefined) line.reason = reason
    if (recipient !== undefined) line.recipient = recipient
    if (edits !== undefined && edits.length > 0) line.edits = edits.map(describeEdit)
    this.add(line)
  }

  /** The entries, and a last line for what did not fit. */
  finished(at: number): readonly TraceEntry[] {
    if (this.#dropped === 0) return this.entries
    return [...this.entries, { at, stage: 'trace', verdict: 'cut', count: this.#dropped }]
  }
}

/** What a hook answered, in the trace's words. */
function answerOf({ skipped, fault, value }: Settled): string {
  if (skipped) return 'skipped'
  if (fault !== undefined) return fault.kind
  if (value === undefined || value === null) return '-'
  if (typeof value === 'string') return value
  if (value instanceof Map) return `each: ${[...value].map(([id, v]) => `${id} ${describeVerdict(v)}`).join('; ')}`
  const { kind, to, user } = value as { kind?: unknown; to?: readonly unknown[]; user?: string }
  if (typeof kind === 'string') return describeVerdict(value as Verdict | PassedOn)
  if (Array.isArray(to)) return `resolved to ${to.length}`
  if (typeof user === 'string') return `user ${user}`
  return Array.isArray(value) ? `${value.length} fields` : 'tap'
}

function reasonOf({ fault, value }: Settled): string | undefined {
  if (fault !== undefined) return fault.error.message
  const reason = (value as { reason?: unknown } | undefined)?.reason
  return typeof reason === 'string' ? reason : undefined
}
