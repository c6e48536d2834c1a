// One mail transaction from MAIL FROM to the reply at the dot: its envelope, edits, state, trace and spool.
import type { Mailbox, MailParams } from '@posthorn/mail'
import { fieldValues } from '@posthorn/mail'
import { Aborter } from '../aborter.ts'
import type { Recipient } from '../envelope.ts'
import type { Facts } from '../hooks/contract.ts'
import type { Edit } from '../message/edits.ts'
import type { Spool } from '../message/spool.ts'
import type { Origin } from '../session.ts'
import { newStateStore, type StateStore } from '../state.ts'
import { Envelope } from './envelope.ts'
import { Trace } from './trace.ts'

export class TransactionCore {
  readonly id: string
  readonly envelope: Envelope
  readonly edits: Edit[] = []
  readonly state: StateStore = newStateStore()
  readonly aborter = new Aborter()
  readonly trace = new Trace()
  readonly spool: Spool
  /** Somebody said `discard`: 250 at the dot, and nothing is kept. */
  discarded: { readonly by: string; readonly reason: string } | undefined

  constructor(id: string, from: Mailbox | null, params: MailParams, spool: Spool) {
    this.id = id
    this.envelope = new Envelope(from, params)
    this.spool = spool
  }

  header(name: string): readonly string[] {
    return fieldValues(this.spool.header, name)
  }

  /** A recipient that a plugin adds is accepted as it is: no gate asked for it. */
  addRecipient(to: Mailbox, dsn: Pick<Recipient, 'notify' | 'orcpt'>): void {
    const target = { id: this.envelope.nextId(), address: to, state: newStateStore() }
    this.envelope.recipients.push({
      id: this.envelope.nextId(),
      address: to,
      params: { ...dsn, other: {} },
      targets: [target],
    })
  }

  /** What `unless` can look at; `recipient` where one is being judged. */
  facts(origin: Origin, session: StateStore, recipient?: Mailbox): Facts {
    const { from } = this.envelope
    return {
      origin,
      sender: from === null ? '' : `${from.local}@${from.domain}`,
      ...(recipient === undefined ? {} : { recipient: `${recipient.local}@${recipient.domain}` }),
      state: name => this.state.get(name) ?? session.get(name),
    }
  }
}
