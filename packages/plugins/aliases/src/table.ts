// What each alias stands for, looked up as Postfix does: the whole address, without its extension, the bare name, the
// domain. Whole addresses go before names.
import { type Mailbox, type Reject, reject } from '@posthorn/core'
import { canonicalDomain, formatAddress, isMalformed, parseAddress } from '@posthorn/mail'
import { addressOf, wrong } from './alias-file.ts'

/** As configured: addresses, a list, or why there is nobody. */
export type Given =
  | string
  | readonly string[]
  | { readonly to: readonly string[]; readonly list: string }
  | { readonly moved: string }
  | { readonly reject: string }

/** `domain` absent: the alias's own; `local` absent: the recipient's own. */
interface Member {
  readonly local?: string
  readonly domain?: string
}

type Entry =
  | { readonly members: readonly Member[]; readonly list?: Member }
  | { readonly refused: Reject }
  /** Taken, and dropped. */
  | { readonly nobody: true }

/** What an address stands for. */
export type Found =
  | { readonly to: readonly Mailbox[]; readonly list?: { readonly from: Mailbox } }
  | { readonly refused: Reject }
  | { readonly nobody: true }

const maxDepth = 10

export class Table {
  readonly #domains: ReadonlySet<string>
  readonly #home: string
  readonly #separator: string
  /** By `local@domain`, `@domain`, or bare name for each of the domains. */
  readonly #entries = new Map<string, Entry>()

  /** `separator`: before an extension; '' for none. */
  constructor(domains: readonly string[], separator: string) {
    this.#domains = new Set(domains)
    this.#home = domains[0] ?? ''
    this.#separator = separator
  }

  /** Throws POSTHORN_ALIASES_FILE for a name or member that is no address, or a name that was there before. */
  add(name: string, given: Given, at: string): void {
    const key = this.#key(name, at)
    if (this.#entries.has(key)) throw wrong(at, `${name} is there twice`)
    this.#entries.set(key, entry(given, at))
  }

  /** A list for those that have an `owner-` alias: its reverse-path (RFC 5321 §3.9.2). Call it after all are added. */
  ownLists(): void {
    for (const [key, found] of this.#entries) {
      if (!('members' in found) || found.list !== undefined || key.startsWith('owner-')) continue
      const owner = this.#entries.get(`owner-${key}`)
      if (owner === undefined) continue
      const [local = '', domain] = parted(`owner-${key}`)
      this.#entries.set(key, { ...found, list: { local, ...(domain === undefined ? {} : { domain }) } })
    }
  }

  /** What stands behind the address; undefined where it is no alias. */
  find(address: Mailbox): Found | undefined {
    return this.#answer(address, 0)
  }

  /** `anna+x@ours` is anna's, where no alias says otherwise. */
  base({ local, domain }: Mailbox): Mailbox | undefined {
    if (!this.#domains.has(domain)) return undefined
    const at = this.#cut(local)
    return at === undefined ? undefined : mailbox(local.slice(0, at), domain)
  }

  #cut(local: string): number | undefined {
    const at = this.#separator === '' ? -1 : local.indexOf(this.#separator)
    return at > 0 ? at : undefined
  }

  #key(name: string, at: string): string {
    if (name.startsWith('@')) {
      const domain = canonicalDomain(name.slice(1))
      if (domain !== undefined) return `@${domain}`
    } else if (!name.includes('@')) {
      if (this.#home === '') throw wrong(at, `${name} has no domain, and the option \`domains\` is empty`)
      if (name !== '' && !isMalformed(parseAddress(formatAddress({ local: name, domain: 'x' })))) {
        return name.toLowerCase()
      }
    } else {
      const found = parseAddress(name)
      if (!isMalformed(found)) return `${found.local.toLowerCase()}@${found.domain}`
    }
    throw wrong(at, `not an address: ${name}`)
  }

  #entry({ local, domain }: Mailbox): Entry | undefined {
    const name = local.toLowerCase()
    const cut = this.#cut(name)
    const ours = this.#domains.has(domain)
    for (const own of cut === undefined ? [name] : [name, name.slice(0, cut)]) {
      const found = this.#entries.get(`${own}@${domain}`) ?? (ours ? this.#entries.get(own) : undefined)
      if (found !== undefined) return found
    }
    return this.#entries.get(`@${domain}`)
  }

  #answer(address: Mailbox, depth: number): Found | undefined {
    // RFC 5321 §4.1.1.3: <Postmaster> without a domain.
    const own = address.domain === '' ? { ...address, domain: this.#home } : address
    const found = this.#entry(own)
    if (found === undefined || !('members' in found)) return found
    let to = found.members.map(member => resolved(member, own))
    if (to.length > 1) {
      // Who has gone must not take the group along.
      const dead = (one: Mailbox) => depth < maxDepth && !same(one, own) && this.#dead(one, depth + 1)
      const gone = to.find(dead)
      to = to.filter(one => !dead(one))
      if (to.length === 0 && gone !== undefined) return this.#answer(gone, depth + 1)
    }
    const { list } = found
    return list === undefined ? { to } : { to, list: { from: resolved(list, own) } }
  }

  #dead(address: Mailbox, depth: number): boolean {
    const found = this.#answer(address, depth)
    if (found === undefined) return false
    if (!('to' in found)) return true
    const [only, second] = found.to
    return second === undefined && only !== undefined && !same(only, address) && depth < maxDepth
      ? this.#dead(only, depth + 1)
      : false
  }
}

function entry(given: Given, at: string): Entry {
  if (typeof given === 'object' && 'reject' in given) return { refused: reject(550, '5.1.6', given.reject) }
  if (typeof given === 'object' && 'moved' in given) {
    // RFC 5321 §3.4: 551 names the new address, and it is the sender who decides.
    return { refused: reject(551, '5.1.6', `User has moved; please try <${given.moved}>`) }
  }
  const texts = typeof given === 'string' ? [given] : 'to' in given ? given.to : given
  const members = texts.flatMap(text => {
    const address = addressOf(text, at)
    return address === undefined ? [] : [member(address, at)]
  })
  if (members.length === 0) return { nobody: true }
  return typeof given === 'object' && 'list' in given ? { members, list: member(given.list, at) } : { members }
}

function member(text: string, at: string): Member {
  if (text.startsWith('@')) {
    const domain = canonicalDomain(text.slice(1))
    if (domain !== undefined) return { domain }
  } else if (text.includes('@')) {
    const found = parseAddress(text)
    if (!isMalformed(found)) return { local: found.local, domain: found.domain }
  } else if (text !== '' && !isMalformed(parseAddress(formatAddress({ local: text, domain: 'x' })))) {
    return { local: text }
  }
  throw wrong(at, `not an address: ${text}`)
}

const parted = (key: string): readonly [local?: string, domain?: string] => {
  const at = key.lastIndexOf('@')
  return at < 0 ? [key] : [key.slice(0, at), key.slice(at + 1)]
}

const resolved = ({ local, domain }: Member, of: Mailbox) => mailbox(local ?? of.local, domain ?? of.domain)

function mailbox(local: string, domain: string): Mailbox {
  return { local, domain, raw: formatAddress({ local, domain }) }
}

function same(a: Mailbox, b: Mailbox): boolean {
  return a.domain === b.domain && a.local.toLowerCase() === b.local.toLowerCase()
}
