// Which addresses of a host may be dialled, and in which order: families that we have, never this machine nor what only
// this machine can reach, unless somebody says so.

import { isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { type Dns, DnsError, Networks, plainAddress } from '@posthorn/core'

export type Family = 'ipv4' | 'ipv6'

/** What a host's addresses are good for. */
export interface Reached {
  /** By family in the order of preference, by chance within one. */
  readonly addresses: readonly string[]
  /** One of them is this machine. */
  readonly self: boolean
  /** There were some that may not be dialled. */
  readonly denied: boolean
  /** The DNS has no such host, for certain. */
  readonly missing: boolean
  readonly trouble: DnsError | undefined
}

export interface ReachOptions {
  readonly families?: readonly Family[] | undefined
  /** Names and addresses that are us. */
  readonly self: readonly string[]
  readonly allow: Networks
  readonly deny: Networks
}

/** This machine, in any spelling: an MX that says so is a trap, or a loop. */
const loopback = new Networks(['0.0.0.0/8', '127.0.0.0/8', '::/96'], 'loopback')
// RFC 6890: link-local (cloud metadata services live there), multicast, reserved, discard, documentation of neither.
const unreachable = new Networks(
  ['169.254.0.0/16', '192.0.0.0/24', '224.0.0.0/3', '100::/64', 'fe80::/10', 'ff00::/8'],
  'unreachable',
)
const global6 = new Networks(['2000::/3'], 'global')

/** Milliseconds that this machine's addresses are believed. */
const fresh = 30_000

export class Reach {
  readonly #options: ReachOptions
  readonly #self: ReadonlySet<string>
  readonly #random: () => number
  #machine: { readonly at: number; readonly own: ReadonlySet<string>; readonly ipv6: boolean } | undefined

  constructor(options: ReachOptions, random: () => number = Math.random) {
    this.#options = options
    this.#self = new Set(options.self.map(one => plainAddress(one.toLowerCase())))
    this.#random = random
  }

  /** `names`: what we call ourselves besides. */
  isOurName(host: string, names: readonly string[]): boolean {
    return this.#self.has(host) || names.some(name => name.toLowerCase() === host)
  }

  /** The addresses of a host. `later`: families that failed a moment ago. Rejects only with what is no DnsError. */
  async find(
    dns: Dns,
    host: { readonly name: string; readonly address?: string },
    sources: readonly Family[],
    later: (family: Family) => boolean,
    now: number,
    signal: AbortSignal,
  ): Promise<Reached> {
    const machine = this.#look(now)
    const wanted = (this.#options.families ?? (machine.ipv6 ? ['ipv6', 'ipv4'] : ['ipv4'])).filter(
      family => sources.length === 0 || sources.includes(family),
    )
    const found: string[] = []
    let trouble: DnsError | undefined
    let missing = true
    if (host.address !== undefined) {
      found.push(plainAddress(host.address))
      missing = false
    } else {
      const ask = async (type: 'A' | 'AAAA') => {
        try {
          const { records } = await dns.resolve(host.name, type, signal)
          for (const address of records) found.push(plainAddress(address))
        } catch (error) {
          if (!(error instanceof DnsError)) throw error
          trouble = error
        }
      }
      const typeOf = (family: Family) => (family === 'ipv4' ? 'A' : 'AAAA')
      await Promise.all(wanted.map(family => ask(typeOf(family))))
      // What we cannot dial may be us, or tell why nobody can be. Nobody waits for it who has an address.
      const others = (['ipv4', 'ipv6'] as const).filter(family => !wanted.includes(family))
      if (found.length === 0 && trouble === undefined) await Promise.all(others.map(family => ask(typeOf(family))))
      missing = found.length === 0 && trouble === undefined
    }
    const { allow, deny } = this.#options
    const isSelf = (ip: string) => !allow.has(ip) && (machine.own.has(ip) || this.#self.has(ip) || loopback.has(ip))
    const isDenied = (ip: string) => deny.has(ip) || (!allow.has(ip) && unreachable.has(ip))
    const good = found.filter(ip => !isSelf(ip) && !isDenied(ip))
    const ordered = [...wanted].sort((a, b) => Number(later(a)) - Number(later(b)))
    return {
      addresses: ordered.flatMap(family => this.#shuffled(good.filter(ip => familyOf(ip) === family))),
      self: found.some(isSelf),
      denied: good.length < found.length,
      missing,
      trouble,
    }
  }

  #look(now: number) {
    if (this.#machine === undefined || now - this.#machine.at > fresh) {
      const own = new Set<string>()
      let ipv6 = false
      for (const { address, internal } of Object.values(networkInterfaces()).flatMap(list => list ?? [])) {
        const ip = plainAddress(address)
        own.add(ip)
        if (!internal && global6.has(ip)) ipv6 = true
      }
      this.#machine = { at: now, own, ipv6 }
    }
    return this.#machine
  }

  #shuffled(addresses: string[]): string[] {
    for (let i = addresses.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random() * (i + 1))
      ;[addresses[i], addresses[j]] = [addresses[j] as string, addresses[i] as string]
    }
    return addresses
  }
}

export const familyOf = (ip: string): Family => (isIPv6(ip) ? 'ipv6' : 'ipv4')
