// Passwords as PHC strings of scrypt, hashed on the thread pool, a few at a time: they share it with the store's syncs.
import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { PosthornError } from './errors.ts'

/** N = 2^15, r = 8, p = 1: 32 MiB and about 50 ms, OWASP's figure for interactive log-in. */
const cost = { ln: 15, r: 8, p: 1 }
const keyLength = 32
const saltLength = 16

/** At most cores - 1 hashes at a time, and as many waiting as a person would wait for. */
const atOnce = Math.max(1, availableParallelism() - 1)
const mostWaiting = 100

let running = 0
const waiting: (() => void)[] = []

/** `$scrypt$ln=15,r=8,p=1$salt$hash`, salted anew each time. Rejects with POSTHORN_PASSWORD_BUSY when too many wait. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(saltLength)
  const hash = await derive(password, salt, cost, keyLength)
  return `$scrypt$ln=${cost.ln},r=${cost.r},p=${cost.p}$${base64(salt)}$${base64(hash)}`
}

/**
 * Whether `password` is the one of `stored` (as {@link hashPassword} writes it). `undefined` for an unknown user takes
 * as long as a wrong password and is false, so that time tells nobody who exists. Rejects with POSTHORN_PASSWORD_BUSY
 * when too many wait.
 */
export async function verifyPassword(password: string, stored: string | undefined): Promise<boolean> {
  const parsed = stored === undefined ? undefined : parsePasswordHash(stored)
  const { salt, hash, parameters } = parsed ?? unknown
  const derived = await derive(password, salt, parameters, hash.length)
  return timingSafeEqual(derived, hash) && parsed !== undefined
}

interface PasswordHash {
  readonly parameters: typeof cost
  readonly salt: Buffer
  readonly hash: Buffer
}

const unknown: PasswordHash = { parameters: cost, salt: Buffer.alloc(saltLength), hash: Buffer.alloc(keyLength) }

/** The parts of a PHC string of scrypt; `undefined` where it is none, or asks for more than 256 MiB. */
export function parsePasswordHash(text: string): PasswordHash | undefined {
  const match = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/.exec(text)
  if (match === null) return undefined
  const [, ln, r, p, salt, hash] = match as unknown as [string, string, string, string, string, string]
  const parameters = { ln: Number(ln), r: Number(r), p: Number(p) }
  const bytes = Buffer.from(hash, 'base64')
  if (parameters.ln < 1 || parameters.r < 1 || parameters.p < 1 || bytes.length < 16) return undefined
  if (memory(parameters) > 2 ** 28) return undefined
  return { parameters, salt: Buffer.from(salt, 'base64'), hash: bytes }
}

const memory = ({ ln, r, p }: typeof cost) => 128 * r * (2 ** ln + p)

async function derive(password: string, salt: Buffer, parameters: typeof cost, length: number): Promise<Buffer> {
  if (running >= atOnce) {
    if (waiting.length >= mostWaiting) {
      throw new PosthornError('POSTHORN_PASSWORD_BUSY', `${mostWaiting} password checks are waiting`)
    }
    await new Promise<void>(resolve => waiting.push(resolve))
  } else running++
  const { ln, r, p } = parameters
  const options: ScryptOptions = { N: 2 ** ln, r, p, maxmem: 2 * memory(parameters) }
  try {
    return await new Promise((resolve, reject) => {
      scrypt(password.normalize('NFKC'), salt, length, options, (error, key) => (error ? reject(error) : resolve(key)))
    })
  } finally {
    const next = waiting.shift()
    if (next === undefined) running--
    else next()
  }
}

/** PHC strings leave the padding off. */
const base64 = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')
