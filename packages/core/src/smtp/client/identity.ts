// Telling a next hop who the real client is: XCLIENT, XFORWARD or PROXY. The identity is part of the hop, so that a
// connection that was opened for one client is never used for another.
import { isIPv4, isIPv6 } from 'node:net'
import type { Origin } from '../../session.ts'
import { hopKey, type NextHop, type XclientIdentity } from './next-hop.ts'

export const identityForms = ['xclient', 'xforward', 'proxy'] as const
export type IdentityForm = (typeof identityForms)[number]

const places = new WeakMap<NextHop, NextHop>()

/** The hop as it is dialled for this client; without one (our own mail) only PROXY says so. */
export function identified(hop: NextHop, form: IdentityForm, origin: Origin | undefined): NextHop {
  const found = identity(hop, form, origin)
  if (found !== hop) places.set(found, hop)
  return found
}

/** The key of the hop without whose mail it is: for what is known of the place, not of a connection. */
export function placeKey(hop: NextHop): string {
  return hopKey(places.get(hop) ?? hop)
}

function identity(hop: NextHop, form: IdentityForm, origin: Origin | undefined): NextHop {
  if (form === 'proxy') return { ...hop, proxy: proxyLine(origin) }
  const client = origin?.client
  if (origin === undefined || client === undefined || !isAddress(client.ip)) return hop
  const { helo, local, auth, protocol } = origin
  const attributes: XclientIdentity = {
    NAME: client.name ?? '[UNAVAILABLE]',
    ADDR: addressText(client.ip),
    ...(client.port === 0 ? {} : { PORT: String(client.port) }),
    PROTO: protocol === 'lmtp' ? 'LMTP' : helo?.verb === 'HELO' ? 'SMTP' : 'ESMTP',
    ...(helo === undefined ? {} : { HELO: helo.name }),
  }
  if (form === 'xforward') return { ...hop, xforward: attributes }
  const xclient: XclientIdentity = {
    ...attributes,
    ...(auth === undefined ? {} : { LOGIN: auth.user }),
    ...(isAddress(local.ip) ? { DESTADDR: addressText(local.ip), DESTPORT: String(local.port) } : {}),
  }
  return { ...hop, xclient }
}

const isAddress = (ip: string) => isIPv4(ip) || isIPv6(ip)
const addressText = (ip: string) => (isIPv6(ip) ? `IPV6:${ip}` : ip)

/** PROXY version 1 (haproxy.org, proxy-protocol.txt §2.1): both addresses of one family, or UNKNOWN. */
function proxyLine(origin: Origin | undefined): string {
  const { client, local } = origin ?? {}
  if (client === undefined || local === undefined) return 'PROXY UNKNOWN'
  const family = isIPv4(client.ip) && isIPv4(local.ip) ? 'TCP4' : isIPv6(client.ip) && isIPv6(local.ip) ? 'TCP6' : ''
  return family === '' ? 'PROXY UNKNOWN' : `PROXY ${family} ${client.ip} ${local.ip} ${client.port} ${local.port}`
}
