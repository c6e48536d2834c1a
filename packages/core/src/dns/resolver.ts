// The process's resolver: cache, questions under way that many wait for, servers in turn, never more at once than allowed.
import type { Clock } from '../clock.ts'
import type { DnsConfig } from '../config/contract.ts'
import type { Log } from '../log.ts'
import { Meter } from '../meter.ts'
import { DnsCache } from './cache.ts'
import { type Dns, type DnsAnswer, DnsError, type DnsType } from './contract.ts'
import { type Ending, exchange } from './exchange.ts'
import { confirmedNames, reverse } from './iprev.ts'
import type { Question, WireAnswer } from './message.ts'
import { wireName } from './names.ts'
import { type Upstream, Upstreams } from './servers.ts'

/** Milliseconds that a failure is the answer to the same question (RFC 2308 §7.1 allows five minutes). */
const failureKept = 5_000
/** Questions that may wait, for each that may be under way. */
const waitersPerPlace = 10
/**
 * Questions that are begun in one turn of the loop. Each opens a socket, 0.05 to 0.3 ms: the hundred that one worker or
 * one burst of sessions asks at once would hold everything else up for 10 to 30 ms.
 */
const perTurn = 16
/** Octets that a negative answer or a failure is taken for in the cache. */
const small = 1

export interface ResolverOptions {
  readonly config: DnsConfig
  readonly clock: Clock
  readonly log: Log
  readonly meter?: Meter
}

interface Waiter {
  done(answer: DnsAnswer): void
  fail(error: DnsError): void
}

type Failure = Extract<Ending, { readonly failure: unknown }>

/** One question, and all who wait for its answer. */
interface Flight {
  readonly key: string
  readonly question: Question
  readonly waiters: Set<Waiter>
  /** When it was asked for. */
  readonly since: number
  /** Takes back what is under way. */
  cancel: () => void
  state: 'waiting' | 'flying' | 'over'
  /** Of the cache that its answer is for. */
  readonly epoch: number
}

export class DnsResolver implements Dns {
  readonly #clock: Clock
  readonly #log: Log
  readonly #cache = new DnsCache()
  /** By question: those under way and those that wait for a place. */
  readonly #flights = new Map<string, Flight>()
  readonly #queue = new Set<Flight>()
  readonly #answered: (values: readonly [string], n?: number) => void
  readonly #looked: (values: readonly [string], n?: number) => void
  readonly #took: (values: readonly [string], seconds: number) => void
  #config: DnsConfig
  #upstreams: Upstreams
  #active = 0
  /** Counts how often the cache was made void. */
  #epoch = 0
  #filling = false
  /** In this turn. */
  #begun = 0
  #closed = false

  constructor({ config, clock, log, meter = new Meter() }: ResolverOptions) {
    this.#clock = clock
    this.#log = log
    this.#config = config
    this.#upstreams = new Upstreams(config, log)
    this.#answered = meter.counter('posthorn_dns_queries_total', 'Questions to resolvers, by how they ended', [
      'result',
    ])
    this.#looked = meter.counter('posthorn_dns_lookups_total', 'Questions of plugins, by where the answer came from', [
      'from',
    ])
    const bounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5]
    this.#took = meter.histogram('posthorn_dns_seconds', 'Time of one question to one resolver', ['server'], bounds)
    const gauge = (name: string, help: string, value: () => number) =>
      meter.gauge(name, help, [], () => [{ labels: [], value: value() }])
    gauge('posthorn_dns_cached', 'Answers in the cache', () => this.#cache.size)
    gauge('posthorn_dns_active', 'Questions under way', () => this.#active)
    gauge('posthorn_dns_waiting', 'Questions that wait for a place', () => this.#queue.size)
  }

  /** Other settings from now on; other servers make the cache void. Questions under way end as they began. */
  configure(config: DnsConfig): void {
    const before = this.#config
    this.#config = config
    this.#upstreams = new Upstreams(config, this.#log, this.#upstreams)
    const who = ({ servers, trusted }: DnsConfig) => JSON.stringify([servers, trusted])
    if (who(before) !== who(config)) {
      this.#cache.clear()
      this.#epoch++
    }
    this.#fill()
  }

  /** Ends all questions with `aborted`, now and later. */
  close(): void {
    this.#closed = true
    for (const flight of this.#flights.values()) {
      this.#finish(flight, new DnsError('aborted', `${say(flight.question)}: the server is shutting down`))
    }
  }

  resolve<T extends DnsType>(name: string, type: T, signal?: AbortSignal): Promise<DnsAnswer<T>> {
    const wire = wireName(name)
    if (wire === undefined) return Promise.resolve(impossible)
    const question = { name: wire, type }
    if (signal?.aborted || this.#closed) return Promise.reject(new DnsError('aborted', `${say(question)}: not asked`))
    const key = `${type} ${wire}`
    const kept = this.#cache.get(key, this.#clock.monotonic())
    if (kept !== undefined) {
      this.#looked(['cache'])
      return kept instanceof DnsError ? Promise.reject(kept) : Promise.resolve(kept as DnsAnswer<T>)
    }
    return this.#wait(key, question, signal) as Promise<DnsAnswer<T>>
  }

  reverse(ip: string, signal?: AbortSignal): Promise<DnsAnswer<'PTR'>> {
    return reverse(this, ip, signal)
  }

  confirmedNames(ip: string, signal?: AbortSignal): Promise<readonly string[]> {
    return confirmedNames(this, ip, signal)
  }

  #wait(key: string, question: Question, signal: AbortSignal | undefined): Promise<DnsAnswer> {
    let flight = this.#flights.get(key)
    this.#looked([flight === undefined ? 'resolver' : 'shared'])
    if (flight === undefined) {
      const { concurrency } = this.#config
      if (this.#active >= concurrency && this.#queue.size >= concurrency * waitersPerPlace) {
        this.#answered(['busy'])
        return Promise.reject(new DnsError('busy', `${say(question)}: too many questions wait already`))
      }
      flight = {
        key,
        question,
        waiters: new Set(),
        since: this.#clock.monotonic(),
        cancel: () => {},
        state: 'waiting',
        epoch: this.#epoch,
      }
      this.#flights.set(key, flight)
      this.#queue.add(flight)
    }
    const mine = flight
    const waiting = new Promise<DnsAnswer>((done, fail) => {
      const waiter: Waiter = {
        done(answer) {
          signal?.removeEventListener('abort', leave)
          done(answer)
        },
        fail(error) {
          signal?.removeEventListener('abort', leave)
          fail(error)
        },
      }
      const leave = () => {
        mine.waiters.delete(waiter)
        fail(new DnsError('aborted', `${say(question)}: nobody waits any more`, signal?.reason))
        if (mine.waiters.size === 0) this.#finish(mine, new DnsError('aborted', 'nobody waits any more'))
      }
      mine.waiters.add(waiter)
      signal?.addEventListener('abort', leave, { once: true })
    })
    this.#fill()
    return waiting
  }

  /** Begins as many questions as there are places. */
  #fill(): void {
    // Ending a question makes place for others: once is enough.
    if (this.#filling) return
    this.#filling = true
    for (const flight of this.#queue) {
      if (this.#active >= this.#config.concurrency || this.#begun >= perTurn) break
      if (this.#clock.monotonic() - flight.since > this.#config.timeout) {
        this.#finish(flight, new DnsError('busy', `${say(flight.question)}: waited too long for its turn`))
        continue
      }
      this.#queue.delete(flight)
      flight.state = 'flying'
      this.#active++
      if (this.#begun++ === 0) setImmediate(() => this.#nextTurn())
      this.#fly(flight)
    }
    this.#filling = false
  }

  #nextTurn(): void {
    this.#begun = 0
    this.#fill()
  }

  /** Asks one server after the other until one knows; `attempts` rounds over those that were silent. */
  #fly(flight: Flight): void {
    const { attempts, timeout } = this.#config
    const upstreams = this.#upstreams
    const failures = new Map<Upstream, Failure>()
    let left: Upstream[] = []
    let round = 0
    const next = () => {
      if (left.length === 0 && round < attempts) {
        // Who spoke has said it: only silence is worth another try.
        const order = upstreams.order(this.#clock.monotonic())
        left = order.filter(one => round === 0 || failures.get(one)?.silent === true)
        round++
      }
      const upstream = left.shift()
      if (upstream === undefined) return this.#fail(flight, failures)
      const began = this.#clock.monotonic()
      flight.cancel = exchange(upstream, flight.question, { clock: this.#clock, timeout }, ending => {
        const now = this.#clock.monotonic()
        this.#took([upstream.label], (now - began) / 1_000)
        if ('failure' in ending && ending.silent) upstreams.silent(upstream, ending.text, now)
        else upstreams.spoke(upstream)
        if ('answer' in ending) return this.#succeed(flight, ending.answer, upstream)
        failures.set(upstream, ending)
        next()
      })
    }
    next()
  }

  #succeed(flight: Flight, { status, records, name, ad, ttl, size }: WireAnswer, upstream: Upstream): void {
    const { cache } = this.#config
    const limit = (status === 'ok' ? cache.maxTtl : Math.min(cache.maxTtl, cache.negativeTtl)) / 1_000
    const kept = Math.max(Math.min(ttl ?? 0, limit), cache.minTtl / 1_000)
    const answer: DnsAnswer = Object.freeze({ status, records, name, secure: ad && upstream.trusted, ttl: kept })
    this.#keep(flight, answer, kept * 1_000, status === 'ok' ? size : small)
    this.#finish(flight, answer)
  }

  #fail(flight: Flight, failures: ReadonlyMap<Upstream, Failure>): void {
    const reasons = [...failures].map(([{ label }, { text }]) => `${label} ${text}`)
    const why = reasons.length === 0 ? 'there is no resolver to ask' : reasons.join(', ')
    const error = new DnsError(gravest([...failures.values()]), `${say(flight.question)}: ${why}`)
    this.#keep(flight, error, failureKept, small)
    this.#finish(flight, error)
  }

  #keep({ key, epoch }: Flight, value: DnsAnswer | DnsError, ms: number, octets: number): void {
    if (epoch !== this.#epoch) return
    this.#cache.set(key, value, ms, this.#clock.monotonic(), octets, this.#config.cache.entries)
  }

  #finish(flight: Flight, result: DnsAnswer | DnsError): void {
    if (flight.state === 'over') return
    if (flight.state === 'flying') this.#active--
    flight.state = 'over'
    flight.cancel()
    this.#flights.delete(flight.key)
    this.#queue.delete(flight)
    this.#answered([result instanceof DnsError ? result.kind : result.status])
    for (const waiter of flight.waiters) {
      if (result instanceof DnsError) waiter.fail(result)
      else waiter.done(result)
    }
    flight.waiters.clear()
    this.#fill()
  }
}

const say = ({ name, type }: Question) => `${type} ${name}`

/** A name that cannot exist, so nobody is asked. */
const impossible = Object.freeze({
  status: 'nxdomain' as const,
  records: Object.freeze([]),
  name: '',
  secure: false,
  ttl: 86_400,
})

/** What a failure of several servers is called: by the one that said most. */
function gravest(failures: readonly Failure[]): DnsError['kind'] {
  const kinds = failures.map(({ failure }) => failure)
  return (['servfail', 'refused', 'malformed'] as const).find(kind => kinds.includes(kind)) ?? 'timeout'
}
