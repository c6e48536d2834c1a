// Merging answers, as pure functions: reject > defer > discard, ties by config order, whatever came first. What an
// operator overrode (`objection: junk | ignore`) and what is no objection is not seen here.
import type { Id } from '../envelope.ts'
import type { Defer, PassedOn, Reject, Verdict } from '../verdict.ts'
import { deferCodes, deferEnhanced, isPassedOn, isVerdict, rejectCodes, rejectEnhanced } from './answers.ts'
import type { Settled } from './contract.ts'
import { stages } from './stages.ts'

const strengths = { reject: 3, defer: 2, discard: 1 }

/** 0 for silence and acceptance. */
export function strength(value: unknown): number {
  if (isVerdict(value)) return strengths[value.kind]
  if (!isPassedOn(value)) return 0
  return value.reply.code >= 500 ? strengths.reject : value.reply.code >= 400 ? strengths.defer : 0
}

/** What a settled call holds against it all: a verdict for everybody, the failure of its stage, or nothing. */
export function objectionOf(settled: Settled): Verdict | PassedOn | undefined {
  if (settled.overridden !== undefined) return undefined
  if (settled.fault !== undefined) {
    const { entry } = settled
    return entry.onError === 'ignore' ? undefined : (stages[entry.stage].failure ?? undefined)
  }
  return strength(settled.value) > 0 ? (settled.value as Verdict | PassedOn) : undefined
}

export interface Merged {
  readonly verdict?: Verdict
  readonly by?: string
  readonly accepted?: true
  readonly passedOn?: PassedOn
}

/** The answer of a gate: the strongest objection; without one, for `rcpt`, whether somebody accepted. */
export function mergeGate(all: readonly Settled[]): Merged {
  let best: Settled | undefined
  let objection: Verdict | PassedOn | undefined
  let weight = 0
  let accepted: Settled | undefined
  for (const settled of all) {
    const value = objectionOf(settled)
    if (value !== undefined) {
      const own = strength(value)
      if (own > weight || (own === weight && settled.entry.rank < (best as Settled).entry.rank)) {
        best = settled
        objection = value
        weight = own
      }
    } else if (accepts(settled) && (accepted === undefined || goesBefore(settled, accepted))) {
      accepted = settled
    }
  }
  if (best !== undefined && objection !== undefined) {
    const by = best.entry.plugin
    if (objection.kind !== 'passed-on') return { verdict: objection, by }
    return { verdict: asVerdict(objection), by, passedOn: objection }
  }
  if (accepted === undefined) return {}
  const by = accepted.entry.plugin
  return isPassedOn(accepted.value) ? { by, accepted: true, passedOn: accepted.value } : { by, accepted: true }
}

const accepts = (settled: Settled): boolean =>
  settled.fault === undefined &&
  settled.overridden === undefined &&
  (settled.value === 'accept' || (isPassedOn(settled.value) && strength(settled.value) === 0))

/** A back end's own 250 is worth more than a claim: the client should read it. */
function goesBefore(a: Settled, b: Settled): boolean {
  const [own, other] = [isPassedOn(a.value), isPassedOn(b.value)]
  return own === other ? a.entry.rank < b.entry.rank : own
}

/**
 * A verdict that stands for a back end's refusal: its class and code where we know it, its text as one line of at most
 * 400 characters, since what a peer writes must not break our own dialogue (RFC 5321 §4.5.3.1.5).
 */
export function asVerdict(passed: PassedOn): Defer | Reject {
  const { code, enhanced, lines } = passed.reply
  const text =
    lines
      .join(' ')
      .replace(/\p{Cc}+/gu, ' ')
      .trim()
      .slice(0, 400) || 'Refused'
  if (code >= 500) {
    return {
      kind: 'reject',
      code: (rejectCodes.has(code) ? code : 550) as Reject['code'],
      enhanced: (rejectEnhanced.test(enhanced ?? '') ? enhanced : '5.0.0') as Reject['enhanced'],
      text,
    }
  }
  return {
    kind: 'defer',
    code: (deferCodes.has(code) ? code : 451) as Defer['code'],
    enhanced: (deferEnhanced.test(enhanced ?? '') ? enhanced : '4.0.0') as Defer['enhanced'],
    text,
  }
}

/** An objection, and which plugin made it. */
export interface Objection {
  readonly verdict: Verdict
  readonly by: string
}

/** The strongest objection for each target, from the taps' ends: answers for all and answers for each. */
export function mergeEnds(all: readonly Settled[], targets: readonly string[]): ReadonlyMap<Id, Objection> {
  const best = new Map<Id, { verdict: Verdict; by: string; rank: number }>()
  const weigh = (id: Id, verdict: Verdict, settled: Settled) => {
    const held = best.get(id)
    const { rank, plugin } = settled.entry
    const [own, other] = [strength(verdict), held === undefined ? 0 : strength(held.verdict)]
    if (own > other || (held !== undefined && own === other && rank < held.rank)) {
      best.set(id, { verdict, by: plugin, rank })
    }
  }
  for (const settled of all) {
    const whole = objectionOf(settled)
    if (whole !== undefined) {
      const verdict = whole.kind === 'passed-on' ? asVerdict(whole) : whole
      for (const id of targets) weigh(id as Id, verdict, settled)
    } else if (settled.value instanceof Map && settled.overridden === undefined) {
      const each = settled.value as ReadonlyMap<Id, unknown>
      for (const id of targets) {
        const verdict = each.get(id as Id)
        if (isVerdict(verdict)) weigh(id as Id, verdict, settled)
      }
    }
  }
  return best
}

/**
 * Of verdicts for targets, the one for a recipient: refused only when all its targets are, then by the strongest, ties
 * by the order of targets.
 */
export function forRecipient(
  recipient: { readonly targets: readonly { readonly id: Id }[] },
  verdicts: ReadonlyMap<Id, Objection>,
): Objection | undefined {
  let best: Objection | undefined
  for (const target of recipient.targets) {
    const own = verdicts.get(target.id)
    if (own === undefined) return undefined
    if (best === undefined || strength(own.verdict) > strength(best.verdict)) best = own
  }
  return best
}
