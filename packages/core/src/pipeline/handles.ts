// What a hook holds in its hand: views of session and transaction that belong to one call. Edits and state writes wait
// in the call's unit and are kept when it settles; afterwards the handles are dead.
import type { Mailbox } from '@posthorn/mail'
import type { Recipient, Target } from '../envelope.ts'
import { PosthornError } from '../errors.ts'
import type { HookEntry, Unit } from '../hooks/contract.ts'
import { changes, type Edit } from '../message/edits.ts'
import type { Call } from '../plugin.ts'
import type { Session } from '../session.ts'
import { StateBuffer, type StateStore, stateView } from '../state.ts'
import type { Edits, Message } from '../transaction.ts'
import type { RecipientRecord, TargetRecord } from './envelope.ts'
import type { Invoke } from './scene.ts'
import type { SessionCore } from './session.ts'
import type { TransactionCore } from './transaction.ts'

type Added = { readonly to: Mailbox; readonly dsn: Pick<Recipient, 'notify' | 'orcpt'> }

/** One hook call in the pipeline. `invoke` gets the unit and calls the handler with the handles that it makes. */
export class CallUnit implements Unit {
  readonly entry: HookEntry
  readonly #core: SessionCore
  readonly #tx: TransactionCore | undefined
  readonly #invoke: Invoke
  #alive = true
  edits: Edit[] | undefined
  added: Added[] | undefined
  state: StateBuffer | undefined

  constructor(entry: HookEntry, core: SessionCore, tx: TransactionCore | undefined, invoke: Invoke) {
    this.entry = entry
    this.#core = core
    this.#tx = tx
    this.#invoke = invoke
  }

  run(call: Call): unknown {
    return this.#invoke(this, call)
  }

  settle(): void {
    this.#alive = false
  }

  keep(): void {
    this.state?.keep()
    if (this.entry.stage === 'helo') this.#core.wroteAtHelo(this.state)
    if (this.#tx === undefined) return
    if (this.edits !== undefined) this.#tx.edits.push(...this.edits)
    if (this.added !== undefined) for (const { to, dsn } of this.added) this.#tx.addRecipient(to, dsn)
  }

  drop(): void {
    this.#alive = false
    this.edits = undefined
    this.added = undefined
  }

  get session(): Session {
    return new SessionHandle(this.#core, this) as unknown as Session
  }

  get message(): Message {
    if (this.#tx === undefined) throw new PosthornError('POSTHORN_HOOK_NO_TRANSACTION', 'this stage has no transaction')
    return new TransactionHandle(this.#core, this.#tx, this)
  }

  /** State as of the start of the wave; writes wait in the unit. */
  view(store: StateStore) {
    this.state ??= new StateBuffer()
    return stateView(store, this.entry, this.state, this)
  }

  record(change: Edit['change'], targets: readonly Target[] | undefined): void {
    this.live()
    this.edits ??= []
    this.edits.push({
      plugin: this.entry.plugin,
      rank: this.entry.rank,
      change,
      ...(targets === undefined ? {} : { targets: new Set(targets.map(t => t.id)) }),
    })
  }

  add(to: Mailbox, dsn: Added['dsn']): void {
    this.live()
    this.added ??= []
    this.added.push({ to, dsn })
  }

  /** Throws once the call has settled: a late edit would reach a message that was already judged. */
  live(): void {
    if (this.#alive) return
    throw new PosthornError(
      'POSTHORN_HOOK_LATE',
      `plugin ${this.entry.plugin} used its ${this.entry.stage} handle after the call was over`,
      { fix: 'Await everything that a hook starts before it returns.' },
    )
  }
}

class SessionHandle {
  readonly #core: SessionCore
  readonly #unit: CallUnit

  constructor(core: SessionCore, unit: CallUnit) {
    this.#core = core
    this.#unit = unit
  }
  get id() {
    return this.#core.origin.id
  }
  get protocol() {
    return this.#core.origin.protocol
  }
  get listener() {
    return this.#core.origin.listener
  }
  get local() {
    return this.#core.origin.local
  }
  get client() {
    return this.#core.origin.client
  }
  get helo() {
    return this.#core.origin.helo
  }
  get auth() {
    return this.#core.origin.auth
  }
  get tls() {
    return this.#core.origin.tls
  }
  get signal() {
    return this.#core.aborter.signal
  }
  get state() {
    return this.#unit.view(this.#core.state)
  }
  pendingInput() {
    return this.#core.arrival.pendingInput()
  }
}

/** Records edits, for all targets or for some. */
class EditsHandle implements Edits {
  protected readonly tx: TransactionCore
  protected readonly unit: CallUnit
  readonly #targets: readonly Target[] | undefined

  constructor(tx: TransactionCore, unit: CallUnit, targets?: readonly Target[]) {
    this.tx = tx
    this.unit = unit
    this.#targets = targets
  }
  prepend(header: string, value: string) {
    this.unit.record(changes.prepend(header, value, this.tx.envelope.params), this.#targets)
  }
  replace(header: string, nth: number, value: string | null) {
    this.unit.record(changes.replace(header, nth, value, this.tx.envelope.params), this.#targets)
  }
  strip(header: string, match: { readonly authservId: string } | { readonly contains: string }) {
    this.unit.record(changes.strip(header, match), this.#targets)
  }
  rewriteFrom(from: Mailbox | null) {
    this.unit.record(changes.from(from), this.#targets)
  }
  junk(reason: string) {
    this.unit.record(changes.junk(reason), this.#targets)
  }
  hold(reason: string) {
    this.unit.record(changes.hold(reason), this.#targets)
  }
}

class TransactionHandle extends EditsHandle implements Message {
  readonly #core: SessionCore
  #session: Session | undefined
  #recipients: readonly Recipient[] | undefined

  constructor(core: SessionCore, tx: TransactionCore, unit: CallUnit) {
    super(tx, unit)
    this.#core = core
  }
  get id() {
    return this.tx.id
  }
  get session() {
    this.#session ??= new SessionHandle(this.#core, this.unit) as unknown as Session
    return this.#session
  }
  get from() {
    return this.tx.envelope.from
  }
  get params() {
    return this.tx.envelope.params
  }
  get recipients() {
    this.#recipients ??= this.tx.envelope.recipients.map(r => recipientView(r, this.unit))
    return this.#recipients
  }
  get state() {
    return this.unit.view(this.tx.state)
  }
  get signal() {
    return this.tx.aborter.signal
  }
  get size() {
    return this.tx.spool.size
  }
  header(name: string) {
    return this.tx.header(name)
  }
  open(range?: { readonly start: number; readonly end: number }) {
    this.unit.live()
    return this.tx.spool.open(range)
  }
  for(targets: readonly Target[]): Edits {
    return new EditsHandle(this.tx, this.unit, targets)
  }
  addRecipient(to: Mailbox, dsn: Added['dsn'] = {}) {
    this.unit.add(to, dsn)
  }
}

/** A recipient as one hook call sees it. */
export function recipientView(recipient: RecipientRecord, unit: CallUnit): Recipient {
  const { notify, orcpt } = recipient.params
  return {
    id: recipient.id,
    address: recipient.address,
    targets: recipient.targets.map(t => new TargetHandle(t, unit)),
    ...(notify === undefined ? {} : { notify }),
    ...(orcpt === undefined ? {} : { orcpt }),
  }
}

class TargetHandle implements Target {
  readonly id: Target['id']
  readonly address: Mailbox
  readonly #record: TargetRecord
  readonly #unit: CallUnit

  constructor(record: TargetRecord, unit: CallUnit) {
    this.id = record.id
    this.address = record.address
    this.#record = record
    this.#unit = unit
  }
  get state() {
    return this.#unit.view(this.#record.state)
  }
}
