import { randomInt } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type ConfigInput, hashPassword, PosthornError } from '@posthorn/core'

export const demoDomain = 'example.test'
export const demoUser = `demo@${demoDomain}`

/** The demo account, kept in `.posthorn/demo.json` so that its password stays the same. */
export interface DemoAccount {
  readonly user: string
  readonly password: string
  readonly hash: string
}

export interface Demo {
  readonly config: ConfigInput
  /** Absolute. */
  readonly data: string
  readonly account: DemoAccount
  /** By listener. */
  readonly ports: { readonly mx: number; readonly submission: number }
  /** What is not as the documentation says: a port that was taken. */
  readonly notes: readonly string[]
}

/** A configuration for trying Posthorn on loopback, without root: data in `<cwd>/.posthorn`. */
export async function makeDemo(cwd: string): Promise<Demo> {
  const data = join(cwd, '.posthorn')
  await mkdir(data, { recursive: true, mode: 0o700 })
  const account = await demoAccount(join(data, 'demo.json'))
  const notes: string[] = []
  const mx = await freePort(2525, new Set(), notes)
  const submission = await freePort(2587, new Set([mx]), notes)
  return { config: demoConfig(account, mx, submission), data, account, ports: { mx, submission }, notes }
}

function demoConfig({ user, hash }: DemoAccount, mx: number, submission: number): ConfigInput {
  return {
    hostname: `mail.${demoDomain}`,
    data: '.posthorn',
    log: { file: '.posthorn/posthorn.log' },
    listeners: {
      mx: { listen: `127.0.0.1:${mx}` },
      submission: { listen: `127.0.0.1:${submission}` },
    },
    plugins: [
      'storage-level',
      { domains: { domains: { [demoDomain]: ['demo'] }, postmaster: user } },
      { users: { users: { [user]: hash } } },
      'maildir',
    ],
  }
}

async function demoAccount(file: string): Promise<DemoAccount> {
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text !== undefined) {
    const account = parse(text)
    if (account === undefined) {
      throw new PosthornError('POSTHORN_CONFIG_INVALID', `${file} is not a demo account`, {
        fix: 'Remove it; a new one is made.',
      })
    }
    return account
  }
  const password = demoPassword()
  const account = { user: demoUser, password, hash: await hashPassword(password) }
  const handle = await open(file, 'wx', 0o600)
  try {
    await handle.writeFile(`${JSON.stringify(account, null, 2)}\n`)
  } finally {
    await handle.close()
  }
  return account
}

function parse(text: string): DemoAccount | undefined {
  try {
    const { user, password, hash } = JSON.parse(text) as Partial<DemoAccount>
    if (user !== demoUser || typeof password !== 'string' || typeof hash !== 'string') return undefined
    return { user, password, hash }
  } catch {
    return undefined
  }
}

// Without what looks alike or means something to a shell; 4 × 4 of 31 letters is 79 bits.
function demoPassword(): string {
  const letters = 'abcdefghjkmnpqrstuvwxyz23456789'
  const group = () => Array.from({ length: 4 }, () => letters[randomInt(letters.length)]).join('')
  return Array.from({ length: 4 }, group).join('-')
}

/** `wanted`, or the first free port after it, said in `notes`. */
async function freePort(wanted: number, not: ReadonlySet<number>, notes: string[]): Promise<number> {
  for (let port = wanted; port < wanted + 50; port++) {
    if (not.has(port) || !(await isFree(port))) continue
    if (port !== wanted) notes.push(`port ${wanted} is taken, ${port} is used`)
    return port
  }
  throw new PosthornError('POSTHORN_LISTEN_FAILED', `ports ${wanted} to ${wanted + 49} are all taken`, {
    fix: 'Write a configuration with other ports: posthorn init.',
  })
}

function isFree(port: number): Promise<boolean> {
  return new Promise(done => {
    const probe = createServer()
    probe.once('error', () => done(false))
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => probe.close(() => done(true)))
  })
}
