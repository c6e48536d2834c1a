// Delivers to a named next hop by SMTP or LMTP: the way of a gateway to the servers behind it, and of a small server
// to its provider. The dialogue and its connections are core's client; here is who goes where, and fail-over.
import { type DeliveryTarget, definePlugin, type Target } from '@posthorn/core'
import { endpointName, outcomeOf, outcomeOfFailure, SmtpPool } from '@posthorn/core/client'
import { HopMemory, mayFailOver } from './fail-over.ts'
import { nextHops, schema } from './options.ts'

// What a next hop may read as "send it on to there": a%b@c, b!a, a@b in quotes. An open relay by the back door.
const routed = /[%!@]/

export default definePlugin({
  name: 'relay',
  schema,
  async setup(ctx, options) {
    const { domains, lmtp, connections, idle, uses, perMinute, maxRecipients } = options
    const hopsOf = nextHops(options)
    const limits = { perHop: connections, total: connections * hopsOf(ctx.name).length, idle, uses }
    // Named by its limits, so that a reload that changes one gets a new pool and not a demand to restart. Whatever
    // else changes is in each connection's own key.
    const pool = await ctx.shared(
      `pool ${Object.values(limits).join(' ')}`,
      limits,
      () => new SmtpPool(limits),
      pool => pool.close(),
    )
    const memory = new HopMemory()
    const [first] = hopsOf(ctx.name)
    const lane = first === undefined ? ctx.name : endpointName(first.endpoint)
    const ours = domains === '*' ? undefined : new Set(domains)
    const takes = (domain: string) =>
      ours === undefined || ours.has(domain) || above(domain).some(d => ours.has(`*.${d}`))
    const context = { by: ctx.name, final: lmtp }

    const fits = ({ address }: Target) =>
      takes(address.domain) && (options.routedLocalParts || !routed.test(address.local))

    return {
      rcpt(_tx, to) {
        // Only for domains that somebody wrote down: `*` is a way for mail that others accepted, never a reason to.
        if (ours !== undefined && to.targets.length > 0 && to.targets.every(fits)) return 'accept'
      },
      deliver: {
        route: to => (takes(to.address.domain) ? { lane, data: null } : undefined),
        limits: () => ({
          concurrency: connections,
          ...(perMinute === undefined ? {} : { perMinute }),
          ...(maxRecipients === undefined ? {} : { maxRecipients }),
        }),
        async send(message, to, _route, call) {
          const hops = memory.order(hopsOf(message.origin.local.hostname), call.now())
          let open = to
          for (const [nth, hop] of hops.entries()) {
            const told = new Set<number>()
            const failure = await pool.send(
              hop,
              message,
              open,
              (index, answer) => {
                told.add(index)
                call.report((open[index] as DeliveryTarget).id, outcomeOf(answer, context))
              },
              call.signal,
            )
            if (failure === undefined) return memory.worked(hop)
            open = open.filter((_, index) => !told.has(index))
            const again = mayFailOver(failure)
            if (again) memory.failed(hop, call.now())
            if (!again || nth === hops.length - 1) {
              for (const { id } of open) call.report(id, outcomeOfFailure(failure))
              return
            }
            const { phase, message: what } = failure
            call.log.warn({ id: message.id, hop: endpointName(hop.endpoint), phase }, `${what}; trying the next hop`)
          }
        },
      },
    }
  },
})

/** `a.b.c` → `b.c`, `c`. */
function above(domain: string): readonly string[] {
  const labels = domain.split('.')
  return labels.slice(1).map((_, i) => labels.slice(i + 1).join('.'))
}
