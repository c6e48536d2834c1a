// What outcomes make of a block: recipients that are done leave it, others wait, fail into a report, or are held.
// Pure: time and chance come from outside.
import type { Mailbox, Notify } from '@posthorn/mail'
import type { Outcome } from '../delivery.ts'
import { type Part, partition } from './partition.ts'
import { type Action, type Attempt, type Block, keptAttempts, type RecipientRecord } from './records.ts'
import { nextTry, type Policy } from './retry.ts'

export interface SettleContext {
  readonly now: number
  /** The variant's reverse-path. */
  readonly from: Mailbox | null
  readonly policy: Policy
  /** Milliseconds that failures may wait for others of their message. */
  readonly gather: number
  readonly random: () => number
}

/** How it went for one recipient, for log and trace. `dropped`: failed, and nobody wants to hear of it; or by a rule. */
export type Fate = 'delivered' | 'deferred' | 'failed' | 'held' | 'dropped'

type Delivered = Extract<Outcome, { kind: 'delivered' | 'relayed' | 'expanded' }>

export const isDelivered = (outcome: Outcome): outcome is Delivered =>
  outcome.kind === 'delivered' || outcome.kind === 'relayed' || outcome.kind === 'expanded'

export interface Settled {
  readonly next: readonly Block[]
  readonly fates: readonly { readonly recipient: RecipientRecord; readonly fate: Fate; readonly outcome: Outcome }[]
  /** An outcome that speaks for the whole lane. */
  readonly laneFailure: Extract<Outcome, { kind: 'defer' | 'reject' }> | undefined
}

export const expiresAt = (block: Pick<Block, 'received' | 'waited'>, policy: Policy): number =>
  block.received + block.waited + policy.expire

/** Whether the sender is to be told (RFC 3461 §4.1). Without NOTIFY: of failures and delays. */
export function wantsReport(
  from: Mailbox | null,
  notify: readonly Notify[] | undefined,
  of: Action | 'delayed',
): boolean {
  if (from === null) return false
  if (of === 'failed') return notify === undefined || notify.includes('failure')
  if (of === 'delayed') return notify === undefined || notify.includes('delay')
  return notify?.includes('success') === true
}

/** `tried`: the recipients that `send` was given; each of them has an outcome. */
export function settle(
  block: Block,
  tried: readonly RecipientRecord[],
  outcomes: ReadonlyMap<string, Outcome>,
  context: SettleContext,
): Settled {
  const { now, from, policy } = context
  const fates: { recipient: RecipientRecord; fate: Fate; outcome: Outcome }[] = []
  const report: RecipientRecord[] = []
  const held: RecipientRecord[] = []
  let later: Map<number, RecipientRecord[]> | undefined
  let byRule: Map<string, RecipientRecord[]> | undefined
  const atOnce: RecipientRecord[] = []
  const expires = expiresAt(block, policy)
  const normally = now + nextTry(policy, (tried[0]?.tries ?? 0) + 1, context.random())
  const progress = tried.some(r => outcomes.get(r.id)?.kind !== 'defer')
  let laneFailure: Settled['laneFailure']

  for (const before of tried) {
    const outcome = outcomes.get(before.id) as Outcome
    const recipient = withAttempt(before, attemptOf(outcome, block.lane, now))
    const { kind } = outcome
    if (kind === 'defer' || kind === 'reject') {
      if (outcome.scope === 'lane') laneFailure ??= outcome
      if (kind === 'defer' && now < expires) {
        fates.push({ recipient, fate: 'deferred', outcome })
        // RFC 5321 §4.5.3.1.10: what was too many for one transaction goes at once in the next.
        if (outcome.retryAfter === 0 && progress) atOnce.push(recipient)
        else {
          const due = outcome.retryAfter ? now + Math.ceil(outcome.retryAfter / 1000) * 1000 : normally
          later ??= new Map()
          addTo(later, Math.min(due, expires), recipient)
        }
        continue
      }
      const { dsnText } = outcome
      const failed: RecipientRecord = { ...recipient, action: 'failed', ...(dsnText !== undefined && { dsnText }) }
      let fate: Fate = 'dropped'
      if (outcome.noReport !== true) {
        if (from === null) {
          held.push(recipient)
          fate = 'held'
        } else if (wantsReport(from, recipient.notify, 'failed')) {
          report.push(failed)
          fate = 'failed'
        }
      }
      fates.push({ recipient: failed, fate, outcome })
      continue
    }
    if (outcome.kind === 'hold') {
      byRule ??= new Map()
      addTo(byRule, outcome.reason, recipient)
      fates.push({ recipient, fate: 'held', outcome })
      continue
    }
    if (outcome.kind === 'discard') {
      fates.push({ recipient, fate: 'dropped', outcome })
      continue
    }
    if (outcome.noReport !== true && wantsReport(from, recipient.notify, outcome.kind))
      report.push({ ...recipient, action: outcome.kind })
    fates.push({ recipient, fate: 'delivered', outcome })
  }

  const parts: Part[] = [{ recipients: [...without(block.recipients, tried), ...atOnce] }]
  if (later !== undefined) for (const [at, recipients] of later) parts.push({ recipients, at })
  if (report.length > 0) parts.push({ recipients: report, status: 'report', at: now + context.gather })
  if (held.length > 0) {
    const reason = 'undeliverable, and it has no sender to tell'
    parts.push({ recipients: held, status: 'held', at: now, bounce: true, reason })
  }
  if (byRule !== undefined) {
    for (const [reason, recipients] of byRule) parts.push({ recipients, status: 'held', at: now, reason })
  }
  return { next: partition(block, parts), fates, laneFailure }
}

function without(all: readonly RecipientRecord[], tried: readonly RecipientRecord[]): readonly RecipientRecord[] {
  // All of them is what nearly every message comes to.
  if (all === tried || (all.length === 1 && all[0] === tried[0])) return nobody
  const isTried = new Set(tried)
  return all.filter(recipient => !isTried.has(recipient))
}

const nobody: readonly RecipientRecord[] = Object.freeze([])

function addTo<K>(map: Map<K, RecipientRecord[]>, key: K, recipient: RecipientRecord): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [recipient])
  else list.push(recipient)
}

export function withAttempt(recipient: RecipientRecord, attempt: Attempt): RecipientRecord {
  const attempts = [...recipient.attempts.slice(1 - keptAttempts), attempt]
  return { ...recipient, tries: recipient.tries + 1, attempts }
}

export function attemptOf(outcome: Outcome, lane: string, at: number): Attempt {
  const { kind, remote } = outcome
  if (kind === 'defer' || kind === 'reject') {
    const { code, enhanced, text, scope } = outcome
    return { at, lane, kind, code, enhanced, text, scope, ...(remote && { remote }) }
  }
  if (kind === 'discard' || kind === 'hold') return { at, lane, kind, text: outcome.reason }
  return { at, lane, kind, by: outcome.by, ...(remote && { remote }) }
}
