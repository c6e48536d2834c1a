// The `resolve` stage: what a recipient address stands for. Applied to its own results until nobody answers, bounded
// in depth and number, a repeated address ending its branch.
import type { Mailbox, Notify, RcptParams, Reply } from '@posthorn/mail'
import { addressKey } from '@posthorn/mail'
import { newStateStore } from '../state.ts'
import type { Defer, Reject } from '../verdict.ts'
import type { TargetRecord } from './envelope.ts'
import { refusalReply, replies } from './replies.ts'
import type { TransactionCore } from './transaction.ts'

const maxDepth = 10
const maxTargets = 10_000

/** What the stage answered for one address. */
export type Resolution =
  | { readonly to: readonly Mailbox[]; readonly list?: { readonly from: Mailbox } }
  | Defer
  | Reject
  | undefined

/** The targets of a recipient, or the reply that refuses it. */
export type Resolved = { readonly targets: readonly TargetRecord[] } | { readonly refused: Reply }

/** `ask` runs the stage for one address. Synchronous where every answer is. */
export async function resolveRecipient(
  tx: TransactionCore,
  recipient: Mailbox,
  first: Resolution,
  ask: (address: Mailbox) => Resolution | Promise<Resolution>,
): Promise<Resolved> {
  const targets: TargetRecord[] = []
  const seen = new Set([addressKey(recipient)])
  type Step = {
    address: Mailbox
    depth: number
    by: Mailbox | undefined
    list: Mailbox | undefined
    member: Mailbox | undefined
    answer?: Resolution
  }
  const steps: Step[] = [
    { address: recipient, depth: 0, by: undefined, list: undefined, member: undefined, answer: first },
  ]
  for (let step = steps.shift(); step !== undefined; step = steps.shift()) {
    const answer = step.depth === 0 ? step.answer : await ask(step.address)
    if (answer !== undefined && 'kind' in answer) return { refused: refusalReply(answer) }
    if (answer === undefined) {
      targets.push(target(tx, step.address, step.by, step.list, step.member))
      continue
    }
    if (step.depth === maxDepth || targets.length + steps.length + answer.to.length > maxTargets) {
      return { refused: replies.aliasLoop }
    }
    const list = answer.list?.from ?? step.list
    for (const address of answer.to) {
      const member = answer.list === undefined ? step.member : address
      const key = addressKey(address)
      // An address that resolves to itself and others (a copy kept) is a target; met again, it ends the branch.
      if (key === addressKey(step.address)) targets.push(target(tx, address, step.by, list, member))
      else if (!seen.has(key)) {
        seen.add(key)
        steps.push({ address, depth: step.depth + 1, by: step.address, list, member })
      }
    }
  }
  return targets.length === 0 ? { refused: replies.aliasLoop } : { targets }
}

function target(
  tx: TransactionCore,
  address: Mailbox,
  forwardedBy: Mailbox | undefined,
  listFrom: Mailbox | undefined,
  listMember: Mailbox | undefined,
): TargetRecord {
  return {
    id: tx.envelope.nextId(),
    address,
    state: newStateStore(),
    ...(forwardedBy === undefined ? {} : { forwardedBy }),
    ...(listFrom === undefined ? {} : { listFrom }),
    ...(listMember === undefined ? {} : { listMember }),
  }
}

/** A recipient that nobody resolved is its own target. */
export function ownTarget(tx: TransactionCore, address: Mailbox): TargetRecord {
  return target(tx, address, undefined, undefined, undefined)
}

/**
 * The DSN parameters that a target of this recipient carries on. RFC 3461 §5.2.7.1: a list passes nothing on;
 * §5.2.7.2: one target, everything; §5.2.7.3: several, everything but SUCCESS, which the expansion itself answers.
 */
export function propagated(
  params: RcptParams,
  targets: number,
  list: boolean,
): { readonly notify?: readonly Notify[]; readonly orcpt?: string } {
  if (list) return {}
  const { notify, orcpt } = params
  const rest = orcpt === undefined ? {} : { orcpt }
  if (notify === undefined) return rest
  if (targets === 1) return { ...rest, notify }
  const kept = notify.filter(n => n !== 'success')
  return { ...rest, notify: kept.length > 0 ? kept : ['never'] }
}
