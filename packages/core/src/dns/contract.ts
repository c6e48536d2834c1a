import { token } from '../token.ts'

/** What a question may ask for. */
export type DnsType = 'A' | 'AAAA' | 'MX' | 'TXT' | 'PTR' | 'CNAME' | 'NS' | 'SOA' | 'SRV' | 'TLSA' | 'CAA'

/** The data of one record, by type: addresses and names as text (names in lower case, without the final dot; the root, as in a null MX, is `''`). */
export interface DnsData {
  readonly A: string
  readonly AAAA: string
  readonly MX: { readonly preference: number; readonly exchange: string }
  /** The strings of one record, joined (RFC 7208 §3.3), octets as Latin-1 where they are not UTF-8. */
  readonly TXT: string
  readonly PTR: string
  readonly CNAME: string
  readonly NS: string
  readonly SOA: { readonly mname: string; readonly rname: string; readonly serial: number; readonly minimum: number }
  readonly SRV: { readonly priority: number; readonly weight: number; readonly port: number; readonly target: string }
  readonly TLSA: {
    readonly usage: number
    readonly selector: number
    readonly matching: number
    readonly data: Uint8Array
  }
  readonly CAA: { readonly critical: boolean; readonly tag: string; readonly value: string }
}

/** An answer, also a negative one; from the cache or from a server. */
export interface DnsAnswer<T extends DnsType = DnsType> {
  /** `nodata`: the name exists, with no such records. `nxdomain`: it does not exist. */
  readonly status: 'ok' | 'nodata' | 'nxdomain'
  readonly records: readonly DnsData[T][]
  /** The name that the records belong to, after CNAMEs; `''` where the name asked for cannot exist. */
  readonly name: string
  /** Validated by a resolver that we trust (the AD bit, RFC 6840 §5.8). */
  readonly secure: boolean
  /** Seconds left to live. */
  readonly ttl: number
}

/** No answer: the question may have one another time. SPF and DKIM call it temperror. */
export class DnsError extends Error {
  readonly kind: 'timeout' | 'servfail' | 'refused' | 'malformed' | 'aborted' | 'busy'
  constructor(kind: DnsError['kind'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'DnsError'
    this.kind = kind
  }
}

/** The process's resolver: cached, bounded, the same for every plugin. */
export interface Dns {
  /**
   * Asks for the records of a name (any case, U-labels too, with or without a final dot). Rejects with {@link DnsError}
   * after every server was tried; never for a negative answer.
   */
  resolve<T extends DnsType>(name: string, type: T, signal?: AbortSignal): Promise<DnsAnswer<T>>
  /** PTR of an IPv4 or IPv6 address. */
  reverse(ip: string, signal?: AbortSignal): Promise<DnsAnswer<'PTR'>>
  /** Names of the address whose own addresses contain it (RFC 1912 §2.1; RFC 8601 iprev): at most 10 are tried. */
  confirmedNames(ip: string, signal?: AbortSignal): Promise<readonly string[]>
}

export const Dns = token<Dns>('core/dns', ['resolve', 'reverse', 'confirmedNames'])
