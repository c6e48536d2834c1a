// Lists of networks in CIDR form, compiled once.
import { BlockList, isIP, isIPv6 } from 'node:net'
import { PosthornError } from '../errors.ts'

export class Networks {
  readonly #list = new BlockList()
  readonly #empty: boolean

  /** Throws POSTHORN_CONFIG_NETWORK for what is no network; `at` says where it stands in the configuration. */
  constructor(networks: readonly string[], at: string) {
    this.#empty = networks.length === 0
    networks.forEach((network, index) => {
      const [address = '', prefix, ...rest] = network.split('/')
      const family = isIP(address)
      const bits = family === 6 ? 128 : 32
      const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1
      if (family === 0 || length < 0 || length > bits || rest.length > 0) {
        throw new PosthornError('POSTHORN_CONFIG_NETWORK', `not a network: ${JSON.stringify(network)}`, {
          at: `${at}[${index}]`,
          fix: 'Write an address or a network like 192.0.2.0/24 or 2001:db8::/32.',
        })
      }
      this.#list.addSubnet(address, length, family === 6 ? 'ipv6' : 'ipv4')
    })
  }

  /** False for what is no address, as of a unix socket. */
  has(ip: string): boolean {
    return !this.#empty && isIP(ip) !== 0 && this.#list.check(ip, isIPv6(ip) ? 'ipv6' : 'ipv4')
  }
}

/** The one spelling of an address that we use: IPv4 out of its IPv6 form, IPv6 by RFC 5952 without a zone. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return ''
  if (!address.includes(':')) return address
  const zone = address.indexOf('%')
  const ip = (zone < 0 ? address : address.slice(0, zone)).toLowerCase()
  if (ip.startsWith('::ffff:') && isIP(ip.slice(7)) === 4) return ip.slice(7)
  return isIPv6(ip) ? new URL(`http://[${ip}]`).hostname.slice(1, -1) : ip
}
