// At the dot: the taps' ends vote, for all or for each target; what they said becomes one reply, or in LMTP one for each.
import type { Mailbox, Reply } from '@posthorn/mail'
import { addressKey, formatAddress } from '@posthorn/mail'
import { isPending } from '../awaitable.ts'
import type { Id } from '../envelope.ts'
import type { Fault, HookEntry, StagePlan } from '../hooks/contract.ts'
import { forRecipient, mergeEnds, type Objection, strength } from '../hooks/merge.ts'
import { runGate } from '../hooks/run.ts'
import { changes } from '../message/edits.ts'
import type { Awaitable, Message, Tap } from '../transaction.ts'
import { type Defer, type Reject, reject } from '../verdict.ts'
import type { OpenTap } from './body.ts'
import { commitVariants } from './commit.ts'
import type { TargetRecord } from './envelope.ts'
import { describeVerdict, refusalReply, replies, verdictReply } from './replies.ts'
import { withMessage } from './scene.ts'
import type { SessionCore } from './session.ts'
import type { TransactionCore } from './transaction.ts'

/** RFC 5321 §6.3: a hundred Received fields are a loop. */
const maxHops = 100

/** What was said against each target; absent: nothing. */
export type Objections = Map<Id, Objection>

/** A message's last steps share one deadline: past it the client gets 451, and nothing is committed. */
export class Deadline {
  /** By the monotonic clock. */
  readonly at: number
  late = false
  committing = false
  constructor(at: number) {
    this.at = at
  }
}

/** The reply at the dot: one, or in LMTP one for each accepted RCPT. */
export function answerDot(
  session: SessionCore,
  tx: TransactionCore,
  taps: readonly OpenTap[],
): Awaitable<Reply | readonly Reply[]> {
  const { runtime } = session.parts
  const ms = session.generation.config.body.deadline
  const now = runtime.clock.monotonic()
  const deadline = new Deadline(now + ms)
  const work = judge(session, tx, taps, deadline)
  return new Promise(resolve => {
    const timer = runtime.timers.start(ms, giveUp, { session, tx, deadline, resolve }, now)
    work.then(
      reply => {
        runtime.timers.stop(timer)
        resolve(reply)
      },
      error => {
        runtime.timers.stop(timer)
        session.parts.log.error({ id: tx.id, err: error }, 'fault at the dot')
        session.parts.background(tx.spool.discard(), 'discarding a spool')
        session.ended(tx, replies.fault, 'core')
        resolve(session.eachAccepted(tx, replies.fault))
      },
    )
  })
}

/** Its time is up. Once the commit is under way only its end can be told, or the client would send a second copy. */
function giveUp(dot: {
  readonly session: SessionCore
  readonly tx: TransactionCore
  readonly deadline: Deadline
  readonly resolve: (reply: Reply | readonly Reply[]) => void
}): void {
  if (dot.deadline.committing) return
  dot.deadline.late = true
  dot.resolve(dot.session.eachAccepted(dot.tx, replies.late))
}

async function judge(
  session: SessionCore,
  tx: TransactionCore,
  taps: readonly OpenTap[],
  deadline: Deadline,
): Promise<Reply | readonly Reply[]> {
  const refuse = async (reply: Reply, by: string) => {
    await tx.spool.discard()
    session.ended(tx, reply, by)
    return session.eachAccepted(tx, reply)
  }
  if (tx.header('Received').length > maxHops) return refuse(replies.loop, 'core')
  const objections: Objections = new Map()
  if (taps.length > 0) {
    const targets = tx.envelope.targets.map(t => t.id)
    const outcome = runTaps(session, tx, taps, targets, deadline)
    const { verdict, by = '', settled } = isPending(outcome) ? await outcome : outcome
    if (deadline.late) return refuse(replies.late, 'core')
    if (verdict?.kind === 'discard') return refuse(replies.discarded(tx.id), by)
    if (verdict !== undefined) return refuse(refusalReply(verdict), by)
    for (const [id, objection] of mergeEnds(settled, targets)) objections.set(id, objection)
  }
  followForwards(tx, objections)
  const refusal = decide(session, tx, objections)
  if (refusal !== undefined) return refuse(verdictReply(refusal.verdict, tx.id), refusal.by)
  return commitVariants(session, tx, objections, deadline)
}

/** The taps' ends run in the order of their `data` hooks. A tap that failed while reading fails here. */
function runTaps(
  session: SessionCore,
  tx: TransactionCore,
  taps: readonly OpenTap[],
  targets: readonly Id[],
  deadline: Deadline,
) {
  const byEntry = new Map(taps.map(t => [t.entry, t]))
  const ends = (waves: readonly (readonly HookEntry[])[]) =>
    waves
      .map(wave =>
        wave.flatMap(entry => {
          const open = byEntry.get(entry)
          return open === undefined ? [] : [endEntry(entry, open)]
        }),
      )
      .filter(wave => wave.length > 0)
  const data = session.generation.plan.stages.data
  const plan: StagePlan = { waves: ends(data.waves), effects: ends(data.effects) }
  const scene = session.scene(tx.trace, tx, withMessage)
  return runGate(plan, scene, {
    runtime: session.parts.runtime,
    stage: 'end',
    targets,
    deadline: deadline.at,
  })
}

function endEntry(entry: HookEntry, { tap, fault }: { tap: Tap; fault?: Fault }): HookEntry {
  // `unless` was judged at DATA: a tap that is open is heard.
  const { unless: _, ...rest } = entry
  return {
    ...rest,
    handler: (message: Message) => {
      if (fault !== undefined) throw fault.error
      return tap.end(message)
    },
  }
}

/**
 * Targets that `resolve` forwarded get our Delivered-To; one that is there already closes a loop. A list has its own
 * reverse-path (RFC 5321 §3.9.2).
 */
function followForwards(tx: TransactionCore, objections: Objections): void {
  let visited: Set<string> | undefined
  // One edit for all that it is for: targets with the same edits share a variant.
  let groups: Map<string, { by: string; listFrom: Mailbox | undefined; targets: Set<Id> }> | undefined
  for (const { id, forwardedBy, listFrom } of tx.envelope.targets) {
    if (forwardedBy === undefined) continue
    visited ??= new Set(tx.header('Delivered-To').map(value => value.trim().toLowerCase()))
    const by = formatAddress(forwardedBy, { utf8: tx.envelope.params.smtputf8 })
    if (visited.has(by.toLowerCase())) {
      objections.set(id, { verdict: reject(550, '5.4.6', 'Forwarding loop detected'), by: 'core' })
      continue
    }
    const key = JSON.stringify([by, listFrom === undefined ? null : addressKey(listFrom)])
    groups ??= new Map()
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { by, listFrom, targets: new Set([id]) })
    else group.targets.add(id)
  }
  if (groups === undefined) return
  for (const { by, listFrom, targets } of groups.values()) {
    const core = { plugin: 'core', targets }
    tx.edits.push({ ...core, rank: -1, change: changes.prepend('Delivered-To', by, tx.envelope.params) })
    // The last word: what a plugin made of the sender (SRS) is for forwards.
    if (listFrom !== undefined) {
      tx.edits.push({ ...core, rank: Number.MAX_SAFE_INTEGER, change: changes.from(listFrom) })
    }
  }
}

/** What an SMTP client is told instead of a yes: every recipient is refused, or dropped, by what was said. */
function decide(session: SessionCore, tx: TransactionCore, objections: Objections): Objection | undefined {
  if (objections.size === 0 || session.origin.protocol === 'lmtp') return undefined
  let worst: Objection | undefined
  for (const recipient of tx.envelope.recipients) {
    const own = forRecipient(recipient, objections)
    if (own === undefined) return undefined
    if (worst === undefined || strength(own.verdict) > strength(worst.verdict)) worst = own
  }
  return worst
}

/**
 * One reply for different answers: what the operator's `mixed` makes of a refused target whose fellows go on. `junk`
 * marks it, `discard` drops it, `bounce` lets the queue report it. `split` has parted unlike recipients at RCPT already;
 * what differs all the same goes to Junk.
 */
export function mixedAnswer(
  session: SessionCore,
  tx: TransactionCore,
  target: TargetRecord,
  objection: Objection,
): 'drop' | 'junk' | Defer | Reject {
  const { verdict, by } = objection
  const { mixed } = session.generation.config
  const policy = verdict.kind === 'discard' ? 'discard' : mixed === 'split' ? 'junk' : mixed
  tx.trace.add({
    at: session.parts.clock.now(),
    stage: 'mixed',
    plugin: by,
    verdict: policy,
    reason: describeVerdict(verdict),
    recipient: target.address.raw,
  })
  if (policy === 'discard' || verdict.kind === 'discard') return 'drop'
  return policy === 'junk' ? 'junk' : verdict
}
