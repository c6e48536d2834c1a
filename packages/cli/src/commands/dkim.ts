// DKIM keys: made, rotated and listed as files of the data folder; the server takes them at its next reload.
import { PosthornError } from '@posthorn/core'
import { loadConfig } from '@posthorn/core/runtime'
import { canonicalDomain } from '@posthorn/mail'
import {
  type Algorithm,
  addKeys,
  type DkimKey,
  dkimRecord,
  publishedAfter,
  readRing,
  ringDomains,
  ringFolder,
} from '@posthorn/plugin-dkim-sign/key-ring'
import { bases } from '../distribution.ts'
import { exit, usageError } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { table, when } from '../table.ts'

interface MakeOptions extends Common {
  readonly selector?: string
  readonly algorithm: string
}

const algorithms: Readonly<Record<string, readonly Algorithm[]>> = {
  rsa: ['rsa'],
  ed25519: ['ed25519'],
  both: ['rsa', 'ed25519'],
}

/** `generate` adds keys; `rotate` also retires those that sign now. */
export const dkimMake =
  (rotate: boolean) =>
  async (io: Io, options: MakeOptions, name: string): Promise<number> => {
    const domain = domainOf(name)
    const wanted = algorithms[options.algorithm]
    if (wanted === undefined) throw usageError('--algorithm wants rsa, ed25519 or both')
    const folder = await folderOf(io, options)
    const { selector } = options
    const now = Date.now()
    if (rotate && (await readRing(folder, domain)).length === 0) {
      throw new PosthornError('POSTHORN_DKIM_NONE', `${domain} has no DKIM keys yet`, {
        fix: `Run \`posthorn dkim generate ${domain}\`.`,
      })
    }
    const added = await addKeys(folder, domain, {
      algorithms: wanted,
      now,
      rotate,
      ...(selector === undefined ? {} : { selector }),
    })
    if (options.json) io.out(JSON.stringify(added.map(key => view(domain, key))))
    else {
      io.out('Publish, then `posthorn reload`:')
      for (const key of added) for (const line of zoneLines(dkimRecord(domain, key))) io.out(line)
      if (rotate)
        io.out(`Keep the old records for ${publishedAfter / 86_400_000} days: mail signed by them is still on its way.`)
    }
    return exit.ok
  }

export async function dkimList(io: Io, options: Common, name?: string): Promise<number> {
  const folder = await folderOf(io, options)
  const domains = name === undefined ? await ringDomains(folder) : [domainOf(name)]
  const keys = (await Promise.all(domains.map(async d => (await readRing(folder, d)).map(key => view(d, key))))).flat()
  if (options.json) io.out(JSON.stringify(keys))
  else if (keys.length === 0) io.out('There are no DKIM keys: make some with `posthorn dkim generate <domain>`.')
  else {
    const rows = keys.map(k => [k.domain, k.selector, k.algorithm, k.state, when(k.created)])
    for (const line of table([['domain', 'selector', 'algorithm', 'state', 'made'], ...rows])) io.out(line)
  }
  return exit.ok
}

/** A key without its secret. */
function view(domain: string, key: DkimKey) {
  const { selector, algorithm, state, created } = key
  return { domain, selector, algorithm, state, created, record: dkimRecord(domain, key) }
}

/** A TXT record in zone-file form; strings of at most 255 octets (RFC 1035 §3.3). */
function zoneLines({ name, value }: { name: string; value: string }): string[] {
  const strings = value.match(/.{1,255}/g) ?? []
  return [`${name}. IN TXT ( ${strings.map(s => `"${s}"`).join('\n    ')} )`]
}

function domainOf(name: string): string {
  const domain = canonicalDomain(name)
  if (domain === undefined || domain.startsWith('[')) throw usageError(`${JSON.stringify(name)} is not a domain name`)
  return domain
}

async function folderOf(io: Io, { config: file }: Common): Promise<string> {
  const { config } = await loadConfig({ cwd: io.cwd, bases, ...(file === undefined ? {} : { file }) })
  return ringFolder(config.data)
}
