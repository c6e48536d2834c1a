// What the operator wants of a recipient domain: TLS, mail servers to believe, limits.
import { fitsPattern, type LaneLimits, patternsOf } from '@posthorn/core'
import { laneLimits, type TlsPolicy, tlsPolicy } from '@posthorn/core/client'
import type { Options } from './options.ts'

export interface DestinationRule {
  /** The pattern that it stands under; '' for the default. */
  readonly name: string
  readonly tls: TlsPolicy
  /** For messages with REQUIRETLS (RFC 8689 §4.2.1): as `tls`, but always verified. */
  readonly requireTls: TlsPolicy
  readonly limits: LaneLimits
  /** Whether the operator vouches for a mail server of this name; undefined: nothing was said. */
  vouches(host: string): boolean | undefined
}

/** The rule of a domain: the nearest pattern's, else the default. Throws POSTHORN_HOP_TLS. */
export function destinationRules(plugin: string, options: Options): (domain: string) => DestinationRule {
  const { destinations, connections, perMinute, maxRecipients, retry, expire, tls, certificate } = options
  const base = { connections, perMinute, maxRecipients, retry, expire, tls, certificate }
  const make = (name: string, own: Partial<Options['destinations'][string]>): DestinationRule => {
    const merged = { ...base, ...defined(own) }
    const policy = tlsPolicy(plugin, merged)
    const patterns = own.mx === undefined ? undefined : new Set(own.mx)
    return {
      name,
      tls: policy,
      requireTls: policy.mode === 'verify' ? policy : { ...policy, mode: 'verify' },
      limits: {
        ...laneLimits(merged),
        ...(merged.retry === undefined ? {} : { retry: merged.retry }),
        ...(merged.expire === undefined ? {} : { expire: merged.expire }),
      },
      vouches: host => (patterns === undefined ? undefined : fitsPattern(host, patterns)),
    }
  }
  const rules = new Map(Object.entries(destinations).map(([name, own]) => [name, make(name, own)]))
  const otherwise = make('', {})
  return domain => {
    if (rules.size === 0) return otherwise
    for (const pattern of patternsOf(domain)) {
      const rule = rules.get(pattern)
      if (rule !== undefined) return rule
    }
    return otherwise
  }
}

/** What is given, without what is not. */
function defined<T extends object>(given: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as never
}
