// A domain's DKIM keys: one file of the data folder for each domain, 0600, replaced as a whole. An active key signs; a
// retired one stays published until mail that it signed has arrived everywhere.
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PosthornError } from '@posthorn/core'

const generate = promisify(generateKeyPair)

export type Algorithm = 'rsa' | 'ed25519'

export interface DkimKey {
  readonly selector: string
  readonly algorithm: Algorithm
  readonly state: 'active' | 'retired'
  /** Milliseconds since the epoch. */
  readonly created: number
  readonly retired?: number
  /** PKCS #8, PEM. */
  readonly privateKey: string
}

/** Mail is retried for five days, and readers verify late: a retired key is published for so long. */
export const publishedAfter = 14 * 86_400_000

/** Where the rings are, in the data folder. */
export const ringFolder = (data: string): string => join(data, 'dkim')

const fileOf = (folder: string, domain: string) => join(folder, `${domain}.json`)

/** The keys of a domain, oldest first; none where there is no file. Rejects with POSTHORN_DKIM_RING for one that cannot be read. */
export async function readRing(folder: string, domain: string): Promise<readonly DkimKey[]> {
  const file = fileOf(folder, domain)
  try {
    const ring = JSON.parse(await readFile(file, 'utf8')) as { keys: DkimKey[] }
    for (const { privateKey } of ring.keys) createPrivateKey(privateKey)
    return ring.keys
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw new PosthornError('POSTHORN_DKIM_RING', `the DKIM keys in ${file} cannot be read`, {
      fix: 'Put the file back from a backup, or move it away and run `posthorn dkim generate`.',
      cause: error,
    })
  }
}

/** The domains that have keys. */
export async function ringDomains(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  return names
    .filter(name => name.endsWith('.json'))
    .map(name => name.slice(0, -'.json'.length))
    .sort()
}

export interface NewKeys {
  readonly algorithms: readonly Algorithm[]
  /** Milliseconds since the epoch. */
  readonly now: number
  /** Default: the date, `20260105`, with `-rsa` or `-ed25519`; on the same day again, `20260105b`. */
  readonly selector?: string
  /** The keys that sign now are retired. */
  readonly rotate?: boolean
}

/** Adds keys to a domain's ring. Rejects with POSTHORN_DKIM_SELECTOR where a selector is taken or is no name. */
export async function addKeys(folder: string, domain: string, wanted: NewKeys): Promise<readonly DkimKey[]> {
  const ring = await readRing(folder, domain)
  const { algorithms, now, selector, rotate = false } = wanted
  const added: DkimKey[] = []
  for (const algorithm of algorithms) {
    const base = selector ?? freshDate(ring, algorithm, now)
    const name = algorithms.length > 1 || selector === undefined ? `${base}-${algorithm}` : base
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name) || ring.some(key => key.selector === name)) {
      throw new PosthornError('POSTHORN_DKIM_SELECTOR', `the selector ${name} of ${domain} is taken, or is no name`, {
        fix: 'Name another with --selector: small letters, digits and dashes.',
      })
    }
    const { privateKey } = await (algorithm === 'rsa' ? generate('rsa', { modulusLength: 2048 }) : generate('ed25519'))
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
    added.push({ selector: name, algorithm, state: 'active', created: now, privateKey: pem })
  }
  const kept = rotate
    ? ring.map(key => (key.state === 'active' ? { ...key, state: 'retired' as const, retired: now } : key))
    : ring
  const published = kept.filter(key => key.retired === undefined || now - key.retired < publishedAfter)
  await writeRing(folder, domain, [...published, ...added])
  return added
}

/** A name is not used twice: its old record may still be cached. */
function freshDate(ring: readonly DkimKey[], algorithm: Algorithm, now: number): string {
  const date = new Date(now).toISOString().slice(0, 10).replaceAll('-', '')
  const taken = (base: string) => ring.some(({ selector }) => selector === `${base}-${algorithm}`)
  return ['', ...'bcdefghijklmnopqrstuvwxyz'].map(letter => date + letter).find(base => !taken(base)) ?? date
}

async function writeRing(folder: string, domain: string, keys: readonly DkimKey[]): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const file = fileOf(folder, domain)
  const temporary = `${file}.new`
  const handle = await open(temporary, 'w', 0o600)
  try {
    await handle.writeFile(`${JSON.stringify({ keys }, null, 2)}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
  const parent = await open(folder, 'r')
  try {
    await parent.sync()
  } finally {
    await parent.close()
  }
}

/** The record to publish: `selector._domainkey.domain`, TXT (RFC 6376 §3.6.1, RFC 8463 §4). */
export function dkimRecord(
  domain: string,
  key: Pick<DkimKey, 'selector' | 'privateKey'>,
): { name: string; value: string } {
  const name = `${key.selector}._domainkey.${domain}`
  return { name, value: publicRecord(createPublicKey(key.privateKey)) }
}

function publicRecord(key: KeyObject): string {
  const der = key.export({ type: 'spki', format: 'der' }) as Buffer
  // RFC 8463 §4: the bare 32 octets, which end the structure.
  if (key.asymmetricKeyType === 'ed25519') return `v=DKIM1; k=ed25519; p=${der.subarray(-32).toString('base64')}`
  return `v=DKIM1; k=rsa; p=${der.toString('base64')}`
}
