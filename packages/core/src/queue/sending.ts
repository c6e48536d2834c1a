// One call of an agent's `send`: its Call, the reports as they come, and an outcome for every target in the end,
// whatever the agent did: threw, hung, or forgot one.
import { Aborter, aborted } from '../aborter.ts'
import type { Clock } from '../clock.ts'
import type { DeliveryTarget, Outcome, Queued, Route } from '../delivery.ts'
import type { Id } from '../envelope.ts'
import type { AgentEntry } from '../hooks/contract.ts'
import type { Timer, Timers } from '../hooks/timers.ts'
import type { Log } from '../log.ts'
import { deliveryTarget } from '../message/target.ts'
import type { Call } from '../plugin.ts'
import { reasonOf } from './errors.ts'
import type { RecipientRecord } from './records.ts'
import { ThrottledError, type Throttles } from './throttle.ts'

/**
 * Milliseconds that one `send` may take: a net below the agents' own timeouts. A host may take ten minutes for the final
 * dot alone (RFC 5321 §4.5.3.2.6), others be tried before it, and a large message takes its time on a thin line.
 */
export const sendTimeout = 3_600_000
/** Milliseconds that an agent has to report after it was told to end. */
const lastWords = 1000

/** A recipient as agents see it. */
export const targetOf = (record: Pick<RecipientRecord, 'id' | 'to' | 'notify' | 'orcpt' | 'state'>): DeliveryTarget =>
  deliveryTarget({ ...record, address: record.to, state: record.state ?? {} })

export interface SendContext {
  readonly clock: Clock
  readonly timers: Timers
  readonly log: Log
  readonly throttles: Throttles
  readonly retired: Aborter
}

/** `throttled`: it did not take place for those without an outcome, and is no attempt for them. */
export interface Sent {
  readonly outcomes: ReadonlyMap<string, Outcome>
  readonly throttled: boolean
  readonly keys: readonly string[]
}

const faults = new WeakSet<Outcome>()

/** Whether the outcome was made by the queue because the agent failed: it says nothing of the destination. */
export const isFault = (outcome: Outcome): boolean => faults.has(outcome)

export class Sending implements Call {
  readonly log: Log
  readonly now: () => number
  /** Called at each report that comes while `send` runs. */
  reported: (() => void) | undefined
  readonly outcomes = new Map<string, Outcome>()
  readonly #context: SendContext
  readonly #targets: readonly DeliveryTarget[]
  #aborter: Aborter | undefined
  #unlink: (() => void) | undefined
  #keys: string[] | undefined
  #slots: Set<Disposable> | undefined
  #over = false
  #throttled = false
  #id = ''
  #plugin = ''
  #timer: Timer | undefined
  #resolve: ((sent: Sent) => void) | undefined

  constructor(targets: readonly DeliveryTarget[], context: SendContext) {
    this.#context = context
    this.#targets = targets
    this.log = context.log
    this.now = context.clock.now
  }

  get signal(): AbortSignal {
    return this.#abort().signal
  }

  // Own properties: agents may take them out of the call.
  readonly onAbort = (fn: (reason: unknown) => void): (() => void) => this.#abort().onAbort(fn)

  readonly report = (id: Id, outcome: Outcome): void => {
    // What comes after the end would contradict what is stored; what comes twice contradicts itself.
    if (this.#over || this.outcomes.has(id) || !this.#targets.some(target => target.id === id)) return
    const known = isOutcome(outcome) ? outcome : fault('the agent reported what is no outcome')
    this.outcomes.set(id, known)
    // At once: the agent's next step is to give back the slot, to whoever waits for it.
    if (this.#keys !== undefined && (known.kind === 'defer' || known.kind === 'reject') && known.scope === 'lane') {
      for (const key of this.#keys) this.#context.throttles.failed(key, known.reason ?? known.text)
    }
    if (this.outcomes.size < this.#targets.length) this.reported?.()
  }

  readonly throttle = async (key: string): Promise<Disposable> => {
    this.#keys ??= []
    if (!this.#keys.includes(key)) this.#keys.push(key)
    const slot = await this.#context.throttles.acquire(key, this.#abort())
    if (this.#over) {
      slot[Symbol.dispose]()
      throw aborted.timeout
    }
    this.#slots ??= new Set()
    this.#slots.add(slot)
    return slot
  }

  /**
   * Runs `send` to its end, or to its timeout. Never rejects. `settled` is called once the agent has really let go,
   * which may be later.
   */
  run(entry: AgentEntry, message: Queued, route: Route, settled: () => void): Promise<Sent> {
    this.#id = message.id
    this.#plugin = entry.plugin
    return new Promise(resolve => {
      this.#resolve = resolve
      this.#timer = this.#context.timers.start(sendTimeout, tooLong, this)
      let running: Promise<void>
      try {
        running = entry.agent.send(message, this.#targets, route, this)
      } catch (error) {
        this.#failed(error)
        settled()
        return
      }
      Promise.resolve(running).then(
        () => {
          this.end(`${this.#plugin} reported nothing`)
          settled()
        },
        error => {
          this.#failed(error)
          settled()
        },
      )
    })
  }

  #failed(error: unknown): void {
    if (error instanceof ThrottledError) this.#throttled = true
    else if (!this.#over) {
      const fields = { id: this.#id, plugin: this.#plugin, hook: 'send', error: reasonOf(error) }
      this.log.error(fields, 'a delivery failed')
    }
    this.end(`${this.#plugin}: ${reasonOf(error)}`)
  }

  /** Takes no more reports. `why`: of targets that got none. */
  end(why: string): void {
    if (this.#over) return
    this.#over = true
    if (this.#timer !== undefined) this.#context.timers.stop(this.#timer)
    this.#unlink?.()
    if (!this.#throttled && this.outcomes.size < this.#targets.length) {
      const missing = fault(why)
      for (const target of this.#targets) if (!this.outcomes.has(target.id)) this.outcomes.set(target.id, missing)
    }
    // A slot that the agent forgot must not be lost to all others.
    if (this.#slots !== undefined) for (const slot of this.#slots) slot[Symbol.dispose]()
    this.#resolve?.({ outcomes: this.outcomes, throttled: this.#throttled, keys: this.#keys ?? none })
  }

  /** The server stops: the agent's signal aborts, and what it does not report in a moment is deferred. */
  hurry(): void {
    this.#abort().abort(aborted.stopped)
    this.#context.timers.start(lastWords, stopped, this)
  }

  /** The net below the agents' own timeouts. */
  tooLong(): void {
    this.log.error({ id: this.#id, plugin: this.#plugin, ms: sendTimeout }, 'a delivery took too long')
    this.#aborter?.abort(aborted.timeout)
    this.end('the delivery took too long')
  }

  #abort(): Aborter {
    if (this.#aborter === undefined) {
      const aborter = new Aborter()
      this.#aborter = aborter
      if (this.#over) aborter.abort(aborted.timeout)
      else this.#unlink = this.#context.retired.onAbort(reason => aborter.abort(reason))
    }
    return this.#aborter
  }
}

const none: readonly string[] = []
const tooLong = (sending: Sending): void => sending.tooLong()
const stopped = (sending: Sending): void => sending.end('the server stopped')

function fault(reason: string): Outcome {
  const outcome: Outcome = {
    kind: 'defer',
    code: 451,
    enhanced: '4.3.0',
    text: 'temporary fault in delivery',
    reason,
    scope: 'message',
  }
  faults.add(outcome)
  return outcome
}

function isOutcome(value: Outcome | undefined | null): value is Outcome {
  if (typeof value !== 'object' || value === null) return false
  if (value.kind === 'discard' || value.kind === 'hold') return typeof value.reason === 'string'
  if (value.kind === 'delivered' || value.kind === 'relayed' || value.kind === 'expanded') return true
  if (value.kind !== 'defer' && value.kind !== 'reject') return false
  return typeof value.text === 'string' && typeof value.enhanced === 'string' && typeof value.scope === 'string'
}
