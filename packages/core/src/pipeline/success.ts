// What a sender who asked to hear of success (NOTIFY=SUCCESS) is told at the dot, because nobody later could: that
// another system took the message and makes no reports, or that a recipient was several, or a list.
import type { Mailbox } from '@posthorn/mail'
import type { Id } from '../envelope.ts'
import type { AcceptedTarget, Ended } from '../queue/contract.ts'
import { wantsReport } from '../queue/outcome.ts'
import type { PassedOn } from '../verdict.ts'
import type { TransactionCore } from './transaction.ts'

/** How a target ended that another system said yes to, where we are to report it (RFC 3461 §5.2.2 b). */
export function handedOver(
  { reply, noReport, final }: PassedOn,
  by: string,
  from: Mailbox | null,
  { notify }: AcceptedTarget,
): Ended | undefined {
  const kind = final ? 'delivered' : 'relayed'
  if (noReport || !wantsReport(from, notify, kind)) return undefined
  return { kind, by, remote: reply }
}

/**
 * The recipients themselves that stand for several (RFC 3461 §5.2.7.3 c) or are a list (§5.2.7.1), to be committed
 * beside their targets, which carry no SUCCESS. `gone`: whether a target was refused or dropped; of those nobody is
 * told that they were reached.
 */
export function expansions(
  { envelope: { from, recipients } }: TransactionCore,
  gone: (id: Id) => boolean,
): AcceptedTarget[] {
  const found: AcceptedTarget[] = []
  if (from === null) return found
  for (const { id, address, params, targets } of recipients) {
    const { notify, orcpt } = params
    if (!notify?.includes('success')) continue
    // Delivered to the list is delivered: what becomes of it there is between the list and its members.
    const list = targets.length > 0 && targets.every(({ listFrom }) => listFrom !== undefined)
    if ((targets.length < 2 && !list) || targets.every(target => gone(target.id))) continue
    found.push({
      id,
      address,
      notify,
      ...(orcpt === undefined ? {} : { orcpt }),
      state: {},
      ended: { kind: list ? 'delivered' : 'expanded', by: 'core' },
    })
  }
  return found
}

/** Whether nothing but a report comes of the target. */
export const isReportOfSuccess = ({ ended }: AcceptedTarget): boolean => ended !== undefined && 'by' in ended
