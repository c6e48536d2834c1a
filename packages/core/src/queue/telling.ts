// What is told of an attempt: one log line, entries of the trace (equal ones folded), and the observers.
import type { Generation } from '../boot/contract.ts'
import type { Outcome, Queued } from '../delivery.ts'
import type { TraceEntry } from './contract.ts'
import type { Desk } from './desk.ts'
import type { Settled } from './outcome.ts'
import type { Block } from './records.ts'
import { targetOf } from './sending.ts'

export interface Told {
  readonly ms: number
  readonly plugin: string | undefined
  readonly lane: string
  readonly generation: Generation
  readonly message: Queued
}

/** From so many on, equal outcomes are counted, not listed. */
const listed = 20

export function tell(desk: Desk, block: Block, { fates }: Settled, told: Told): void {
  const { clock, trace, log, outcome: observe } = desk
  const at = clock.now()
  const counts: Record<string, number> = {}
  let folded: Map<string, { entry: TraceEntry; count: number }> | undefined
  const entries: TraceEntry[] = []
  for (const { recipient, fate, outcome } of fates) {
    counts[fate] = (counts[fate] ?? 0) + 1
    const plain = fate === 'failed' || fate === 'deferred' || fate === 'delivered'
    const verdict = plain ? describe(outcome) : `${fate} ${describe(outcome)}`
    const reason = reasonFor(outcome)
    const entry: TraceEntry = {
      at,
      stage: 'deliver',
      ...(told.plugin !== undefined && { plugin: told.plugin }),
      verdict,
      fate,
      ...(outcome.kind === 'defer' && outcome.unknown && { unknown: outcome.unknown }),
      ...(reason !== undefined && { reason }),
      ms: told.ms,
      recipient: recipient.to.raw,
      lane: told.lane,
      ...(outcome.via !== undefined && { via: outcome.via }),
    }
    if (fates.length <= listed) entries.push(entry)
    else {
      const key = `${verdict}\0${reason}\0${outcome.via}`
      folded ??= new Map()
      const same = folded.get(key)
      if (same === undefined) folded.set(key, { entry, count: 1 })
      else same.count++
    }
    observe(told.message, targetOf(recipient), outcome, told.generation)
  }
  if (folded !== undefined) {
    for (const { entry, count } of folded.values()) entries.push(count === 1 ? entry : { ...entry, count })
  }
  trace.append(block.id, entries)
  const first = fates[0]
  const fields = {
    id: block.id,
    lane: told.lane,
    ...counts,
    ms: told.ms,
    ...(first !== undefined &&
      first.fate !== 'delivered' && { reply: `${describe(first.outcome)} ${reasonFor(first.outcome) ?? ''}` }),
  }
  const byRule = fates.every(({ outcome: { kind } }) => kind === 'hold' || kind === 'discard')
  if (byRule) log.info(fields, counts.held ? 'held by a rule' : 'dropped by a rule')
  else if (counts.failed || counts.held || counts.dropped) log.warn(fields, 'delivery failed')
  else log.info(fields, counts.deferred ? 'delivery deferred' : 'delivered')
}

/** `delivered`, `defer 451 4.3.0`. */
export function describe(outcome: Outcome): string {
  const { kind } = outcome
  return kind === 'defer' || kind === 'reject' ? `${kind} ${outcome.code} ${outcome.enhanced}` : kind
}

function reasonFor(outcome: Outcome): string | undefined {
  const remote =
    outcome.remote === undefined
      ? undefined
      : `${outcome.remote.host} said: ${outcome.remote.code} ${outcome.remote.lines.join(' ')}`
  if (outcome.kind === 'discard' || outcome.kind === 'hold') return outcome.reason
  if (outcome.kind === 'defer' || outcome.kind === 'reject') return remote ?? outcome.reason ?? outcome.text
  return remote ?? `by ${outcome.by}`
}
