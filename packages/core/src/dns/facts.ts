// What a configuration means for the DNS: our name, our domains, where we listen, our certificate's key, and what plugins
// want published. `posthorn dns` makes records of it; nothing here decides what is good advice.
import { createHash, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config/contract.ts'
import type { DnsContribution, DnsRecord } from './records.ts'

/** Answer of the control method `dns`. */
export interface DnsFacts {
  readonly hostname: string
  /** In the order of the configuration, in A-label form. */
  readonly domains: readonly string[]
  readonly listeners: readonly {
    readonly role: 'mx' | 'submission' | 'lmtp'
    readonly tls: 'none' | 'starttls' | 'implicit'
    /** Where it listens; absent for sockets that something else has opened, or that are no ports. */
    readonly host?: string
    readonly port?: number
  }[]
  /** SHA-256 of the public key of the certificate that clients without SNI see, in hexadecimal. */
  readonly key?: string
  /** What plugins want published, by domain. */
  readonly records: Readonly<Record<string, readonly DnsRecord[]>>
  /** Plugins that could not say, and why. */
  readonly silent: readonly { readonly from: string; readonly reason: string }[]
}

/** `also`: domains to ask plugins for, beside those that they call ours. Never rejects for what a plugin does. */
export async function dnsFacts(
  config: Config,
  contributions: readonly DnsContribution[],
  also: readonly string[] = [],
): Promise<DnsFacts> {
  const silent: { from: string; reason: string }[] = []
  const asked = async <T>(from: string, none: T, ask: () => T | Promise<T>): Promise<T> => {
    try {
      return await ask()
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (!silent.some(one => one.from === from && one.reason === reason)) silent.push({ from, reason })
      return none
    }
  }
  const domains = new Set<string>()
  for (const one of contributions) {
    for (const domain of await asked(one.from, [], () => one.domains?.() ?? [])) domains.add(domain)
  }
  const records: Record<string, readonly DnsRecord[]> = {}
  for (const domain of new Set([...domains, ...also])) {
    const said = await Promise.all(
      contributions.map(one => asked(one.from, [], async () => (await one.records?.(domain)) ?? [])),
    )
    records[domain] = said.flat()
  }
  const key = await publicKeyOf(config)
  return {
    hostname: config.hostname.toLowerCase(),
    domains: [...domains],
    listeners: config.listeners.flatMap(({ role, tls, listen }) =>
      listen.map(address => ({
        role,
        tls,
        ...(address.kind === 'tcp' ? { host: address.host, port: address.port } : {}),
      })),
    ),
    ...(key === undefined ? {} : { key }),
    records,
    silent,
  }
}

async function publicKeyOf({ tls, data }: Config): Promise<string | undefined> {
  // Without one of its own, a server makes and keeps this one.
  const file = tls.default?.cert ?? join(data, 'tls/self-signed-cert.pem')
  try {
    const { publicKey } = new X509Certificate(await readFile(file))
    return createHash('sha256')
      .update(publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex')
  } catch {
    return undefined
  }
}
