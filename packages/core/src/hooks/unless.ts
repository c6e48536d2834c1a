// The operator's `unless`: conditions that let somebody past a plugin. Compiled once, at boot; any one of them being so
// is enough.
import { BlockList, isIP, isIPv4 } from 'node:net'
import type { UnlessConfig } from '../config/contract.ts'
import { PosthornError } from '../errors.ts'
import type { Facts } from './contract.ts'

type Test = (facts: Facts) => boolean

/** Throws POSTHORN_UNLESS_INVALID, which names the place, for networks and addresses that are none. */
export function compileUnless(unless: UnlessConfig, at: string): Test | undefined {
  const tests: Test[] = []
  if (unless.net !== undefined) {
    const nets = networks(unless.net, `${at}.unless.net`)
    tests.push(({ origin: { client } }) => client !== undefined && contains(nets, client.ip))
  }
  if (unless.user !== undefined) {
    const users = new Set(unless.user)
    tests.push(({ origin }) => origin.auth !== undefined && users.has(origin.auth.user))
  }
  if (unless.listener !== undefined) {
    const names = new Set(unless.listener)
    tests.push(({ origin }) => names.has(origin.listener.name))
  }
  if (unless.sender !== undefined) {
    const matches = addresses(unless.sender, `${at}.unless.sender`)
    tests.push(({ sender }) => sender !== undefined && matches(sender))
  }
  if (unless.recipient !== undefined) {
    const matches = addresses(unless.recipient, `${at}.unless.recipient`)
    tests.push(({ recipient }) => recipient !== undefined && matches(recipient))
  }
  for (const name of unless.state ?? []) {
    tests.push(facts => {
      const value = facts.state(name)
      return value !== undefined && value !== null && value !== false
    })
  }
  const [only] = tests
  return tests.length <= 1 ? only : facts => tests.some(test => test(facts))
}

function networks(written: readonly string[], at: string): BlockList {
  const list = new BlockList()
  for (const [i, text] of written.entries()) {
    const [, ip = '', length] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? []
    const version = isIP(ip)
    const bits = length === undefined ? undefined : Number(length)
    if (version === 0 || (bits !== undefined && bits > (version === 4 ? 32 : 128))) {
      throw new PosthornError('POSTHORN_UNLESS_INVALID', `${JSON.stringify(text)} is not a network`, {
        at: `${at}[${i}]`,
        fix: 'Write an address or a CIDR network: 192.0.2.0/24, 2001:db8::/32.',
      })
    }
    if (bits === undefined) list.addAddress(ip, version === 4 ? 'ipv4' : 'ipv6')
    else list.addSubnet(ip, bits, version === 4 ? 'ipv4' : 'ipv6')
  }
  return list
}

const contains = (nets: BlockList, ip: string): boolean =>
  isIP(ip) !== 0 && nets.check(ip, isIPv4(ip) ? 'ipv4' : 'ipv6')

/** `anna@example.org`, `@example.org` or `example.org`; `<>` is the null sender. Domains compare without case, local parts with. */
function addresses(written: readonly string[], at: string): (address: string) => boolean {
  const domains = new Set<string>()
  const full = new Set<string>()
  for (const [i, text] of written.entries()) {
    const cut = text.lastIndexOf('@')
    const domain = text.slice(cut + 1).toLowerCase()
    if (text === '<>') full.add('')
    else if (domain === '' || /[\s<>]/.test(text)) {
      throw new PosthornError('POSTHORN_UNLESS_INVALID', `${JSON.stringify(text)} is not an address or a domain`, {
        at: `${at}[${i}]`,
        fix: 'Write anna@example.org, @example.org or example.org; <> is the null sender.',
      })
    } else if (cut <= 0) domains.add(domain)
    else full.add(text.slice(0, cut + 1) + domain)
  }
  return address => {
    const cut = address.lastIndexOf('@')
    if (cut < 0) return full.has(address)
    const domain = address.slice(cut + 1).toLowerCase()
    return domains.has(domain) || full.has(address.slice(0, cut + 1) + domain)
  }
}
