// Where one stage of one session or message runs: what its hooks get in their hands, and who hears how they ended. One
// is made for each stage of each message, so that nothing is in it before somebody asks.
import type { Mailbox } from '@posthorn/mail'
import type { Facts, HookEntry, Scene, Settled } from '../hooks/contract.ts'
import type { Call } from '../plugin.ts'
import { CallUnit } from './handles.ts'
import type { SessionCore } from './session.ts'
import type { Trace } from './trace.ts'
import type { TransactionCore } from './transaction.ts'

/** Calls the handler of one hook, with what its unit hands out. */
export type Invoke = (unit: CallUnit, call: Call) => unknown

/** For the stages whose hooks get the message and nothing else. */
export const withMessage: Invoke = (unit, call) => unit.entry.handler(unit.message, call)

export class StageScene implements Scene {
  readonly #core: SessionCore
  readonly #trace: Trace
  readonly #tx: TransactionCore | undefined
  readonly #invoke: Invoke
  readonly #recipient: Mailbox | undefined

  /** `tx`: undefined for the stages of a session. `recipient`: whom the stage is about, where it is about one. */
  constructor(
    core: SessionCore,
    trace: Trace,
    tx: TransactionCore | undefined,
    invoke: Invoke,
    recipient: Mailbox | undefined,
  ) {
    this.#core = core
    this.#trace = trace
    this.#tx = tx
    this.#invoke = invoke
    this.#recipient = recipient
  }

  get role() {
    return this.#core.origin.listener.role
  }

  get facts(): Facts {
    const { origin, state } = this.#core
    return this.#tx === undefined
      ? { origin, state: name => state.get(name) }
      : this.#tx.facts(origin, state, this.#recipient)
  }

  get parent() {
    return (this.#tx ?? this.#core).aborter
  }

  open(entry: HookEntry): CallUnit {
    return new CallUnit(entry, this.#core, this.#tx, this.#invoke)
  }

  settled(settled: Settled): void {
    this.#overrule(settled)
    this.#trace.hook(settled, (settled.unit as CallUnit | undefined)?.edits, this.#recipient?.raw)
    this.#core.parts.observed(settled)
  }

  /** The operator's `objection: junk`: the message goes on, marked. */
  #overrule({ entry, value, overridden }: Settled): void {
    if (overridden !== 'junk' || this.#tx === undefined) return
    const { plugin, rank } = entry
    const { reason, text } = value as { reason?: string; text?: string }
    this.#tx.edits.push({ plugin, rank, change: { kind: 'junk', reason: reason ?? text ?? 'objection' } })
  }
}
