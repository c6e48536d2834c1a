// The body's way from the socket: one pass into the spool and the taps, as slow as the slowest of them.
import type { Reply } from '@posthorn/mail'
import { andThen, isPending } from '../awaitable.ts'
import type { Fault, HookEntry } from '../hooks/contract.ts'
import { runGate } from '../hooks/run.ts'
import { StorageError } from '../storage/contract.ts'
import type { Awaitable, Tap } from '../transaction.ts'
import type { BodySink } from './contract.ts'
import { answerDot } from './dot.ts'
import { replies, storageReply, verdictReply } from './replies.ts'
import { withMessage } from './scene.ts'
import type { SessionCore } from './session.ts'
import type { TransactionCore } from './transaction.ts'

/** All `write` time of one tap together; a tap that needs longer would outlast the client. */
const tapTime = 120_000

/** A tap at work. `fault`: it gets no more octets, and the dot becomes its temporary failure. */
export interface OpenTap {
  readonly entry: HookEntry
  readonly tap: Tap
  fault?: Fault
  spent: number
}

export class BodyIntake implements BodySink {
  readonly #session: SessionCore
  readonly #tx: TransactionCore
  readonly #taps: readonly OpenTap[]
  #over = false
  #storageError: StorageError | undefined

  /** Runs the `data` gates: a sink for the body, or the reply that refuses it. */
  static open(session: SessionCore, tx: TransactionCore): Awaitable<BodySink | Reply> {
    const scene = session.scene(tx.trace, tx, withMessage)
    return andThen(session.run(runGate, 'data', scene), ({ verdict, by, settled }) => {
      if (verdict?.kind === 'discard') tx.discarded ??= { by: by ?? '', reason: verdict.reason }
      else if (verdict !== undefined && !session.holdsInstead(tx, verdict, by)) {
        const reply = verdictReply(verdict, tx.id)
        session.ended(tx, reply, by)
        return reply
      }
      const taps: OpenTap[] = []
      for (const { entry, value, fault } of settled) {
        if (fault === undefined && isTap(value)) taps.push({ entry, tap: value, spent: 0 })
      }
      return new BodyIntake(session, tx, taps)
    })
  }

  constructor(session: SessionCore, tx: TransactionCore, taps: readonly OpenTap[]) {
    this.#session = session
    this.#tx = tx
    this.#taps = taps
  }

  write(chunk: Uint8Array): Awaitable<void> {
    if (this.#over || this.#tx.discarded !== undefined || this.#storageError !== undefined) return
    const pending: Promise<unknown>[] = []
    try {
      const spooled = this.#tx.spool.write(chunk)
      if (isPending(spooled)) pending.push(spooled.catch(error => this.#spoolFailed(error)))
    } catch (error) {
      this.#spoolFailed(error)
    }
    // Lent to us for this call, and not the spool's copy: no plugin holds the octets that are stored.
    const kept = this.#taps.length > 0 ? Buffer.from(chunk) : chunk
    for (const tap of this.#taps) {
      const fed = this.#feed(tap, kept)
      if (fed !== undefined) pending.push(fed)
    }
    return pending.length === 0 ? undefined : Promise.all(pending).then(() => undefined)
  }

  /** One chunk for one tap; a promise only where the tap needs time. Never rejects. */
  #feed(open: OpenTap, chunk: Uint8Array): Promise<void> | undefined {
    if (open.fault !== undefined || open.tap.write === undefined) return
    const { clock } = this.#session.parts
    try {
      const written = open.tap.write(chunk)
      if (!isPending(written)) return
      const started = clock.monotonic()
      return new Promise(resolve => {
        const fail = (kind: Fault['kind'], error: Error) => {
          open.fault ??= { kind, error }
          cancel()
          resolve()
        }
        const limit = Math.min(open.entry.timeout, tapTime - open.spent)
        const cancel = clock.after(limit, () =>
          fail('timeout', new Error(`tap did not take a chunk within ${limit} ms`)),
        )
        written.then(
          () => {
            open.spent += clock.monotonic() - started
            cancel()
            resolve()
          },
          error => fail('error', asError(error)),
        )
      })
    } catch (error) {
      open.fault = { kind: 'error', error: asError(error) }
    }
  }

  end(): Awaitable<Reply | readonly Reply[]> {
    const session = this.#session
    const tx = this.#tx
    if (this.#over) return replies.fault
    this.#over = true
    if (this.#storageError !== undefined) {
      const reply = storageReply(this.#storageError)
      this.#drop(reply, 'storage')
      return session.eachAccepted(tx, reply)
    }
    if (tx.discarded !== undefined) {
      const reply = replies.discarded(tx.id)
      this.#drop(reply, tx.discarded.by)
      return session.eachAccepted(tx, reply)
    }
    return answerDot(session, tx, this.#taps)
  }

  abort(reply: Reply | undefined): void {
    if (this.#over) return
    this.#over = true
    this.#drop(reply, reply === undefined ? undefined : 'smtp')
  }

  #drop(reply: Reply | undefined, by: string | undefined): void {
    this.#session.parts.background(this.#tx.spool.discard(), 'discarding a spool')
    this.#session.ended(this.#tx, reply, by)
  }

  #spoolFailed(error: unknown): void {
    const fault = asError(error)
    this.#storageError = error instanceof StorageError ? error : new StorageError('failed', fault.message, fault)
    this.#session.parts.log.error({ id: this.#tx.id, err: fault }, 'spooling failed')
  }
}

function isTap(value: unknown): value is Tap {
  return value !== null && typeof value === 'object' && typeof (value as Tap).end === 'function'
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
