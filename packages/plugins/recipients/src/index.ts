// Which recipients exist behind a gateway: written down, by pattern, or asked of the server itself. It accepts those,
// refuses the others of its domains before their mail is taken, and is silent on the rest of the world.
import {
  defer,
  definePlugin,
  domainPattern,
  duration,
  fitsPattern,
  isRouted,
  path,
  type Recipient,
  reject,
  Storage,
  type Target,
} from '@posthorn/core'
import { checkTls, endpointText, hopShape, nextHops, poolKey, SmtpPool } from '@posthorn/core/client'
import * as z from 'zod'
import { Cache } from './cache.ts'
import { type Answer, Callout } from './callout.ts'
import { KnownRecipients } from './known.ts'
import { addressPattern } from './pattern.ts'

const pattern = z.string().transform((text, ctx) => {
  const found = addressPattern(text)
  if (typeof found !== 'string') return found
  ctx.issues.push({ code: 'custom', input: text, message: found })
  return z.NEVER
})

const schema = z.strictObject({
  domains: z.array(domainPattern()).min(1).describe('The domains whose recipients it judges'),
  addresses: z
    .array(z.string().min(1))
    .default([])
    .describe('Addresses that exist, or local parts that exist in each of the domains; any case'),
  files: z
    .array(path())
    .default([])
    .describe('Files with one of these a line; what follows it is left out; read again at reload'),
  patterns: z
    .array(pattern)
    .default([])
    .describe(
      'Regular expressions for whole addresses, in any case; without nested repetition, references, look-around',
    ),
  callout: z
    .strictObject({
      to: z
        .union([endpointText(), z.array(endpointText()).min(1)])
        .transform(to => (typeof to === 'string' ? [to] : to))
        .describe('The server to ask, `host:port` or `unix:/path`; of several, the first that works'),
      down: z
        .enum(['defer', 'accept'])
        .default('defer')
        .describe('When it cannot be asked and was not asked lately: 451 to the client, or take the mail'),
      positive: duration({ min: 1000 }).prefault('7d').describe('How long a yes is remembered'),
      negative: duration({ min: 1000 }).prefault('1h').describe('How long a no is remembered'),
      entries: z.int().min(100).default(100_000).describe('Answers that are remembered, at most'),
      catchAll: z
        .boolean()
        .default(true)
        .describe('Find out whether it takes any recipient of a domain, and then ask no more'),
      connections: z.int().min(1).max(1000).default(10).describe('Connections to it, at most'),
      ...hopShape,
    })
    .superRefine(checkTls)
    .optional()
    .describe('Ask the server behind, by RCPT with the null sender; what is written down is not asked'),
})

// Together less than the hook's time.
const timeouts = { connect: 5_000, greeting: 10_000, hello: 10_000, mail: 10_000, rcpt: 15_000 }

export default definePlugin({
  name: 'recipients',
  schema,
  inject: { storage: Storage },
  async setup(ctx, { domains, addresses, files, patterns, callout }) {
    const ours = new Set(domains)
    const known = new KnownRecipients(addresses, patterns)
    for (const file of files) known.read(file)
    const judged = ({ address }: Pick<Target, 'address'>) => fitsPattern(address.domain, ours)
    const absent = (reason: string) => reject(550, '5.1.1', 'No such recipient here', { reason })

    if (callout === undefined) {
      return {
        rcpt(_tx, to: Recipient) {
          const missing = to.targets.find(target => judged(target) && !known.has(target.address))
          if (missing !== undefined) return absent(`${missing.address.raw} is not in the list`)
          if (to.targets.length > 0 && to.targets.every(judged)) return 'accept'
        },
      }
    }

    const { connections, to: list, entries, positive, negative, catchAll } = callout
    const limits = { perHop: connections, total: connections * list.length, idle: 30_000, uses: 1000, age: 1_800_000 }
    const pool = await ctx.shared(
      poolKey(limits),
      limits,
      () => new SmtpPool({ ...limits, timeouts }),
      pool => pool.close(),
    )
    const cache = new Cache(ctx.services.storage, ctx.name, entries, ctx.log)
    ctx.onDispose(() => cache.idle())
    const hops = nextHops(ctx.name, list, callout)
    const asking = new Callout({ pool, cache, hops, positive, negative, catchAll })

    const verdict = (answer: Answer) => {
      switch (answer.kind) {
        case 'exists':
          return undefined
        case 'absent':
          return absent(`the back end: ${answer.reason}`)
        case 'refused':
          return { kind: 'passed-on' as const, reply: answer.reply }
        case 'unknown':
          if (callout.down === 'accept') return undefined
          return defer(451, '4.4.1', 'Recipient cannot be verified now, try again later', { reason: answer.reason })
      }
    }
    return {
      rcpt: {
        effect: true,
        timeout: 60_000,
        async handler(tx, to, call) {
          for (const target of to.targets) {
            if (!judged(target) || known.has(target.address)) continue
            // The server behind may say yes because it would send it on: for us, whom it trusts.
            if (isRouted(target.address)) return absent(`${target.address.raw} may be a route, and is not in the list`)
            const said = verdict(await asking.ask(target.address, tx.session.local.hostname, call))
            if (said !== undefined) return said
          }
          if (to.targets.length > 0 && to.targets.every(judged)) return 'accept'
        },
      },
    }
  },
})
