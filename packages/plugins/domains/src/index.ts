// Which domains are ours, and which recipients exist in them. Accepts those, refuses the others of our domains, and is
// silent on the rest of the world.
import { DnsAdvice, definePlugin, type Mailbox, type Recipient, reject } from '@posthorn/core'
import { canonicalDomain, isMalformed, parseAddress, sameAddress } from '@posthorn/mail'
import * as z from 'zod'
import { Domains } from './keys.ts'

const domainName = z
  .string()
  .transform((name, ctx) => {
    const domain = canonicalDomain(name)
    if (domain !== undefined) return domain
    ctx.issues.push({ code: 'custom', input: name, message: 'expected a domain name, example.org' })
    return z.NEVER
  })
  .describe('A domain name; U-labels are understood')

const address = z
  .string()
  .transform((text, ctx) => {
    const mailbox = parseAddress(text)
    if (!isMalformed(mailbox)) return mailbox
    ctx.issues.push({ code: 'custom', input: text, message: 'expected an address, anna@example.org' })
    return z.NEVER
  })
  .describe('An address')

const recipients = z
  .union([z.literal('any'), z.array(z.string().min(1))])
  .describe('The local parts that exist, without regard to case; `any` accepts all of them')

const schema = z.strictObject({
  domains: z
    .union([z.array(domainName), z.record(z.string(), recipients)])
    .describe('Our domains: a list (any recipient), or each with its recipients')
    .transform((value, ctx) => {
      if (Array.isArray(value)) return new Map<string, ReadonlySet<string> | 'any'>(value.map(name => [name, 'any']))
      const ours = new Map<string, ReadonlySet<string> | 'any'>()
      for (const [name, list] of Object.entries(value)) {
        const domain = canonicalDomain(name)
        if (domain === undefined)
          ctx.issues.push({ code: 'custom', input: name, message: `${name} is not a domain name` })
        else ours.set(domain, list === 'any' ? list : new Set(list.map(local => local.toLowerCase())))
      }
      return ours
    }),
  postmaster: address
    .optional()
    .describe(
      'Who reads mail to postmaster, which every domain must accept (RFC 5321 §4.5.1); default postmaster@ the first domain',
    ),
})

export default definePlugin({
  name: 'domains',
  schema,
  inject: { advice: DnsAdvice },
  provides: [Domains],
  setup({ provide, services, name, onDispose }, { domains, postmaster }) {
    const [first = ''] = domains.keys()
    const list = () => [...domains.keys()]
    provide(Domains, { has: domain => domain === '' || domains.has(domain), list })
    onDispose(services.advice.add({ from: name, domains: list }))

    const exists = ({ local, domain }: Mailbox): boolean => {
      const known = domains.get(domain)
      return known === 'any' || known?.has(local.toLowerCase()) === true
    }

    return {
      // RFC 5321 §4.5.1: <Postmaster> without a domain, and postmaster of each of our domains.
      resolve(_tx, to) {
        const bare = to.domain === ''
        if (!bare && !(domains.has(to.domain) && to.local.toLowerCase() === 'postmaster')) return
        if (postmaster !== undefined) return sameAddress(to, postmaster) ? undefined : { to: [postmaster] }
        if (bare && first !== '') return { to: [{ local: 'postmaster', domain: first, raw: `postmaster@${first}` }] }
      },

      rcpt(_tx, to: Recipient) {
        const missing = to.targets.find(({ address }) => domains.has(address.domain) && !exists(address))
        if (missing !== undefined) {
          return reject(550, '5.1.1', 'No such recipient here', { reason: `${missing.address.raw} is not in the list` })
        }
        if (domains.has(to.address.domain) || to.address.domain === '') return 'accept'
      },
    }
  },
})
