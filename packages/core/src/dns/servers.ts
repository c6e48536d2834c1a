// Whom to ask, in which order, and whose word counts: servers that were silent go last for a while, and are never forgotten.
import { Resolver } from 'node:dns'
import type { DnsConfig } from '../config/contract.ts'
import { parseServer } from '../config/dns-schema.ts'
import { formatListen } from '../config/listeners.ts'
import type { Log } from '../log.ts'
import { Networks } from '../smtp/networks.ts'
import type { Server } from './exchange.ts'

/** Milliseconds that a silent server goes last: doubled each time, up to the second. */
const firstRest = 1_000
const longestRest = 60_000
/** Failures in a row that are worth a line in the log: one alone may be the fault of whose domain was asked for. */
const loudFrom = 3

const loopback = ['127.0.0.0/8', '::1/128']

export interface Upstream extends Server {
  /** `127.0.0.1:53` */
  readonly label: string
  /** Its AD bit is believed. */
  readonly trusted: boolean
}

interface Health {
  failures: number
  restUntil: number
}

export class Upstreams {
  readonly all: readonly Upstream[]
  readonly #health: ReadonlyMap<string, Health>
  readonly #log: Log

  /** `before`: the ones that these replace; what is known of a server that stays is kept. */
  constructor({ servers, trusted }: DnsConfig, log: Log, before?: Upstreams) {
    const believed = new Networks([...loopback, ...trusted], 'dns.trusted')
    const list = servers ?? machineServers()
    this.#log = log
    this.all = list.map(({ host, port }) => ({
      host,
      port,
      label: formatListen({ kind: 'tcp', host, port }),
      trusted: believed.has(host),
    }))
    const known = before === undefined ? undefined : before.#health
    this.#health = new Map(this.all.map(({ label }) => [label, known?.get(label) ?? { failures: 0, restUntil: 0 }]))
  }

  /** In the order to ask now: as configured, those that rest behind the others. */
  order(now: number): readonly Upstream[] {
    const rests = (one: Upstream) => (this.#health.get(one.label)?.restUntil ?? 0) > now
    return this.all.some(rests) ? [...this.all.filter(one => !rests(one)), ...this.all.filter(rests)] : this.all
  }

  /** It answered, if only to refuse. */
  spoke({ label }: Upstream): void {
    const health = this.#health.get(label)
    if (health === undefined || health.failures === 0) return
    if (health.failures >= loudFrom) this.#log.info({ server: label }, 'the resolver answers again')
    health.failures = 0
    health.restUntil = 0
  }

  silent({ label }: Upstream, why: string, now: number): void {
    const health = this.#health.get(label)
    // Questions that were sent together fail together: that is one failure.
    if (health === undefined || health.restUntil > now) return
    health.restUntil = now + Math.min(firstRest * 2 ** health.failures, longestRest)
    health.failures++
    if (health.failures === loudFrom) this.#log.warn({ server: label }, `the resolver ${why}: it is asked last now`)
  }
}

/** Those of the machine, read anew: of /etc/resolv.conf on Unix, 127.0.0.1 where it names none. */
function machineServers(): readonly Server[] {
  return new Resolver().getServers().flatMap(text => parseServer(text) ?? [])
}
