// Which addresses of this machine others can reach, as far as the machine itself can know.
import type { NetworkInterfaceInfo } from 'node:os'
import { Networks } from '@posthorn/core'
import type { DnsFacts } from '@posthorn/core/runtime'

const nobodyElses = new Networks(
  [
    '0.0.0.0/8',
    '10.0.0.0/8',
    '100.64.0.0/10',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '172.16.0.0/12',
    '192.168.0.0/16',
    '224.0.0.0/3',
    '::/127',
    'fc00::/7',
    'fe80::/10',
    'ff00::/8',
  ],
  'addresses',
)

/** Public addresses that listeners are bound to, IPv4 first; of a listener on all addresses, those of the machine. */
export function publicAddresses(
  listeners: DnsFacts['listeners'],
  interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>,
): readonly string[] {
  const machine = Object.values(interfaces).flatMap(one => one ?? [])
  const all = listeners
    .filter(({ role }) => role !== 'lmtp')
    .flatMap(({ host }) => {
      if (host === '0.0.0.0') return machine.filter(({ family }) => family === 'IPv4').map(({ address }) => address)
      return host === undefined || host === '::' || host === '' ? machine.map(({ address }) => address) : [host]
    })
  const found = [...new Set(all)].filter(address => /^[\d.]+$|:/.test(address) && !nobodyElses.has(address))
  return [...found.filter(address => !address.includes(':')), ...found.filter(address => address.includes(':'))]
}
