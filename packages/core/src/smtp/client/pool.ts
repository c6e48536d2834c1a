// Connections kept for the next message: one bucket for each equal hop, bounded in number, idle time, uses and age.
// A slot is taken before a dial and given back at every way out; a connection that failed is never used again.
import { type Clock, systemClock } from '../../clock.ts'
import { Line, type Linked } from '../../line.ts'
import { type ConnectOptions, connect, type SmtpConnection } from './connection.ts'
import type { Mail, MailRecipient } from './envelope.ts'
import { SmtpFailure, type Timeouts } from './failure.ts'
import { hopKey, hostName, type NextHop } from './next-hop.ts'
import { onStop, type Stopping, stopped } from './stop.ts'
import type { Answer } from './transaction.ts'
import type { Dialogue } from './wire.ts'

export interface PoolLimits {
  /** Connections to one hop, busy or idle. Default 20. */
  readonly perHop?: number
  /** Connections in all; idle ones to other hops make room. Default 1,000. */
  readonly total?: number
  /** Milliseconds that an unused connection is kept. Default 30 s; peers give up after minutes. */
  readonly idle?: number
  /** Messages over one connection. Default 1,000. */
  readonly uses?: number
  /** Milliseconds that a connection lives. Default 30 min. */
  readonly age?: number
}

export interface PoolOptions extends PoolLimits {
  readonly clock?: Clock
  readonly timeouts?: Partial<Timeouts>
  readonly dialogue?: Dialogue
}

/** A connection to use alone, until `release` is called, once, whatever happened to it. */
export interface Lease {
  readonly connection: SmtpConnection
  /** It was used before: a cut at its first command may only mean that the peer was tired of waiting. */
  readonly reused: boolean
  release(): void
}

/** Called once for each recipient, with the connection that told its fate. */
export type PoolReport = (index: number, answer: Answer, connection: SmtpConnection) => void

interface Waiter extends Linked<Waiter> {
  readonly stop: Stopping | undefined
  /** Takes it out of the queue; from here on its abort is the dial's affair. */
  leave(): void
  give(lease: Lease): void
  fail(failure: SmtpFailure): void
}

interface Bucket {
  readonly key: string
  readonly hop: NextHop
  /** The last one used is the first one taken: the others may age. */
  readonly idle: SmtpConnection[]
  /** Connections and dials. */
  open: number
  readonly waiting: Line<Waiter>
}

export class SmtpPool {
  readonly #limits: Required<PoolLimits>
  readonly #clock: Clock
  readonly #options: PoolOptions
  readonly #buckets = new Map<string, Bucket>()
  /** Buckets with idle connections, the longest so first. */
  readonly #resting = new Set<Bucket>()
  /** Buckets whose waiters lack a place among all, in turn. */
  readonly #starved = new Set<Bucket>()
  #open = 0
  #idle = 0
  #sweep: (() => void) | undefined
  #closing: { readonly done: Promise<void>; readonly resolve: () => void } | undefined

  constructor(options: PoolOptions = {}) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#limits = {
      perHop: options.perHop ?? 20,
      total: options.total ?? 1000,
      idle: options.idle ?? 30_000,
      uses: options.uses ?? 1000,
      age: options.age ?? 1_800_000,
    }
  }

  /** Connections and dials; those of them that lie idle; who waits for one. */
  get stats(): { readonly open: number; readonly idle: number; readonly waiting: number } {
    let waiting = 0
    for (const bucket of this.#buckets.values()) waiting += bucket.waiting.size
    return { open: this.#open, idle: this.#idle, waiting }
  }

  /**
   * A connection of the hop's: an idle one unless `fresh`, a new one where there is room, else the next that is
   * released. Rejects with SmtpFailure: the dial's, `aborted` by `stop`, or `closed`.
   */
  acquire(
    hop: NextHop,
    options: { readonly stop?: Stopping | undefined; readonly fresh?: boolean } = {},
  ): Lease | Promise<Lease> {
    const { stop, fresh } = options
    if (this.#closing !== undefined) return Promise.reject(gone(hop, 'closed', 'the connection pool is closed'))
    const over = stopped(stop)
    if (over !== undefined) return Promise.reject(gone(hop, 'aborted', 'stopped before connecting', over.reason))
    const bucket = this.#bucket(hop)
    if (!fresh) {
      const connection = this.#takeIdle(bucket)
      if (connection !== undefined) return this.#lease(bucket, connection, true)
    } else if (bucket.open >= this.#limits.perHop) this.#dropIdle(bucket)
    return new Promise((resolve, reject) => {
      let release = () => {}
      const waiter: Waiter = {
        stop,
        leave() {
          bucket.waiting.leave(waiter)
          release()
        },
        give: resolve,
        fail: reject,
        line: undefined,
        prev: undefined,
        next: undefined,
      }
      release = onStop(stop, reason => {
        waiter.leave()
        this.#tidy(bucket)
        reject(gone(hop, 'aborted', 'stopped while waiting for a connection', reason))
      })
      // It may have been forgotten with its last idle connection.
      this.#buckets.set(bucket.key, bucket)
      bucket.waiting.join(waiter)
      this.#serve(bucket)
    })
  }

  /**
   * One message over a connection of the pool: as {@link SmtpConnection.send}. A kept connection that the peer closed
   * meanwhile is replaced, once: nothing can have been accepted.
   */
  async send(
    hop: NextHop,
    mail: Mail,
    to: readonly MailRecipient[],
    report: PoolReport,
    stop?: Stopping,
  ): Promise<SmtpFailure | undefined> {
    for (let fresh = false; ; fresh = true) {
      let lease: Lease
      try {
        const acquired = this.acquire(hop, { stop, fresh })
        lease = acquired instanceof Promise ? await acquired : acquired
      } catch (error) {
        if (error instanceof SmtpFailure) return error
        throw error
      }
      let reported = 0
      let failure: SmtpFailure | undefined
      try {
        failure = await lease.connection.send(
          mail,
          to,
          (index, answer) => {
            reported++
            report(index, answer, lease.connection)
          },
          stop,
        )
      } finally {
        lease.release()
      }
      if (failure === undefined || fresh || !lease.reused || reported > 0 || !stale(failure)) return failure
    }
  }

  /** Takes no more requests, closes what is idle, and resolves when the last busy connection has been released. */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      let resolve = () => {}
      const done = new Promise<void>(r => {
        resolve = r
      })
      this.#closing = { done, resolve }
      this.#sweep?.()
      for (const bucket of [...this.#buckets.values()]) {
        for (const waiter of bucket.waiting) {
          waiter.leave()
          waiter.fail(gone(bucket.hop, 'closed', 'the connection pool is closed'))
        }
        while (this.#dropIdle(bucket));
      }
      this.#starved.clear()
      if (this.#open === 0) resolve()
    }
    return this.#closing.done
  }

  #bucket(hop: NextHop): Bucket {
    const key = hopKey(hop)
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      bucket = { key, hop, idle: [], open: 0, waiting: new Line() }
      this.#buckets.set(key, bucket)
    }
    return bucket
  }

  /** Gives waiters what there is: idle connections, then dials while there is room. */
  #serve(bucket: Bucket): void {
    for (let waiter = bucket.waiting.first; waiter !== undefined; waiter = bucket.waiting.first) {
      if (bucket.open >= this.#limits.perHop) return
      if (this.#open >= this.#limits.total && !this.#makeRoom()) {
        this.#starved.add(bucket)
        return
      }
      waiter.leave()
      this.#dial(bucket, waiter)
    }
  }

  #dial(bucket: Bucket, waiter: Waiter): void {
    bucket.open++
    this.#open++
    const { clock, timeouts, dialogue } = this.#options
    const { stop } = waiter
    const options: ConnectOptions = {
      ...(clock === undefined ? {} : { clock }),
      ...(timeouts === undefined ? {} : { timeouts }),
      ...(dialogue === undefined ? {} : { dialogue }),
      ...(stop === undefined ? {} : { stop }),
    }
    connect(bucket.hop, options).then(
      connection => waiter.give(this.#lease(bucket, connection, false)),
      failure => {
        // Given back first: who is told may ask again.
        this.#freed(bucket)
        waiter.fail(failure)
      },
    )
  }

  #lease(bucket: Bucket, connection: SmtpConnection, reused: boolean): Lease {
    let held = true
    return {
      connection,
      reused,
      release: () => {
        if (!held) return
        held = false
        this.#released(bucket, connection)
      },
    }
  }

  #released(bucket: Bucket, connection: SmtpConnection): void {
    if (this.#closing !== undefined || !connection.usable || this.#worn(connection)) {
      connection.close()
      this.#freed(bucket)
      return
    }
    const next = bucket.waiting.first
    if (next !== undefined) {
      next.leave()
      next.give(this.#lease(bucket, connection, true))
      return
    }
    bucket.idle.push(connection)
    this.#idle++
    this.#resting.add(bucket)
    connection.wire.onDown = () => this.#died(bucket, connection)
    if (this.#starved.size > 0) this.#feed()
    this.#sweep ??= this.#clock.after(this.#limits.idle, () => this.#sweepIdle())
  }

  /** A place is free: for a waiter of this hop, else for one who lacks a place among all. */
  #freed(bucket: Bucket): void {
    bucket.open--
    this.#open--
    if (this.#closing !== undefined) {
      if (this.#open === 0) this.#closing.resolve()
      return
    }
    // In turn: those who starve wait longer than those of this hop, who may just have had their share.
    if (this.#starved.size > 0) this.#feed()
    this.#serve(bucket)
    this.#tidy(bucket)
  }

  /** Serves buckets that lacked a place, in turn, while there is one. */
  #feed(): void {
    for (const bucket of this.#starved) {
      this.#starved.delete(bucket)
      this.#serve(bucket)
      if (this.#starved.has(bucket)) return
    }
  }

  #takeIdle(bucket: Bucket): SmtpConnection | undefined {
    for (;;) {
      const connection = this.#wake(bucket, bucket.idle.length - 1)
      if (connection === undefined) return undefined
      if (connection.usable && !this.#worn(connection) && !this.#outdated(connection)) return connection
      connection.close()
      this.#freed(bucket)
    }
  }

  /** Takes the connection at `at` out of the idle ones, if there is one. */
  #wake(bucket: Bucket, at: number): SmtpConnection | undefined {
    const [connection] = at < 0 ? [] : bucket.idle.splice(at, 1)
    if (connection === undefined) return undefined
    this.#idle--
    if (bucket.idle.length === 0) this.#resting.delete(bucket)
    connection.wire.onDown = undefined
    return connection
  }

  /** Closes the connection that was idle longest; whether there was one. */
  #dropIdle(bucket: Bucket): boolean {
    const connection = this.#wake(bucket, 0)
    if (connection === undefined) return false
    connection.close()
    this.#freed(bucket)
    return true
  }

  /** The peer closed it, or spoke out of turn, while it lay idle; or its time is up. */
  #died(bucket: Bucket, connection: SmtpConnection): void {
    if (this.#wake(bucket, bucket.idle.indexOf(connection)) === undefined) return
    connection.close()
    this.#freed(bucket)
  }

  /** Closes an idle connection of any hop; whether there was one. The place is the caller's. */
  #makeRoom(): boolean {
    const [bucket] = this.#resting
    if (bucket === undefined) return false
    this.#wake(bucket, 0)?.close()
    bucket.open--
    this.#open--
    this.#tidy(bucket)
    return true
  }

  #sweepIdle(): void {
    this.#sweep = undefined
    for (const bucket of [...this.#resting]) {
      for (const connection of [...bucket.idle]) if (this.#outdated(connection)) this.#died(bucket, connection)
    }
    if (this.#idle > 0) this.#sweep = this.#clock.after(this.#limits.idle / 2, () => this.#sweepIdle())
  }

  #outdated(connection: SmtpConnection): boolean {
    return this.#clock.monotonic() - connection.last >= this.#limits.idle
  }

  #worn(connection: SmtpConnection): boolean {
    return connection.uses >= this.#limits.uses || this.#clock.monotonic() - connection.since >= this.#limits.age
  }

  /** Forgets a hop that nobody uses. */
  #tidy(bucket: Bucket): void {
    if (bucket.waiting.size === 0) this.#starved.delete(bucket)
    if (bucket.open === 0 && bucket.waiting.size === 0) this.#buckets.delete(bucket.key)
  }
}

/** What a kept connection says that the peer has closed: at its first command, with nothing of a message out. */
function stale(failure: SmtpFailure): boolean {
  return failure.phase === 'mail' && !failure.unknown && (failure.kind === 'cut' || failure.reply?.code === 421)
}

function gone(hop: NextHop, kind: 'closed' | 'aborted', message: string, cause?: unknown): SmtpFailure {
  return new SmtpFailure(kind, 'connect', hostName(hop.endpoint), message, { cause })
}
