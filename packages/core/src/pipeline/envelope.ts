// The mutable envelope of one transaction: recipients in the order they were accepted, and their targets.
import type { Mailbox, MailParams, RcptParams } from '@posthorn/mail'
import { addressKey } from '@posthorn/mail'
import type { Id } from '../envelope.ts'
import type { StateStore } from '../state.ts'

export interface TargetRecord {
  readonly id: Id
  readonly address: Mailbox
  readonly state: StateStore
  /** The recipient address that `resolve` turned into this one, where it did. */
  readonly forwardedBy?: Mailbox
  /** The list's own reverse-path (RFC 5321 §3.9.2), where `resolve` said that it is one. */
  readonly listFrom?: Mailbox
  /** The address in that list which led here. */
  readonly listMember?: Mailbox
}

export interface RecipientRecord {
  readonly id: Id
  readonly address: Mailbox
  readonly params: RcptParams
  readonly targets: readonly TargetRecord[]
}

export class Envelope {
  readonly from: Mailbox | null
  readonly params: MailParams
  /** Distinct recipients, each delivered to once. */
  readonly recipients: RecipientRecord[] = []
  /** One for each accepted RCPT, repeats included: LMTP answers each of them (RFC 2033 §4.2). */
  readonly accepted: RecipientRecord[] = []
  readonly #byAddress = new Map<string, RecipientRecord>()
  #ids = 0
  #targets: readonly TargetRecord[] = []
  #targetsOf = 0

  constructor(from: Mailbox | null, params: MailParams) {
    this.from = from
    this.params = params
  }

  nextId(): Id {
    return String(++this.#ids) as Id
  }

  /** The recipient of that address, if it was accepted before. */
  find(address: Mailbox): RecipientRecord | undefined {
    return this.#byAddress.get(addressKey(address))
  }

  accept(recipient: RecipientRecord): void {
    this.accepted.push(recipient)
    const key = addressKey(recipient.address)
    if (this.#byAddress.has(key)) return
    const { raw } = recipient.address
    // The string that is there already, where it is the same.
    this.#byAddress.set(raw === key ? raw : key, recipient)
    this.recipients.push(recipient)
  }

  get targets(): readonly TargetRecord[] {
    const [only] = this.recipients
    if (this.recipients.length === 1 && only !== undefined) return only.targets
    // Asked for several times at the dot, and there may be fifty thousand.
    if (this.#targetsOf !== this.recipients.length) {
      this.#targets = this.recipients.flatMap(r => r.targets)
      this.#targetsOf = this.recipients.length
    }
    return this.#targets
  }
}
