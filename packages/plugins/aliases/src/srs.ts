// The Sender Rewriting Scheme: a reverse-path of ours for what we forward, so that SPF passes there, and the way back
// for its bounces. The form is libsrs2's, so addresses of either are understood by the other, given the secret.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { formatAddress, isMalformed, type Mailbox, parseAddress } from '@posthorn/mail'

export interface SrsOptions {
  /** The domain of the rewritten addresses, in A-label form. Its mail must come to us. */
  readonly domain: string
  /** The first signs, all are believed. */
  readonly secrets: readonly string[]
  /** Characters of base64 that sign an address: 4 in libsrs2. Compared without case, since local parts may lose it. */
  readonly hashLength: number
  /** Milliseconds that an address is good for. */
  readonly maxAge: number
}

/** What a rewritten address stands for, or why not. */
export type Reversed = { readonly to: Mailbox } | { readonly wrong: string }

const day = 86_400_000
// The digits of base32; a timestamp is two of them: days since 1970, modulo 1024.
const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const prefix = /^SRS([01])[=+-]/i
const maxLocal = 64 // RFC 5321 §4.5.3.1.1

export class Srs {
  readonly #options: SrsOptions

  constructor(options: SrsOptions) {
    this.#options = options
  }

  /** Whether the address has the form of a rewritten one of ours. */
  is({ local, domain }: Pick<Mailbox, 'local' | 'domain'>): boolean {
    return domain === this.#options.domain && prefix.test(local)
  }

  /** `from` as an address of ours; undefined where that would be too long for a local part. */
  forward({ local, domain }: Pick<Mailbox, 'local' | 'domain'>, now: number): Mailbox | undefined {
    const kind = prefix.exec(local)?.[1]
    const rewritten = kind === undefined ? this.#first(local, domain, now) : this.#again(kind, local, domain)
    if (Buffer.byteLength(rewritten) > maxLocal) return undefined
    const mailbox = { local: rewritten, domain: this.#options.domain }
    return { ...mailbox, raw: formatAddress(mailbox) }
  }

  /** The address that a bounce to a rewritten one goes to: the sender, or the forwarder before us. */
  reverse({ local }: Pick<Mailbox, 'local'>, now: number): Reversed {
    const rest = local.slice(5)
    return /^srs0/i.test(local) ? this.#sender(rest, now) : this.#forwarder(rest)
  }

  #first(local: string, domain: string, now: number): string {
    const stamp = timestamp(now)
    return `SRS0=${this.#hash(stamp, domain, local)}=${stamp}=${domain}=${local}`
  }

  /** Rewritten by others already: only the first forwarder and we stay in it, or addresses would grow at each hop. */
  #again(kind: string, local: string, domain: string): string {
    // `SRS0` is cut off, what follows keeps its separator: libsrs2 calls it the guarded form.
    let host = domain
    let user = local.slice(4)
    const inner = kind === '1' ? /^[^=]*=([^=]+)=(.+)$/s.exec(local.slice(5)) : null
    if (inner !== null) [, host, user] = inner as unknown as [string, string, string]
    return `SRS1=${this.#hash(host, user)}=${host}=${user}`
  }

  #sender(rest: string, now: number): Reversed {
    const [, hash = '', stamp = '', domain = '', local = ''] = /^([^=]*)=([^=]*)=([^=]*)=(.+)$/s.exec(rest) ?? []
    if (!this.#signed(hash, stamp, domain, local)) return { wrong: 'the hash is not ours' }
    const days = age(stamp, now)
    if (days === undefined || days * day > this.#options.maxAge) return { wrong: 'it is too old' }
    return given(local, domain)
  }

  #forwarder(rest: string): Reversed {
    const [, hash = '', host = '', user = ''] = /^([^=]*)=([^=]*)=(.+)$/s.exec(rest) ?? []
    // The forwarder's own timestamp is in `user`; it judges that.
    return this.#signed(hash, host, user) ? given(`SRS0${user}`, host) : { wrong: 'the hash is not ours' }
  }

  #hash(...parts: readonly string[]): string {
    return digest(this.#options.secrets[0] as string, parts).slice(0, this.#options.hashLength)
  }

  #signed(hash: string, ...parts: readonly string[]): boolean {
    const { secrets, hashLength } = this.#options
    if (hash.length !== hashLength) return false
    const said = Buffer.from(hash.toLowerCase())
    return secrets.some(secret => {
      const ours = Buffer.from(digest(secret, parts).slice(0, hashLength).toLowerCase())
      return said.length === ours.length && timingSafeEqual(said, ours)
    })
  }
}

function digest(secret: string, parts: readonly string[]): string {
  return createHmac('sha1', secret).update(parts.join('').toLowerCase()).digest('base64')
}

function timestamp(now: number): string {
  const days = Math.floor(now / day)
  return `${digits[(days >> 5) & 31]}${digits[days & 31]}`
}

/** Days since the timestamp; those of tomorrow are of a clock that is a little ahead. */
function age(stamp: string, now: number): number | undefined {
  const [high, low] = [...stamp.toUpperCase()].map(digit => digits.indexOf(digit))
  if (stamp.length !== 2 || high === undefined || low === undefined || high < 0 || low < 0) return undefined
  const days = (Math.floor(now / day) - (high * 32 + low)) & 1023
  return days === 1023 ? 0 : days
}

function given(local: string, domain: string): Reversed {
  const mailbox = parseAddress(formatAddress({ local, domain }))
  return isMalformed(mailbox) ? { wrong: 'what it stands for is no address' } : { to: mailbox }
}
