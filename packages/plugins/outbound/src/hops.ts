// The next hops of one delivery, found as they are needed: hosts by preference, their addresses, and why there are none.
import type { Dns, Outcome, Queued } from '@posthorn/core'
import { byPriority, type HopMemory, hopKey, type NextHop, type TlsPolicy } from '@posthorn/core/client'
import type { DestinationRule } from './destinations.ts'
import { dnsTrouble, type MailHost, type MailHosts, noHost } from './mail-hosts.ts'
import { type Family, familyOf, type Reach } from './reach.ts'

/** As whom we go. */
export interface Identity {
  readonly name: string
  readonly helo?: string | undefined
  readonly ipv4?: string | undefined
  readonly ipv6?: string | undefined
}

export interface Journey {
  readonly domain: string
  readonly found: MailHosts
  readonly rule: DestinationRule
  readonly identity: Identity
  readonly message: Queued
  readonly signal: AbortSignal
  readonly now: number
}

export interface HopParts {
  readonly dns: Dns
  readonly reach: Reach
  readonly memory: HopMemory
  readonly port: number
  readonly chunking: boolean
}

/** Under this the memory knows that a whole family fails: a machine whose IPv6 leads nowhere. */
export const familyKey = (family: Family) => `family ${family}`

/** Hops that are kept, so that each is named and secured once. */
const mostKept = 10_000

export class Hops {
  readonly #parts: HopParts
  readonly #kept = new Map<string, NextHop>()

  constructor(parts: HopParts) {
    this.#parts = parts
  }

  /** Hops in the order to try them in, and what to say where there were none. */
  of(journey: Journey): { readonly hops: AsyncIterable<NextHop>; nowhere(): Outcome } {
    const trail = new Trail(journey)
    return { hops: this.#walk(journey, trail), nowhere: () => trail.outcome() }
  }

  async *#walk(journey: Journey, trail: Trail): AsyncGenerator<NextHop> {
    const { dns, reach, memory } = this.#parts
    const { found, identity, rule, message, signal, now } = journey
    const names = [message.origin.local.hostname, ...(identity.helo === undefined ? [] : [identity.helo])]
    const sources: Family[] = [
      ...(identity.ipv4 === undefined ? [] : ['ipv4' as const]),
      ...(identity.ipv6 === undefined ? [] : ['ipv6' as const]),
    ]
    const policy = message.params.requireTls && message.from !== null ? rule.requireTls : rule.tls
    const later = (family: Family) => memory.avoids(familyKey(family), now)
    const failedLately: NextHop[] = []
    for (const group of byPriority(found.hosts)) {
      // RFC 5321 §5.1: of the hosts as good as we are, or worse, none may be tried.
      if (group.some(({ name }) => reach.isOurName(name, names))) {
        trail.self = true
        break
      }
      const reached = await Promise.all(group.map(host => reach.find(dns, host, sources, later, now, signal)))
      if (reached.some(({ self }) => self)) {
        trail.self = true
        break
      }
      for (const [i, host] of group.entries()) {
        const { addresses, denied, missing, trouble } = reached[i] as (typeof reached)[number]
        trail.denied ||= denied
        trail.missing &&= missing
        if (trouble !== undefined) trail.trouble ??= dnsTrouble(host.name, trouble)
        if (!trusted(journey, policy, host)) {
          trail.untrusted ??= host.name
          continue
        }
        for (const address of addresses) {
          const hop = this.#hop(host, address, policy, journey)
          if (memory.avoids(hopKey(hop), now)) failedLately.push(hop)
          else yield hop
        }
      }
    }
    yield* failedLately
  }

  #hop(host: MailHost, address: string, tls: TlsPolicy, { identity, rule, message }: Journey): NextHop {
    const { port, chunking } = this.#parts
    const helo = identity.helo ?? message.origin.local.hostname
    const source = identity[familyOf(address)]
    const strict = tls === rule.tls ? '' : ' required'
    const key = `${host.name} ${address} ${rule.name}${strict} ${identity.name} ${helo}`
    let hop = this.#kept.get(key)
    if (hop === undefined) {
      if (this.#kept.size >= mostKept) this.#kept.clear()
      hop = {
        endpoint: { host: address, port, name: host.address ?? host.name },
        protocol: 'smtp',
        helo,
        tls,
        chunking,
        ...(source === undefined ? {} : { source }),
      }
      this.#kept.set(key, hop)
    }
    return hop
  }
}

/** Whether the name of the host may be believed, where it matters. */
function trusted({ rule, found, message }: Journey, policy: TlsPolicy, { name }: MailHost): boolean {
  const vouched = rule.vouches(name)
  if (vouched !== undefined) return vouched
  // RFC 8689 §4.2.1: a name that was found by MX is worth nothing unless DNSSEC, or somebody we know, vouches for it.
  const demanded = message.params.requireTls && message.from !== null
  return !demanded || !found.mx || found.secure || policy.pins !== undefined
}

/** What was met on the way: the outcome of a delivery that found no hop. */
class Trail {
  trouble: Outcome | undefined
  untrusted: string | undefined
  self = false
  denied = false
  missing = true
  readonly #journey: Journey

  constructor(journey: Journey) {
    this.#journey = journey
  }

  outcome(): Outcome {
    const { domain, found, message } = this.#journey
    if (this.trouble !== undefined) return this.trouble
    if (this.self) return loop(domain, message)
    if (this.untrusted !== undefined) return distrust(domain, this.untrusted, message)
    if (this.denied) {
      const text = `The mail servers of ${domain} have no address that can be used`
      return { kind: 'reject', code: 550, enhanced: '5.4.4', text, scope: 'recipient' }
    }
    if (!found.mx && this.missing) return noHost(domain)
    const text = `The mail servers of ${domain} have no address`
    return { kind: 'defer', code: 451, enhanced: '4.4.4', text, scope: 'lane' }
  }
}

/**
 * We are the best mail server ourselves, and no plugin delivers there (RFC 5321 §5.1). What came from the world was
 * accepted by somebody here: a route was lost, so it waits for us to find it again. What our own people send is
 * returned.
 */
function loop(domain: string, { origin }: Queued): Outcome {
  const text = `Mail for ${domain} loops back to us`
  const reason = `the best mail server of ${domain} is this one, and no plugin here delivers to it`
  const { role } = origin.listener
  const accepted = (role === 'mx' || role === 'lmtp') && origin.auth === undefined
  if (accepted) return { kind: 'defer', code: 451, enhanced: '4.4.6', text, reason, scope: 'lane' }
  return { kind: 'reject', code: 550, enhanced: '5.4.6', text, reason, scope: 'recipient' }
}

function distrust(domain: string, host: string, { params }: Queued): Outcome {
  const reason = `${host} is no mail server that anybody vouches for`
  if (params.requireTls) {
    const text = `REQUIRETLS is asked for, and nobody vouches for the mail servers of ${domain}`
    return { kind: 'reject', code: 550, enhanced: '5.7.30', text, reason, scope: 'recipient' }
  }
  const text = `The mail servers of ${domain} are not the ones that it should have`
  return { kind: 'defer', code: 451, enhanced: '4.7.5', text, reason, scope: 'lane' }
}
