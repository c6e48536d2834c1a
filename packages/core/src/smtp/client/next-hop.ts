// What names a connection to a next hop: where, how secured, as whom. Two equal ones may share a connection; anything
// that changes what the peer sees of us belongs in here, so that no identity leaks through the pool.
import { createHash } from 'node:crypto'

/** `name`: the host's name where `host` is an address that was looked up: for TLS, replies and logs. */
export type Endpoint =
  | { readonly host: string; readonly port: number; readonly name?: string }
  | { readonly path: string }

export interface TlsPolicy {
  /**
   * `opportunistic`: STARTTLS where offered, certificates unseen, plaintext where it fails. `require`: TLS or nothing,
   * certificates unseen. `verify`: a certificate that chains to `ca` (default: the system's) for `servername`, or
   * whose SHA-256 is one of `pins`.
   */
  readonly mode: 'none' | 'opportunistic' | 'require' | 'verify'
  /** TLS from the first octet (RFC 8314 §3.3). */
  readonly implicit?: boolean
  /** For SNI and verification; default the endpoint's name. */
  readonly servername?: string
  /** PEM. */
  readonly ca?: string
  /** SHA-256 of the peer's certificate, hex, colons allowed. Replaces the check of chain and name. */
  readonly pins?: readonly string[]
  /** Our certificate and key, PEM. */
  readonly cert?: string
  readonly key?: string
}

export interface ClientAuth {
  readonly user: string
  /** One of them: PLAIN or LOGIN with a password, XOAUTH2 with a token. */
  readonly password?: string
  readonly token?: string
  /** Sends them without TLS too: for a peer on this machine. */
  readonly insecure?: boolean
}

/** Attributes of the real client, for a peer that offers XCLIENT; those that it does not list are left out. */
export type XclientIdentity = Readonly<
  Partial<Record<'NAME' | 'ADDR' | 'PORT' | 'PROTO' | 'HELO' | 'LOGIN' | 'DESTADDR' | 'DESTPORT', string>>
>

export interface NextHop {
  readonly endpoint: Endpoint
  readonly protocol: 'smtp' | 'lmtp'
  /** Our name in EHLO. */
  readonly helo: string
  readonly tls: TlsPolicy
  readonly auth?: ClientAuth
  /** Source address. */
  readonly source?: string
  readonly xclient?: XclientIdentity
  /** The same attributes for XFORWARD, which says whose the next message is: such a connection serves one message. */
  readonly xforward?: XclientIdentity
  /** The PROXY line, sent before anything else. */
  readonly proxy?: string
  /** BDAT where offered; default true. BINARYMIME uses it in any case. */
  readonly chunking?: boolean
}

/** `host`, `host:port`, `[::1]:25`, `::1`, `unix:/path`; undefined for anything else. */
export function parseEndpoint(text: string, defaultPort: number): Endpoint | undefined {
  if (text.startsWith('unix:')) return text.startsWith('unix:/') ? { path: text.slice(5) } : undefined
  const found =
    /^\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?$/.exec(text) ??
    /^([A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(text) ??
    /^([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)()$/.exec(text)
  const host = found?.[1]
  const port = found?.[2] ? Number(found[2]) : defaultPort
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port }
}

/** `host:port` or `unix:/path`: what lanes and logs call it. */
export function endpointName(endpoint: Endpoint): string {
  if ('path' in endpoint) return `unix:${endpoint.path}`
  const host = endpoint.name ?? endpoint.host
  return `${host.includes(':') ? `[${host}]` : host}:${endpoint.port}`
}

/** The peer's name in reports: `Remote-MTA`. */
export function hostName(endpoint: Endpoint): string {
  return 'path' in endpoint ? 'localhost' : (endpoint.name ?? endpoint.host)
}

const keys = new WeakMap<NextHop, string>()

/** Equal for hops that may share a connection. A digest, so that no secret is in it. Kept, so hand in the same object. */
export function hopKey(hop: NextHop): string {
  let key = keys.get(hop)
  if (key === undefined) {
    const { endpoint, protocol, helo, tls, auth, source, xclient, xforward, proxy, chunking } = hop
    const who = [sorted(xclient), sorted(xforward), proxy]
    const parts = [endpoint, protocol, helo, sorted(tls), sorted(auth), source, ...who, chunking ?? true]
    const digest = createHash('sha256').update(JSON.stringify(parts)).digest('base64url')
    key = `${endpointName(endpoint)} ${digest}`
    keys.set(hop, key)
  }
  return key
}

function sorted(part: object | undefined): unknown {
  return part === undefined ? null : Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))
}
