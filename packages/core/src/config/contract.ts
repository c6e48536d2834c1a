import type { Role } from '../session.ts'

/** The configuration after validation: every default filled in, paths absolute, durations in ms, sizes in octets, secrets read. */
export interface Config {
  /** Our name in greetings, Received and reports. */
  readonly hostname: string
  /** Data folder, 0700. */
  readonly data: string
  readonly listeners: readonly ListenerConfig[]
  readonly tls: TlsConfig
  readonly trust: TrustConfig
  readonly limits: LimitsConfig
  readonly body: BodyConfig
  readonly queue: QueueConfig
  readonly dns: DnsConfig
  readonly trace: { readonly keep: number; readonly max: number }
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent'; readonly file?: string }
  readonly control: { readonly socket: string }
  /** How long a replaced generation may live on in its sessions. */
  readonly drain: number
  /** One SMTP reply for different answers at the dot. */
  readonly mixed: 'junk' | 'discard' | 'bounce' | 'split'
  readonly plugins: readonly PluginConfig[]
}

export interface ListenerConfig {
  readonly name: string
  readonly role: Exclude<Role, 'access' | 'internal'>
  /** Where to listen: `127.0.0.1:25`, `[::]:25`, `25`, `unix:/path`, `fd:3`. */
  readonly listen: readonly ListenAddress[]
  /** `implicit`: TLS from the first octet. `starttls`: offered. */
  readonly tls: 'none' | 'starttls' | 'implicit'
  /** MAIL before STARTTLS gets 530 5.7.0. */
  readonly requireTls: boolean
  readonly auth: 'off' | 'optional' | 'required'
  /** AUTH without TLS: never, unless somebody says so here. */
  readonly insecureAuth: boolean
  /** Connections from `trust.proxy` networks begin with a PROXY header, v1 or v2. */
  readonly proxy: boolean
  readonly hostname: string
  readonly banner?: string
  readonly binarymime: boolean
  /** What to do with bare CR or LF: refuse the message (550 5.6.0), or make it CRLF. */
  readonly bareNewlines: 'refuse' | 'normalise'
  /** Whose MT-PRIORITY counts (RFC 6710): urgent mail goes before other mail of its lane. */
  readonly priorities: 'users' | 'all' | 'off'
  readonly limits: LimitsConfig
}

export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'fd'; readonly fd: number }

export interface TlsConfig {
  /** PEM files, the chain included; read again at reload. Absent: a self-signed one is made in the data folder. */
  readonly default?: CertificateConfig
  /** By SNI name, `*.example.org` allowed. */
  readonly names: Readonly<Record<string, CertificateConfig>>
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3'
  /** Ask clients for certificates; those that verify against `ca` are `authorized`. */
  readonly clients: { readonly request: boolean; readonly ca?: string }
}
export interface CertificateConfig {
  readonly cert: string
  readonly key: string
}

/** CIDR networks. */
export interface TrustConfig {
  readonly proxy: readonly string[]
  readonly xclient: readonly string[]
}

export interface LimitsConfig {
  readonly connections: number
  readonly connectionsPerIp: number
  readonly messageSize: number
  readonly recipients: number
  readonly messagesPerConnection: number
  /** Commands of one session that do no work (NOOP, RSET, VRFY, HELP …) before 421. */
  readonly idleCommands: number
  /** Errors (5xx, unknown commands) of one session before 421. */
  readonly errors: number
  readonly commandLine: number
  readonly headerSize: number
  readonly headerFields: number
  readonly headerLines: number
  /** Milliseconds without an octet from the client (RFC 5321 §4.5.3.2.7 wants five minutes). */
  readonly idle: number
  /** Milliseconds a whole session may last. */
  readonly session: number
  /** Milliseconds the body of one message may take. */
  readonly dataTime: number
  /** Octets per second that a body must reach after its first 30 seconds, seen over 30 seconds. */
  readonly minRate: number
}

export interface BodyConfig {
  /** Octets of one message in memory at most; what is larger goes to a file. */
  readonly memory: number
  /** Octets of all messages under way in memory before sockets are paused. */
  readonly inflight: number
  /** Milliseconds that taps' `end`, `seal` and `queue` share. */
  readonly deadline: number
}

export interface QueueConfig {
  /** Milliseconds between attempts; the last repeats. */
  readonly retry: readonly number[]
  readonly expire: number
  readonly delayReport: number
  readonly concurrency: number
  readonly maxRecipients: number
  readonly handover: { readonly messages: number; readonly bytes: number }
  readonly held: { readonly keep: number; readonly max: number }
  /** Milliseconds that failures of one message gather into one report. */
  readonly gather: number
}

export interface DnsConfig {
  /** In the order to ask; absent: those of the machine. */
  readonly servers?: readonly { readonly host: string; readonly port: number }[]
  /** CIDR networks of resolvers whose AD bit is believed, besides loopback. */
  readonly trusted: readonly string[]
  /** Milliseconds to wait for one resolver. */
  readonly timeout: number
  /** Rounds over all of them. */
  readonly attempts: number
  readonly concurrency: number
  readonly cache: {
    readonly entries: number
    readonly maxTtl: number
    readonly minTtl: number
    readonly negativeTtl: number
  }
}

/** One entry of `plugins`. */
export interface PluginConfig {
  /** As written: a short name, a package name or a path. */
  readonly use: string
  /** Its name in logs, order and state; the plugin's own where absent. */
  readonly as?: string
  readonly on?: readonly Role[]
  readonly unless?: UnlessConfig
  readonly onError: 'fail' | 'ignore'
  readonly objection: 'keep' | 'junk' | 'ignore'
  readonly timeout?: number
  readonly options: unknown
  /** `plugins[2]`, with `file:line` where known: for errors. */
  readonly at: string
}

/** Any of these being so skips the plugin's hooks for that call. */
export interface UnlessConfig {
  readonly net?: readonly string[]
  readonly user?: readonly string[]
  readonly listener?: readonly string[]
  readonly sender?: readonly string[]
  readonly recipient?: readonly string[]
  /** A state key that is set and not false: `access/allowed`. */
  readonly state?: readonly string[]
}
