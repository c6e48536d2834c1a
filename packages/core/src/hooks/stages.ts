// One line per stage: its kind, how long a hook may take, and what a fault in it becomes (invariant 3).
import type { StageName } from '../plugin.ts'
import type { Role } from '../session.ts'
import type { Defer } from '../verdict.ts'

/**
 * gate: all vote, objections merge. first: asked one after another until one answers. sequence: one after another, all
 * of them. observer: told, cannot object.
 */
export type StageKind = 'gate' | 'first' | 'sequence' | 'observer'

export interface StageInfo {
  readonly kind: StageKind
  /** Milliseconds for one call, where neither plugin nor operator says otherwise. */
  readonly timeout: number
  /** What the client gets for a fault. Observers have none: theirs are only logged. */
  readonly failure?: Defer
}

const failure = (code: 421 | 451 | 454, enhanced: Defer['enhanced'], text: string): Defer =>
  Object.freeze({ kind: 'defer', code, enhanced, text })

// RFC 5321 §4.3.2: a greeting is 220 or 554; only 421 may stand in for any reply.
const unavailable = failure(421, '4.3.2', 'Service not available, try again later')
// RFC 4954 §6: 454 4.7.0 temporary authentication failure.
const authFailure = failure(454, '4.7.0', 'Temporary authentication failure')
const localError = failure(451, '4.3.0', 'Local error in processing, try again later')

// Clients wait 5 minutes for MAIL and RCPT, 2 for 354 and 10 at the dot (RFC 5321 §4.5.3.2): several waves must fit.
export const stages: Readonly<Record<StageName, StageInfo>> = {
  connect: { kind: 'gate', timeout: 30_000, failure: unavailable },
  helo: { kind: 'gate', timeout: 30_000, failure: localError },
  auth: { kind: 'first', timeout: 30_000, failure: authFailure },
  mail: { kind: 'gate', timeout: 30_000, failure: localError },
  resolve: { kind: 'first', timeout: 30_000, failure: localError },
  rcpt: { kind: 'gate', timeout: 30_000, failure: localError },
  data: { kind: 'gate', timeout: 60_000, failure: localError },
  seal: { kind: 'sequence', timeout: 60_000, failure: localError },
  queue: { kind: 'first', timeout: 120_000, failure: localError },
  answered: { kind: 'observer', timeout: 30_000 },
  outcome: { kind: 'observer', timeout: 30_000 },
  closed: { kind: 'observer', timeout: 30_000 },
  ready: { kind: 'sequence', timeout: 60_000 },
  drain: { kind: 'observer', timeout: 30_000 },
}

export const stageNames = Object.keys(stages) as readonly StageName[]

/** Hooks of no session: `on` and `unless` do not concern them. */
export const lifecycle: ReadonlySet<StageName> = new Set<StageName>(['ready', 'drain'])

export const allRoles: readonly Role[] = ['mx', 'submission', 'lmtp', 'access', 'internal']

/** Mail that we make ourselves passes a hook only where it says so. */
export const defaultRoles: readonly Role[] = ['mx', 'submission', 'lmtp', 'access']
