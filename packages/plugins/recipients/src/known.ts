// Recipients that are written down: addresses and local parts, in the configuration or in files, and patterns.
import { readFileSync, statSync } from 'node:fs'
import { isRouted, type Mailbox, PosthornError } from '@posthorn/core'
import { formatAddress, isMalformed, parseAddress } from '@posthorn/mail'

const maxSize = 64 * 2 ** 20

export class KnownRecipients {
  /** `local@domain`, or a local part alone, which stands for every domain of ours. */
  readonly #entries = new Set<string>()
  readonly #patterns: readonly RegExp[]

  constructor(addresses: readonly string[], patterns: readonly RegExp[]) {
    this.#patterns = patterns
    for (const address of addresses) this.#add(address, address)
  }

  /** One address or local part a line; what follows it, and comments, are left out: postmap(1) tables fit. Throws POSTHORN_RECIPIENTS_FILE. */
  read(file: string): void {
    let text: string
    try {
      if (statSync(file).size > maxSize) throw wrong(file, `more than ${maxSize} octets`)
      text = readFileSync(file, 'utf8')
    } catch (error) {
      if (error instanceof PosthornError) throw error
      throw wrong(file, `cannot be read: ${(error as NodeJS.ErrnoException).code}`)
    }
    for (const [index, line] of text.split('\n').entries()) {
      const [address = ''] = /^\s*("(?:[^"\\]|\\.)*"\S*|\S+)/.exec(line)?.slice(1) ?? []
      if (address !== '' && !address.startsWith('#')) this.#add(address, `${file}:${index + 1}`)
    }
  }

  has({ local, domain }: Mailbox): boolean {
    const name = local.toLowerCase()
    if (this.#entries.has(`${name}@${domain}`) || this.#entries.has(name)) return true
    // What is listed is meant; a pattern like `.*` hardly is.
    if (isRouted({ local })) return false
    const address = `${name}@${domain}`
    return this.#patterns.some(pattern => pattern.test(address))
  }

  #add(text: string, at: string): void {
    const whole = text.includes('@')
    const found = parseAddress(whole ? text : formatAddress({ local: text, domain: 'x' }))
    if (isMalformed(found) || found.domain === '') throw wrong(at, `not an address: ${text}`)
    const name = found.local.toLowerCase()
    this.#entries.add(whole ? `${name}@${found.domain}` : name)
  }
}

function wrong(at: string, what: string): PosthornError {
  return new PosthornError('POSTHORN_RECIPIENTS_FILE', `${at}: ${what}`, { fix: 'Correct it, and reload.' })
}
