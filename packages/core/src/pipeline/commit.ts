// The last steps: edits applied per variant, sealed, offered to other custody, and committed to the durable queue. The
// reply is made only after the bytes are on stable storage (invariant 1).
import type { Reply } from '@posthorn/mail'
import { foldField, formatReceived, receivedClauses, receivedProtocol } from '@posthorn/mail'
import { isPending } from '../awaitable.ts'
import type { Queued } from '../delivery.ts'
import type { Id } from '../envelope.ts'
import { asVerdict, forRecipient, type Objection } from '../hooks/merge.ts'
import { runFirst, runSequence } from '../hooks/run.ts'
import { applyEdits, changes, groupByEdits, inPluginOrder } from '../message/edits.ts'
import { storedMessage } from '../message/stored.ts'
import { deliveryTarget } from '../message/target.ts'
import type { Accepted, AcceptedTarget, AcceptedVariant } from '../queue/contract.ts'
import type { Origin } from '../session.ts'
import { maxStateSize, stateSize } from '../state.ts'
import { StorageError } from '../storage/contract.ts'
import type { Defer, PassedOn, Reject, Verdict } from '../verdict.ts'
import { type Deadline, mixedAnswer, type Objections } from './dot.ts'
import type { RecipientRecord, TargetRecord } from './envelope.ts'
import { passedOnReply, replies, storageReply, verdictReply } from './replies.ts'
import { propagated } from './resolve.ts'
import type { SessionCore } from './session.ts'
import { expansions, handedOver, isReportOfSuccess } from './success.ts'
import type { TransactionCore } from './transaction.ts'

/** Why a target is not committed, or committed as refused. */
type Dropped = 'drop' | Defer | Reject | undefined
const nobody: ReadonlySet<string> = new Set()
const nothingRefused: ReadonlyMap<Id, Dropped> = new Map()

export async function commitVariants(
  session: SessionCore,
  tx: TransactionCore,
  objections: Objections,
  deadline: Deadline,
): Promise<Reply | readonly Reply[]> {
  const { clock } = session.parts
  const stop = async (reply: Reply, by: string) => {
    await tx.spool.discard()
    session.ended(tx, reply, by)
    return session.eachAccepted(tx, reply)
  }
  const refused = settleMixed(session, tx, objections)
  if (stateSize(statesOf(tx)) > maxStateSize) return stop(replies.tooMuchState, 'core')

  const received = clock.now()
  const kept: AcceptedTarget[] = []
  for (const recipient of tx.envelope.recipients) {
    for (const target of recipient.targets) {
      const answer = refused.get(target.id)
      if (answer !== 'drop') kept.push(acceptedTarget(recipient, target, answer))
    }
  }
  let variants = makeVariants(session, tx, kept, received)
  const sealed = session.generation.plan.stages.seal
  if (sealed.waves.length > 0 || sealed.effects.length > 0) {
    for (let i = 0; i < variants.length; i++) {
      const result = await seal(session, tx, variants[i] as AcceptedVariant, received, deadline)
      if (deadline.late) return stop(replies.late, 'core')
      if ('verdict' in result) return stop(verdictReply(result.verdict, tx.id), result.by)
      variants = variants.with(i, result)
    }
  }
  const custody = session.generation.plan.stages.queue
  let passed: Reply | undefined
  let refusedBehind: ReadonlySet<string> = nobody
  if (custody.waves.length > 0 || custody.effects.length > 0) {
    const offered = await offer(session, tx, variants, received, deadline, objections)
    if (deadline.late) return stop(replies.late, 'core')
    passed = offered.reply
    refusedBehind = offered.refused
    variants = offered.variants
    const all = tx.envelope.recipients.every(r => r.targets.length > 0 && forRecipient(r, objections) !== undefined)
    if (all && passed === undefined && session.origin.protocol !== 'lmtp') {
      const worst = forRecipient(tx.envelope.recipients[0] as RecipientRecord, objections) as Objection
      return stop(verdictReply(worst.verdict, tx.id), worst.by)
    }
  }
  if (session.origin.protocol === 'lmtp') variants = withoutRefused(variants)
  const expanded = expansions(tx, id => refused.has(id) || refusedBehind.has(id))
  if (expanded.length > 0) variants = [...variants, ...makeVariants(session, tx, expanded, received)]
  if (variants.length === 0) {
    // Nothing for the queue: all of it dropped, refused in LMTP, or in another system's hands.
    await tx.spool.discard()
    return finish(session, tx, objections, passed ?? replies.discarded(tx.id))
  }
  deadline.committing = true
  try {
    const staged = await tx.spool.stage()
    const content = contentOf(session, tx)
    const body = content === undefined ? staged : { ...staged, content }
    const message: Accepted = {
      id: tx.id,
      received,
      params: tx.envelope.params,
      origin: session.origin,
      state: tx.state.toJSON(),
      variants,
      body,
      ...(session.submission?.cause === undefined ? {} : { cause: session.submission.cause }),
    }
    const ops = session.submission?.with
    await session.parts.queue.commit(message, ops === undefined ? {} : { with: ops })
  } catch (error) {
    const fault = error instanceof StorageError ? error : new StorageError('failed', String(error), error)
    if (passed !== undefined && variants.every(v => v.targets.every(isReportOfSuccess))) {
      // The mail is in other hands: a refusal would only bring it there once more.
      session.parts.log.error({ id: tx.id, err: error }, 'a report of success is lost: it was not committed')
      await tx.spool.discard()
      return finish(session, tx, objections, passed)
    }
    session.parts.log.error({ id: tx.id, err: error }, 'message not committed')
    return stop(storageReply(fault), 'storage')
  }
  return finish(session, tx, objections, passed ?? replies.queued(tx.id))
}

/** What the front has seen to: it lets bare CR, bare LF and NUL through in BINARYMIME only. What comes in by the other door was not looked at. */
function contentOf({ origin }: SessionCore, { envelope, spool }: TransactionCore) {
  const looked = (origin.protocol === 'smtp' || origin.protocol === 'lmtp') && envelope.params.body !== 'binarymime'
  return looked ? spool.content : undefined
}

function* statesOf(tx: TransactionCore) {
  yield tx.state
  for (const { state } of tx.envelope.targets) yield state
}

/** Ends the transaction with a yes, or in LMTP with each recipient's own answer. */
function finish(
  session: SessionCore,
  tx: TransactionCore,
  objections: Objections,
  yes: Reply,
): Reply | readonly Reply[] {
  session.ended(tx, yes)
  if (session.origin.protocol !== 'lmtp') return yes
  return tx.envelope.accepted.map(recipient => {
    const own = recipient.targets.length === 0 ? undefined : forRecipient(recipient, objections)
    return own === undefined ? yes : verdictReply(own.verdict, tx.id)
  })
}

/** What becomes of each target that somebody objected to, while the message goes on for others. */
function settleMixed(session: SessionCore, tx: TransactionCore, objections: Objections): ReadonlyMap<Id, Dropped> {
  if (objections.size === 0) return nothingRefused
  const refused = new Map<Id, Dropped>()
  for (const recipient of tx.envelope.recipients) {
    // In LMTP a refused recipient hears so itself.
    const own = session.origin.protocol === 'lmtp' ? forRecipient(recipient, objections) : undefined
    for (const target of recipient.targets) {
      const objection = objections.get(target.id)
      if (objection === undefined) continue
      const answer = own === undefined ? mixedAnswer(session, tx, target, objection) : 'drop'
      if (answer !== 'junk') refused.set(target.id, answer)
      else {
        const { verdict, by } = objection
        const reason =
          'reason' in verdict && verdict.reason !== undefined ? verdict.reason : 'text' in verdict ? verdict.text : by
        tx.edits.push({ plugin: by, rank: 0, targets: new Set([target.id]), change: changes.junk(reason) })
      }
    }
  }
  return refused
}

function acceptedTarget(recipient: RecipientRecord, target: TargetRecord, refused: Dropped): AcceptedTarget {
  return {
    id: target.id,
    address: target.address,
    state: target.state.toJSON(),
    ...propagated(recipient.params, recipient.targets.length, target.listFrom !== undefined),
    // Reports of a list go to its owner, who has to know whom to strike out.
    ...(target.forwardedBy === undefined ? {} : { original: target.listMember ?? recipient.address }),
    ...(refused === undefined || refused === 'drop' ? {} : { ended: refused }),
  }
}

function makeVariants(
  session: SessionCore,
  tx: TransactionCore,
  targets: readonly AcceptedTarget[],
  received: number,
): readonly AcceptedVariant[] {
  if (targets.length === 0) return []
  const trace = receivedField(session, tx, received)
  return groupByEdits(inPluginOrder(tx.edits), targets).map(group => {
    const { head, ...rest } = applyEdits(group.edits, tx.spool.header, tx.envelope.from, trace)
    return { ...rest, head: Buffer.from(head), targets: group.targets }
  })
}

/** RFC 5321 §4.4. `for` names a recipient only where there is one: more would tell Bcc. */
function receivedField({ origin }: SessionCore, tx: TransactionCore, received: number): string {
  const [only, second] = tx.envelope.recipients
  const { facts, clauses } = receivedBy(origin, tx.envelope.params.smtputf8)
  const alone = only === undefined || second !== undefined ? {} : { for: only.address }
  return formatReceived({ ...facts, id: tx.id, ...alone, date: received }, clauses)
}

interface ReceivedBy {
  readonly smtputf8: boolean
  readonly facts: Parameters<typeof receivedClauses>[0]
  readonly clauses: string
}

// A session's messages share one Origin, and most say the same of SMTPUTF8.
const receivedByOrigin = new WeakMap<Origin, ReceivedBy>()

function receivedBy(origin: Origin, smtputf8: boolean): ReceivedBy {
  const known = receivedByOrigin.get(origin)
  if (known?.smtputf8 === smtputf8) return known
  const { helo, client, tls, auth, local } = origin
  const greeting = { verb: helo?.verb ?? 'EHLO', tls: tls !== undefined, auth: auth !== undefined, smtputf8 } as const
  const facts = {
    ...(helo === undefined ? {} : { helo: helo.name, protocol: receivedProtocol(greeting) }),
    ...(client === undefined ? {} : { ip: client.ip }),
    ...(client?.name === undefined ? {} : { name: client.name }),
    by: local.hostname,
    ...(tls === undefined ? {} : { tls }),
  }
  const made = { smtputf8, facts, clauses: receivedClauses(facts) }
  receivedByOrigin.set(origin, made)
  return made
}

function view(session: SessionCore, tx: TransactionCore, variant: AcceptedVariant, received: number): Queued {
  const { spool } = tx
  const { bytes } = spool
  const content = contentOf(session, tx)
  return storedMessage(
    {
      id: tx.id,
      from: variant.from,
      params: tx.envelope.params,
      origin: session.origin,
      received,
      state: tx.state.toJSON(),
      head: variant.head,
      skip: variant.skip,
      bodySize: spool.size,
      ...(content === undefined ? {} : { content }),
      ...(variant.junk === undefined ? {} : { junk: variant.junk }),
    },
    { header: spool.headerBytes, open: range => spool.open(range), ...(bytes === undefined ? {} : { bytes }) },
  )
}

/** The seal hooks of one variant, one after another; each sees what the one before added. */
async function seal(
  session: SessionCore,
  tx: TransactionCore,
  variant: AcceptedVariant,
  received: number,
  deadline: Deadline,
): Promise<AcceptedVariant | { readonly verdict: Verdict; readonly by: string }> {
  let current = variant
  const to = variant.targets.map(deliveryTarget)
  const scene = session.scene(tx.trace, tx, (unit, call) =>
    unit.entry.handler(view(session, tx, current, received), to, call),
  )
  const told = scene.settled.bind(scene)
  scene.settled = settled => {
    if (settled.fault === undefined && Array.isArray(settled.value)) {
      const fields = settled.value as readonly (readonly [string, string])[]
      const block = fields
        .map(([name, value]) => foldField(name, value, { utf8: tx.envelope.params.smtputf8 }))
        .join('')
      current = { ...current, head: Buffer.concat([Buffer.from(block), current.head]) }
    }
    told(settled)
  }
  const outcome = runSequence(session.generation.plan.stages.seal, scene, {
    runtime: session.parts.runtime,
    stage: 'seal',
    deadline: deadline.at,
  })
  const { verdict, by = '' } = isPending(outcome) ? await outcome : outcome
  return verdict === undefined ? current : { verdict, by }
}

/** Offers each variant to other custody. What somebody took leaves the variant; what somebody refused is objected to. */
async function offer(
  session: SessionCore,
  tx: TransactionCore,
  variants: readonly AcceptedVariant[],
  received: number,
  deadline: Deadline,
  objections: Objections,
): Promise<{
  readonly variants: readonly AcceptedVariant[]
  readonly reply: Reply | undefined
  readonly refused: ReadonlySet<string>
}> {
  let reply: Reply | undefined
  const refused = new Set<string>()
  const left: AcceptedVariant[] = []
  for (const variant of variants) {
    const message = view(session, tx, variant, received)
    const to = variant.targets.map(deliveryTarget)
    const scene = session.scene(tx.trace, tx, (unit, call) => unit.entry.handler(message, to, call))
    const outcome = runFirst(session.generation.plan.stages.queue, scene, {
      runtime: session.parts.runtime,
      stage: 'queue',
      deadline: deadline.at,
    })
    const { value, verdict, by = '' } = isPending(outcome) ? await outcome : outcome
    if (value === undefined && verdict === undefined) {
      left.push(variant)
      continue
    }
    const said = verdict ?? (value as PassedOn | ReadonlyMap<Id, Verdict | PassedOn>)
    const targets: AcceptedTarget[] = []
    for (const target of variant.targets) {
      const own =
        said instanceof Map
          ? (said.get(target.id as Id) as Verdict | PassedOn | undefined)
          : (said as Verdict | PassedOn)
      if (own === undefined) targets.push(target)
      else if (own.kind === 'passed-on' && own.reply.code < 400) {
        reply ??= passedOnReply(own)
        const ended = handedOver(own, by, variant.from, target)
        if (ended !== undefined) targets.push({ ...target, ended })
      } else {
        const refusal = own.kind === 'passed-on' ? asVerdict(own) : own
        objections.set(target.id as Id, { verdict: refusal, by })
        refused.add(target.id)
        // If others are taken the client hears a yes, so the queue has to report this one.
        if (refusal.kind !== 'discard') targets.push({ ...target, ended: refusal })
      }
    }
    if (targets.length > 0) left.push({ ...variant, targets })
  }
  return { variants: left, reply, refused }
}

/** In LMTP what is refused was said so; nothing of it is queued. */
function withoutRefused(variants: readonly AcceptedVariant[]): readonly AcceptedVariant[] {
  return variants
    .map(v => ({ ...v, targets: v.targets.filter(t => t.ended === undefined || isReportOfSuccess(t)) }))
    .filter(v => v.targets.length > 0)
}
