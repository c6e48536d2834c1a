// Delivers to a named next hop by SMTP or LMTP: the way of a gateway to the servers behind it, and of a small server
// to its provider. The dialogue, its connections and fail-over are core's client; here is who goes there.
import { definePlugin, fitsPattern, isRouted, type Outcome, type Target } from '@posthorn/core'
import {
  endpointName,
  HopMemory,
  laneLimits,
  nextHops,
  placeKey,
  poolKey,
  SmtpPool,
  sendThrough,
} from '@posthorn/core/client'
import { schema } from './options.ts'

const nowhere = (): Outcome => ({
  kind: 'defer',
  code: 451,
  enhanced: '4.4.4',
  text: 'no next hop',
  scope: 'lane',
})

export default definePlugin({
  name: 'relay',
  schema,
  async setup(ctx, options) {
    const { to: list, domains, connections, idle, uses, age } = options
    const hopsOf = nextHops(ctx.name, list, options)
    const limits = { perHop: connections, total: connections * list.length, idle, uses, age }
    const pool = await ctx.shared(
      poolKey(limits),
      limits,
      () => new SmtpPool(limits),
      pool => pool.close(),
    )
    const memory = new HopMemory()
    const [first] = hopsOf(ctx.name)
    const lane = first === undefined ? ctx.name : endpointName(first.endpoint)
    const ours = domains === '*' ? undefined : new Set(domains)
    const takes = (domain: string) => ours === undefined || fitsPattern(domain, ours)
    const fits = ({ address }: Target) => takes(address.domain) && (options.routedLocalParts || !isRouted(address))

    return {
      rcpt(_tx, to) {
        // Only for domains that somebody wrote down: `*` is a way for mail that others accepted, never a reason to.
        if (ours !== undefined && to.targets.length > 0 && to.targets.every(fits)) return 'accept'
      },
      deliver: {
        route: to => (takes(to.address.domain) ? { lane, data: null } : undefined),
        limits: () => laneLimits(options),
        async send(message, to, _route, call) {
          const hops = memory.order(hopsOf(message.origin.local.hostname, message.origin), placeKey, call.now())
          await sendThrough(message, to, hops, call, { pool, memory, by: ctx.name, attempts: hops.length }, nowhere)
        },
      },
    }
  },
})
