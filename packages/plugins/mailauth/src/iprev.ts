// Forward-confirmed reverse DNS of the client (RFC 8601 §2.7.3, §3), within the message's share of questions.
import { BlockList, isIPv6 } from 'node:net'
import type { Iprev } from './keys.ts'
import type { Lookups } from './lookups.ts'

/** Names that are tried: whoever owns the reverse zone chooses how many there are. */
const mostNames = 3

export async function checkIprev(ip: string, lookups: Lookups): Promise<Iprev> {
  const reverse = await lookups.reverse(ip)
  if ('code' in reverse) {
    return { result: reverse.code === 'ENOTFOUND' || reverse.code === 'ENODATA' ? 'permerror' : 'temperror', ip }
  }
  const names = reverse.records.filter(record => typeof record === 'string').slice(0, mostNames)
  const type = isIPv6(ip) ? 'AAAA' : 'A'
  const answers = await Promise.all(names.map(name => lookups.ask(name, type, 'iprev')))
  const client = new BlockList()
  client.addAddress(ip, isIPv6(ip) ? 'ipv6' : 'ipv4')
  const family = type === 'A' ? 'ipv4' : 'ipv6'
  const found = names.find((_, i) => {
    const answer = answers[i]
    return (
      answer !== undefined &&
      'records' in answer &&
      answer.records.some(address => typeof address === 'string' && client.check(address, family))
    )
  })
  if (found !== undefined) return { result: 'pass', ip, name: found.slice(0, 253) }
  const unsure = answers.some(answer => 'code' in answer && answer.code !== 'ENOTFOUND' && answer.code !== 'ENODATA')
  return { result: unsure ? 'temperror' : 'fail', ip }
}
