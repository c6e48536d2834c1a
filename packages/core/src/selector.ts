// Which queued mail a rule is for: by recipient, sender, listener, user, client network and state. All that is given
// must hold; of each list one. Rules stand in tables, and the first that fits is the one.
import { isMalformed, type Mailbox, parseAddress } from '@posthorn/mail'
import * as z from 'zod'
import type { Queued } from './delivery.ts'
import { canonicalPattern, fitsPattern, patternsOf } from './domain-patterns.ts'
import type { Target } from './envelope.ts'
import { Networks } from './smtp/networks.ts'
import type { Name } from './token.ts'

/** A rule's condition, compiled. */
export interface Selector {
  /** Canonical addresses and domain patterns of the recipients; undefined: all. */
  readonly recipients: ReadonlySet<string> | undefined
  /** Asks for state, which is not there before the message is. */
  readonly late: boolean
  /** Everything but the recipient's address. */
  test(to: Target, message: Selected): boolean
}

/** What a rule looks at. */
export type Selected = Pick<Queued, 'from' | 'origin' | 'get'>

type Scalar = string | number | boolean

/** Local parts compare without case: who writes a table means the person. */
const addressOf = ({ local, domain }: Mailbox) => `${local.toLowerCase()}@${domain}`

/** `anna@example.org`, `example.org`, `*.example.org`, `*`; where `nobody` fits, `<>`. Undefined for anything else. */
function canonical(text: string, nobody: boolean): string | undefined {
  if (text === '<>') return nobody ? text : undefined
  if (!text.includes('@')) return canonicalPattern(text)
  const mailbox = parseAddress(text)
  return isMalformed(mailbox) || mailbox.domain === '' ? undefined : addressOf(mailbox)
}

const some = (of: z.ZodType<string>) =>
  z.union([of, z.array(of).min(1)]).transform(given => new Set(typeof given === 'string' ? [given] : given))

const addresses = (nobody: boolean) =>
  some(
    z.string().transform((text, ctx) => {
      const found = canonical(text, nobody)
      if (found !== undefined) return found
      const message = `expected anna@example.org, example.org or *.example.org${nobody ? ', or <>' : ''}`
      ctx.issues.push({ code: 'custom', input: text, message })
      return z.NEVER
    }),
  )

const stateName = z.string().regex(/^[^/\s]+\/\S+$/, 'expected the name of a state key, plugin/key')

const networks = z.union([z.string(), z.array(z.string()).min(1)]).transform((given, ctx) => {
  try {
    return new Networks(typeof given === 'string' ? [given] : given, 'net')
  } catch (error) {
    ctx.issues.push({ code: 'custom', input: given, message: (error as Error).message })
    return z.NEVER
  }
})

/** A zod schema for a selector. */
export function selector() {
  return z
    .strictObject({
      recipient: addresses(false)
        .optional()
        .describe('Recipients: addresses, domains, `*.example.org` for every domain below, `*`'),
      sender: addresses(true).optional().describe('Senders in the same way; `<>` is the null sender, of reports'),
      listener: some(z.string().min(1)).optional().describe('Names of listeners that it came by'),
      user: some(z.string().min(1)).optional().describe('Users who were logged in; `*`: any'),
      net: networks.optional().describe('Networks that it came from, CIDR'),
      state: z
        .union([
          stateName.transform(name => ({ [name]: true as Scalar })),
          z.record(stateName, z.union([z.string(), z.number(), z.boolean()])),
        ])
        .optional()
        .describe('Message or recipient state that must be so: `plugin/key`, or several with values; true: set at all'),
    })
    .transform(compile)
}

interface Given {
  readonly recipient?: ReadonlySet<string> | undefined
  readonly sender?: ReadonlySet<string> | undefined
  readonly listener?: ReadonlySet<string> | undefined
  readonly user?: ReadonlySet<string> | undefined
  readonly net?: Networks | undefined
  readonly state?: Readonly<Record<string, Scalar>> | undefined
}

function compile({ recipient, sender, listener, user, net, state }: Given): Selector {
  const tests: Selector['test'][] = []
  if (sender !== undefined) {
    tests.push((_, { from }) =>
      from === null ? sender.has('<>') : sender.has(addressOf(from)) || fitsPattern(from.domain, sender),
    )
  }
  if (listener !== undefined) tests.push((_, { origin }) => listener.has(origin.listener.name))
  if (user !== undefined) {
    tests.push((_, { origin: { auth } }) => auth !== undefined && (user.has('*') || user.has(auth.user)))
  }
  if (net !== undefined) tests.push((_, { origin: { client } }) => client !== undefined && net.has(client.ip))
  for (const [key, wanted] of Object.entries(state ?? {})) {
    const name = key as Name
    tests.push((to, message) => {
      const value =
        message.get<unknown>({ scope: 'message', name }) ?? to.state.get<unknown>({ scope: 'recipient', name }) ?? false
      return wanted === true ? value !== false : value === wanted
    })
  }
  return {
    recipients: recipient,
    late: state !== undefined,
    test: (to, message) => tests.every(test => test(to, message)),
  }
}

/** Whether the selector's recipients have this one among them. */
export function selectsRecipient({ recipients }: Pick<Selector, 'recipients'>, address: Mailbox): boolean {
  return recipients === undefined || recipients.has(addressOf(address)) || fitsPattern(address.domain, recipients)
}

/** Rules in order, found by recipient: what a look costs does not grow with the table. */
export class Rules<T> {
  readonly #rules: readonly (readonly [when: Selector, value: T])[]
  readonly #byRecipient = new Map<string, number[]>()
  /** Those for every recipient. */
  readonly #all: number[] = []

  constructor(rules: readonly (readonly [when: Selector, value: T])[]) {
    this.#rules = rules
    for (const [nth, [{ recipients }]] of rules.entries()) {
      if (recipients === undefined) this.#all.push(nth)
      else for (const key of recipients) this.#at(key).push(nth)
    }
  }

  /** The first that fits. */
  find(to: Target, message: Selected): T | undefined {
    for (const nth of this.#candidates(to)) {
      const [when, value] = this.#rules[nth] as readonly [Selector, T]
      if (when.test(to, message)) return value
    }
    return undefined
  }

  /** The first that fits, at RCPT already; undefined too where it depends on what is not known before the message is. */
  early(to: Target, given: Omit<Selected, 'get'>): T | undefined {
    const message = { ...given, get: () => undefined }
    for (const nth of this.#candidates(to)) {
      const [when, value] = this.#rules[nth] as readonly [Selector, T]
      if (when.late) return undefined
      if (when.test(to, message)) return value
    }
    return undefined
  }

  #candidates({ address }: Target): readonly number[] {
    let found = [...this.#all, ...(this.#byRecipient.get(addressOf(address)) ?? [])]
    for (const pattern of patternsOf(address.domain)) {
      const more = this.#byRecipient.get(pattern)
      if (more !== undefined) found = found.concat(more)
    }
    return found.length > 1 ? [...new Set(found)].sort((a, b) => a - b) : found
  }

  #at(key: string): number[] {
    let list = this.#byRecipient.get(key)
    if (list === undefined) {
      list = []
      this.#byRecipient.set(key, list)
    }
    return list
  }
}
