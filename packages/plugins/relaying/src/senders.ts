// Which addresses a logged-in user may send from: its own name, and what a table says.
import { readFileSync, statSync } from 'node:fs'
import { canonicalPattern, fitsPattern, type Mailbox, PosthornError } from '@posthorn/core'
import { isMalformed, parseAddress } from '@posthorn/mail'

const maxSize = 16 * 2 ** 20

export class Senders {
  /** By user in lower case: addresses and domain patterns. */
  readonly #table = new Map<string, Set<string>>()

  /** `what`: an address, a domain, `*.domain` or `*`. Throws POSTHORN_RELAYING_SENDERS. */
  allow(user: string, what: string, at: string): void {
    const key = keyOf(what)
    if (key === undefined) throw wrong(at, `expected an address, a domain or *: ${what}`)
    const name = user.toLowerCase()
    const own = this.#table.get(name)
    if (own === undefined) this.#table.set(name, new Set([key]))
    else own.add(key)
  }

  /** Lines as of Postfix's sender_login_maps: an address or domain, then the users who may send from it. */
  read(file: string): void {
    let text: string
    try {
      if (statSync(file).size > maxSize) throw wrong(file, `more than ${maxSize} octets`)
      text = readFileSync(file, 'utf8')
    } catch (error) {
      if (error instanceof PosthornError) throw error
      throw wrong(file, `cannot be read: ${(error as NodeJS.ErrnoException).code}`)
    }
    for (const [index, raw] of text.split('\n').entries()) {
      const line = raw.trim()
      if (line === '' || line.startsWith('#')) continue
      const at = `${file}:${index + 1}`
      const [address = '', ...users] = line.split(/[\s,]+/)
      if (users.length === 0) throw wrong(at, 'expected an address and the users who may send from it')
      for (const user of users) this.allow(user, address.replace(/^@/, ''), at)
    }
  }

  may(user: string, from: Mailbox): boolean {
    const name = user.toLowerCase()
    const address = `${from.local.toLowerCase()}@${from.domain}`
    if (address === keyOf(name)) return true
    const own = this.#table.get(name)
    return own !== undefined && (own.has(address) || fitsPattern(from.domain, own))
  }
}

function keyOf(text: string): string | undefined {
  if (!text.includes('@')) return canonicalPattern(text)
  const found = parseAddress(text)
  return isMalformed(found) ? undefined : `${found.local.toLowerCase()}@${found.domain}`
}

function wrong(at: string, what: string): PosthornError {
  return new PosthornError('POSTHORN_RELAYING_SENDERS', `${at}: ${what}`, { fix: 'Correct it, and reload.' })
}
