// A client's transactions that are held open at the server behind, one connection each, until the client's is over.
import type { Call, RemoteReply, Target, Transaction } from '@posthorn/core'
import {
  type HopMemory,
  type Lease,
  type NextHop,
  Probe,
  placeKey,
  SmtpFailure,
  type SmtpPool,
} from '@posthorn/core/client'

interface Held {
  readonly hop: NextHop
  readonly lease: Lease
  readonly probe: Probe
}

/** Its connection, and the next hop that answered last. */
interface Passing {
  held: Held | undefined
  hop: NextHop | undefined
}

export class HeldTransactions {
  readonly #pool: SmtpPool
  readonly #memory: HopMemory
  readonly #passing = new Map<string, Passing>()

  constructor(pool: SmtpPool, memory: HopMemory) {
    this.#pool = pool
    this.#memory = memory
  }

  /** How many transactions are known. */
  get size(): number {
    return this.#passing.size
  }

  /** Whether the transaction passes through, and where to: the hop that answered for its recipients. */
  of(id: string): { readonly hop: NextHop | undefined } | undefined {
    return this.#passing.get(id)
  }

  /**
   * The reply of the first of `hops` that works, on the connection that the transaction has, if it has one. Rejects
   * with the last SmtpFailure where none does.
   */
  async ask(tx: Transaction, target: Target, hops: readonly NextHop[], call: Call): Promise<RemoteReply> {
    const passing = this.#of(tx)
    let failure: SmtpFailure | undefined
    // Once more where the connection of the last recipient was cut: nothing was sent that could be lost.
    const order =
      passing.held === undefined
        ? this.#order(hops, passing, call)
        : [passing.held.hop, ...this.#order(hops, passing, call)]
    for (const hop of order) {
      try {
        const reply = await this.#askAt(hop, passing, tx, target, call)
        passing.hop = passing.held?.hop
        this.#memory.worked(placeKey(hop))
        // The transaction ended while the answer was on its way.
        if (!this.#passing.has(tx.id)) await this.release(passing)
        return reply
      } catch (error) {
        if (!(error instanceof SmtpFailure)) throw error
        failure = error
        if (call.signal.aborted) break
        this.#memory.failed(placeKey(hop), call.now())
        call.log.warn({ id: tx.id, phase: error.phase, kind: error.kind }, error.message)
      }
    }
    throw failure ?? new Error('no next hop')
  }

  /** The connection that failed is given back. */
  async #askAt(hop: NextHop, passing: Passing, tx: Transaction, target: Target, call: Call): Promise<RemoteReply> {
    for (let fresh = false; ; fresh = true) {
      passing.held ??= await this.#open(tx, hop, call, fresh)
      const { probe, lease } = passing.held
      try {
        return await probe.ask(target, call.signal)
      } catch (error) {
        await this.release(passing)
        // A kept connection may be one that the server has closed meanwhile, or had enough of: that is not its word.
        const again = error instanceof SmtpFailure && error.kind !== 'timeout' && lease.reused && !fresh
        if (!again || call.signal.aborted) throw error
      }
    }
  }

  /** Gives the connection back, for the message itself to go over it or for others. */
  async letGo(id: string): Promise<void> {
    const passing = this.#passing.get(id)
    if (passing !== undefined) await this.release(passing)
  }

  async release(passing: Passing): Promise<void> {
    const { held } = passing
    if (held === undefined) return
    passing.held = undefined
    await held.probe.end()
    held.lease.release()
  }

  #order(hops: readonly NextHop[], { hop }: Passing, call: Call): readonly NextHop[] {
    const ordered = this.#memory.order(hops, placeKey, call.now())
    if (hop === undefined) return ordered
    const key = placeKey(hop)
    return [...ordered.filter(one => placeKey(one) === key), ...ordered.filter(one => placeKey(one) !== key)]
  }

  #of(tx: Transaction): Passing {
    const known = this.#passing.get(tx.id)
    if (known !== undefined) return known
    const passing: Passing = { held: undefined, hop: undefined }
    this.#passing.set(tx.id, passing)
    const { id, signal } = tx
    // RSET, hang-up and the final reply, whichever comes: the server behind must not wait for more.
    const over = () => {
      this.#passing.delete(id)
      void this.release(passing)
    }
    if (signal.aborted) over()
    else signal.addEventListener('abort', over, { once: true })
    return passing
  }

  async #open(tx: Transaction, hop: NextHop, call: Call, fresh: boolean): Promise<Held> {
    const lease = await this.#pool.acquire(hop, { stop: call.signal, fresh })
    return { hop, lease, probe: new Probe(lease.connection, tx.from, tx.params) }
  }
}
