// From a domain to the hosts that take its mail (RFC 5321 §5.1): MX, the domain itself where there is none, or the
// reason why nobody does.
import { type Dns, DnsError, type Outcome } from '@posthorn/core'

export interface MailHost {
  readonly name: string
  /** The preference: lower is better. */
  readonly priority: number
  /** An address literal: nothing to look up. */
  readonly address?: string
}

export interface MailHosts {
  readonly kind: 'hosts'
  readonly hosts: readonly MailHost[]
  /** Found by MX; else the domain is its own host. */
  readonly mx: boolean
  /** DNSSEC vouches for the names. */
  readonly secure: boolean
}

/** Hosts of one domain that are looked at; a domain with more has no need of them all. */
const most = 20

/** The hosts of a domain in canonical form. Rejects only with what is no DnsError. */
export async function mailHosts(dns: Dns, domain: string, signal: AbortSignal): Promise<MailHosts | Outcome> {
  const literal = addressOf(domain)
  if (literal !== undefined) {
    return { kind: 'hosts', hosts: [{ name: domain, priority: 0, address: literal }], mx: false, secure: true }
  }
  try {
    const { status, records, secure } = await dns.resolve(domain, 'MX', signal)
    if (status === 'nxdomain') return noDomain(domain)
    if (records.length === 0) return { kind: 'hosts', hosts: [{ name: domain, priority: 0 }], mx: false, secure }
    const hosts = records
      .filter(({ exchange }) => exchange !== '' && exchange !== '.')
      .map(({ exchange, preference }) => ({ name: exchange.toLowerCase(), priority: preference }))
    if (hosts.length === 0) return nullMx(domain)
    const unique = new Map<string, MailHost>()
    for (const host of hosts.sort((a, b) => a.priority - b.priority)) {
      if (unique.size < most && !unique.has(host.name)) unique.set(host.name, host)
    }
    return { kind: 'hosts', hosts: [...unique.values()], mx: true, secure }
  } catch (error) {
    if (error instanceof DnsError) return dnsTrouble(domain, error)
    throw error
  }
}

/** `[192.0.2.1]` → `192.0.2.1`; undefined for a name. */
export function addressOf(domain: string): string | undefined {
  if (!domain.startsWith('[')) return undefined
  return domain.startsWith('[IPv6:') ? domain.slice(6, -1) : domain.slice(1, -1)
}

const refuse = (code: 550 | 556, enhanced: `5.${number}.${number}`, text: string): Outcome => ({
  kind: 'reject',
  code,
  enhanced,
  text,
  scope: 'recipient',
})

/** RFC 7505 §4.2. */
const nullMx = (domain: string) => refuse(556, '5.1.10', `${domain} takes no mail (null MX)`)

export const noDomain = (domain: string) => refuse(550, '5.1.2', `The domain ${domain} does not exist`)

/** Neither MX nor address, for certain: RFC 5321 §5.1 wants it reported. */
export const noHost = (domain: string) => refuse(550, '5.1.2', `The domain ${domain} has no mail server`)

/** The DNS gave no answer: that is nobody's refusal. */
export function dnsTrouble(name: string, { kind, message }: DnsError): Outcome {
  return {
    kind: 'defer',
    code: 451,
    enhanced: '4.4.3',
    text: `No answer from the DNS for ${name}`,
    reason: `DNS: ${message} (${kind})`,
    scope: kind === 'aborted' ? 'message' : 'lane',
  }
}
