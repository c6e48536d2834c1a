// One destination of the table: its lane, and its next hops in the order in which one message shall try them.
import type { LaneLimits, Origin } from '@posthorn/core'
import { byPriority, laneLimits, type NextHop, nextHops } from '@posthorn/core/client'
import type { Destination, Rule } from './options.ts'

export interface Ready {
  readonly lane: string
  readonly limits: LaneLimits
  /** How many hops. */
  readonly hops: number
  /** By priority, and by chance among equals. */
  order(hostname: string, origin?: Origin): readonly NextHop[]
}

/** Throws POSTHORN_HOP_TLS where a certificate file is no good. */
export function destinationOf(plugin: string, { name }: Rule, to: Destination, random = Math.random): Ready {
  const { hops, retry, expire } = to
  const hopsOf = nextHops(
    plugin,
    hops.map(({ hop }) => hop),
    to,
  )
  const places = hops.map(({ priority, weight }, at) => ({ priority, weight, at }))
  const inOrder = places.every(({ priority }, i) => i === 0 || priority > (places[i - 1]?.priority as number))
  return {
    lane: name ?? (hops[0]?.hop as string),
    limits: {
      ...laneLimits(to),
      ...(retry === undefined ? {} : { retry }),
      ...(expire === undefined ? {} : { expire }),
    },
    hops: hops.length,
    order(hostname, origin) {
      const ready = hopsOf(hostname, origin)
      if (inOrder) return ready
      return byPriority(places, random).flatMap(group => group.map(({ at }) => ready[at] as NextHop))
    },
  }
}
