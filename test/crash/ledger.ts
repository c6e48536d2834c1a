// Who was promised what, what came of it, and what is missing in the end. The unit is a message for one recipient.
import { targetsOf } from './aliases.ts'
import { type Arrived, type Letter, letter } from './letters.ts'
import { type Told, toldIn } from './told.ts'

/** Milliseconds between a sink's reply and a kill, beyond which the delivery must have been recorded. */
const recordedAfter = 2000

interface Promised {
  readonly id: string
  /** The recipients that were accepted. */
  readonly to: ReadonlySet<string>
}

interface Arrivals {
  count: number
  readonly times: number[]
  notify: string
}

/** What is known beside the ledger, and up to when the ledger counts. */
export interface View {
  /** Messages still in the queue, by number: the state of each recipient. */
  readonly queued: ReadonlyMap<number, ReadonlyMap<string, string>>
  /** Deliveries that the ledger did not see: `number address`. */
  readonly arrived?: ReadonlySet<string>
  readonly told?: readonly Told[]
  /** Whether the message had been promised by then. */
  readonly promised?: (id: string) => boolean
  /** Milliseconds since the epoch: what came to the sinks later does not count. */
  readonly until?: number
}

export interface Verdict {
  readonly accepted: number
  readonly deliveries: number
  readonly delivered: number
  readonly bounced: number
  readonly queued: number
  readonly held: number
  readonly duplicates: number
  /** Deliveries whose final reply was outstanding when a connection broke. */
  readonly outstanding: number
  /**
   * Duplicates of deliveries whose reply had been read, but not yet recorded, at a kill: how many, how many of them
   * because the disk was full, and how long before the kill of the others, in ms, at most.
   */
  readonly unrecorded: { readonly count: number; readonly fullDisk: number; readonly longest: number }
  readonly reports: number
  /** What should not be: empty where all is well. Each is a sentence. */
  readonly lost: readonly string[]
  readonly wrong: readonly string[]
}

const key = (n: number | string, address: string) => `${n} ${address}`

export class Ledger {
  readonly seed: number
  readonly #promised = new Map<number, Promised>()
  readonly #abandoned = new Set<number>()
  readonly #arrivals = new Map<string, Arrivals>()
  readonly #refused = new Map<string, number>()
  readonly #outstanding = new Map<string, number>()
  readonly #kills: { readonly at: number; readonly troubled: boolean }[] = []
  readonly #told: (Told & { readonly at: number })[] = []
  readonly #wrong: string[] = []
  #next = 0
  /** The disk is full, so clients may be turned away. */
  troubled = false
  /** Final replies that the clients saw, by code. */
  readonly replies = new Map<number, number>()

  constructor(seed: number) {
    this.seed = seed
  }

  next(): Letter {
    return letter(this.seed, this.#next++)
  }

  get accepted(): number {
    return this.#promised.size
  }

  promise(n: number, id: string, to: readonly string[]): void {
    this.#promised.set(n, { id, to: new Set(to) })
  }

  /** A client's final reply. */
  replied(code: number, text: string): void {
    this.replies.set(code, (this.replies.get(code) ?? 0) + 1)
    if (code >= 400 && !this.troubled) this.#wrong.push(`a client was told ${code} ${text} for no reason`)
  }

  abandon(n: number): void {
    this.#abandoned.add(n)
  }

  killed(now: number): void {
    this.#kills.push({ at: now, troubled: this.troubled })
  }

  /** A sink took the message for these recipients. */
  took(what: Arrived, to: readonly { readonly address: string; readonly notify: string }[], now: number): string[] {
    if (what.damaged) this.#wrong.push(`message ${what.n ?? what.messageId} was damaged on its way`)
    if (what.n !== undefined && this.#abandoned.has(what.n))
      this.#wrong.push(`message ${what.n} arrived, of which its client sent only a half`)
    return to.map(({ address, notify }) => {
      const item = key(what.n ?? what.messageId, address)
      const known = this.#arrivals.get(item)
      if (known === undefined) this.#arrivals.set(item, { count: 1, times: [now], notify })
      else {
        known.count++
        known.times.push(now)
      }
      return item
    })
  }

  /** A sink refused it for good. */
  refused(n: number, address: string, now: number): void {
    if (!this.#refused.has(key(n, address))) this.#refused.set(key(n, address), now)
  }

  /** A connection ended before its client showed that it had read the reply for these, sent at `replied`. */
  unread(items: readonly string[], replied: number, now: number): void {
    if (now - replied > recordedAfter) return
    for (const item of items) this.#outstanding.set(item, (this.#outstanding.get(item) ?? 0) + 1)
  }

  /** A report that came. */
  report(message: Buffer, at: number): void {
    for (const told of toldIn(message.toString('latin1'))) this.#told.push({ ...told, at })
  }

  /** What was promised after the power had gone, as far as anybody will ever know. */
  forget(promised: (id: string) => boolean): void {
    for (const [n, { id }] of this.#promised) if (!promised(id)) this.#promised.delete(n)
  }

  verdict({ queued, arrived = new Set(), told = [], promised = () => true, until = Infinity }: View): Verdict {
    const lost: string[] = []
    const actionsOf = new Map<string, Set<string>>()
    for (const { envelope, recipient, action } of [...told, ...this.#told.filter(({ at }) => at <= until)]) {
      const item = key(envelope, recipient)
      actionsOf.set(item, (actionsOf.get(item) ?? new Set()).add(action))
    }
    const by = (time: number | undefined) => time !== undefined && time <= until
    const came = (item: string) => by(this.#arrivals.get(item)?.times[0]) || arrived.has(item)
    const counts = { accepted: 0, deliveries: 0, delivered: 0, bounced: 0, queued: 0, held: 0 }
    for (const [n, { id, to }] of this.#promised) {
      if (!promised(id)) continue
      counts.accepted++
      const sent = letter(this.seed, n)
      for (const { address, notify } of sent.to) {
        if (!to.has(address)) continue
        for (const target of targetsOf(address)) {
          counts.deliveries++
          const item = key(n, target)
          const state = queued.get(n)?.get(target)
          const actions = actionsOf.get(item)
          const refused = by(this.#refused.get(item))
          if (state === 'held') counts.held++
          else if (state !== undefined) counts.queued++
          else if (came(item)) {
            counts.delivered++
            const wanted = this.#wantedReport(sent, address, notify)
            if (wanted !== undefined && actions?.has(wanted) !== true)
              lost.push(`the report '${wanted}' of message ${n} (${id}) for ${target}`)
          } else if (actions?.has('failed') === true) counts.bounced++
          else if (refused && !mayTellFailure(notify)) counts.bounced++
          else lost.push(`message ${n} (${id}) for ${target}${refused ? ', refused by its sink' : ''}`)
        }
      }
    }
    return { ...counts, ...this.#duplicates(), lost, wrong: this.#wrong }
  }

  /** What must have been reported of a delivery: a next hop without DSN leaves that to us, a mailbox too. */
  #wantedReport({ from }: Letter, address: string, notify: string | undefined): string | undefined {
    if (from === '' || notify?.includes('SUCCESS') !== true) return undefined
    if (address.endsWith('@a.test')) return 'relayed'
    return address.endsWith('@home.test') ? 'delivered' : undefined
  }

  #duplicates() {
    let duplicates = 0
    let outstanding = 0
    const unrecorded = { count: 0, fullDisk: 0, longest: 0 }
    for (const count of this.#outstanding.values()) outstanding += count
    for (const [item, { count, times }] of this.#arrivals) {
      duplicates += count - 1
      const beyond = count - 1 - (this.#outstanding.get(item) ?? 0)
      if (beyond <= 0) continue
      unrecorded.count += beyond
      const kills = times.slice(0, -1).map(at => ({ at, kill: this.#kills.find(kill => kill.at >= at) }))
      if (kills.some(({ kill }) => kill?.troubled === true)) unrecorded.fullDisk += beyond
      else
        for (const { at, kill } of kills) unrecorded.longest = Math.max(unrecorded.longest, (kill?.at ?? Infinity) - at)
    }
    return { duplicates, outstanding, unrecorded, reports: new Set(this.#told.map(one => one.report)).size }
  }
}

const mayTellFailure = (notify: string | undefined) => notify === undefined || notify.includes('FAILURE')
