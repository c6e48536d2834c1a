// Forward-confirmed reverse DNS: which of an address's names are true (RFC 8601 §2.7.3, RFC 1912 §2.1).
import { isIPv6 } from 'node:net'
import { type Dns, type DnsAnswer, DnsError } from './contract.ts'
import { reverseName, sameIp } from './names.ts'

/** Names tried of one address: whoever owns the reverse zone chooses how many there are. */
const mostNames = 10

/** PTR of an address through `resolve`; what is no address has no name. */
export async function reverse(dns: Pick<Dns, 'resolve'>, ip: string, signal?: AbortSignal): Promise<DnsAnswer<'PTR'>> {
  const name = reverseName(ip)
  if (name === undefined) return { status: 'nxdomain', records: [], name: '', secure: false, ttl: 0 }
  return dns.resolve(name, 'PTR', signal)
}

/**
 * See {@link Dns.confirmedNames}. A name whose addresses cannot be had now is left out if another one is confirmed;
 * with none, its DnsError is thrown: nobody is called nameless because a server was down.
 */
export async function confirmedNames(
  dns: Pick<Dns, 'resolve' | 'reverse'>,
  ip: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { records } = await dns.reverse(ip, signal)
  const type = isIPv6(ip) && reverseName(ip)?.endsWith('.ip6.arpa') === true ? 'AAAA' : 'A'
  const names = [...new Set(records)].slice(0, mostNames)
  const answers = await Promise.allSettled(names.map(name => dns.resolve(name, type, signal)))
  const confirmed = names.filter((_, i) => {
    const answer = answers[i]
    return answer?.status === 'fulfilled' && answer.value.records.some(address => sameIp(address, ip))
  })
  if (confirmed.length === 0) {
    for (const answer of answers) {
      if (answer.status === 'fulfilled') continue
      throw answer.reason instanceof DnsError ? answer.reason : new DnsError('malformed', String(answer.reason))
    }
  }
  return confirmed
}
