// `mixed: split`: recipients whose policy differs come in transactions of their own, so that one reply fits all.
import { recipientState, type StateKey } from '../state.ts'
import type { RecipientRecord } from './envelope.ts'
import type { TransactionCore } from './transaction.ts'

/** Set by plugins in `rcpt`: targets of unlike class do not share a transaction where the operator says `mixed: split`. */
export const policyClass: StateKey<'recipient', string> = recipientState('core/policy-class')

/** Whether this recipient's class is unlike that of the first one accepted. */
export function differsInPolicy(tx: TransactionCore, recipient: RecipientRecord): boolean {
  const first = tx.envelope.recipients[0]
  return first !== undefined && classOf(first) !== classOf(recipient)
}

const classOf = (recipient: RecipientRecord) =>
  recipient.targets.map(t => t.state.get(policyClass.name) ?? '').join('\0')
