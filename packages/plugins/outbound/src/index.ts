// Delivers to the internet: finds the hosts of a domain by MX, and sends by core's client to the first that works.
import { Dns, definePlugin, type Outcome, type Reject, Rules, reject } from '@posthorn/core'
import { HopMemory, type NextHop, poolKey, type SmtpFailure, SmtpPool, sendThrough } from '@posthorn/core/client'
import { canonicalDomain } from '@posthorn/mail'
import { destinationRules } from './destinations.ts'
import { familyKey, Hops, type Identity } from './hops.ts'
import { mailHosts } from './mail-hosts.ts'
import { schema } from './options.ts'
import { familyOf, Reach } from './reach.ts'

const noLiterals: Reject = reject(550, '5.1.2', 'Mail for address literals is not delivered')

/** A lane that was pinned by hand, and is none. */
const noLane = (lane: string): Outcome => ({
  kind: 'defer',
  code: 451,
  enhanced: '4.4.4',
  text: 'no such lane',
  reason: `${lane} is no domain`,
  scope: 'lane',
})

export default definePlugin({
  name: 'outbound',
  schema,
  inject: { dns: Dns },
  async setup(ctx, options) {
    const { connections, total, idle, uses, age, identities, literals, attempts, port, chunking } = options
    const { dns } = ctx.services
    const limits = { perHop: Math.min(connections, total), total, idle, uses, age }
    const pool = await ctx.shared(
      poolKey(limits),
      limits,
      () => new SmtpPool(limits),
      pool => pool.close(),
    )
    const ruleOf = destinationRules(ctx.name, options)
    const memory = new HopMemory()
    const hops = new Hops({ dns, memory, reach: new Reach(options), port, chunking })
    const usual: Identity = { name: '', helo: options.helo, ipv4: options.ipv4, ipv6: options.ipv6 }
    const byName = new Map<string, Identity>(identities.map(identity => [identity.name, identity]))
    const rules = new Rules(identities.map(identity => [identity.when, identity.name] as const))

    // IPv6 that leads nowhere costs each host its time: after a failure IPv4 goes first for a while.
    const tried = ({ endpoint }: NextHop, failure: SmtpFailure | undefined, now: number) => {
      if (!('host' in endpoint) || familyOf(endpoint.host) !== 'ipv6') return
      const nowhere = failure?.phase === 'connect' && (failure.kind === 'unreachable' || failure.kind === 'timeout')
      if (nowhere) memory.failed(familyKey('ipv6'), now)
      else if (failure === undefined) memory.worked(familyKey('ipv6'))
    }

    return {
      deliver: {
        requireTls: true,
        route(to, message) {
          const { domain } = to.address
          if (domain === '') return undefined
          if (!literals && domain.startsWith('[')) return noLiterals
          const name = identities.length === 0 ? undefined : rules.find(to, message)
          return { lane: name === undefined ? domain : `${domain}/${name}`, data: null }
        },
        limits: lane => ruleOf(partsOf(lane).domain).limits,
        async send(message, to, { lane }, call) {
          const { domain, name } = partsOf(lane)
          const { signal } = call
          const all = (outcome: Outcome) => {
            for (const { id } of to) call.report(id, outcome)
          }
          if (canonicalDomain(domain) !== domain) return all(noLane(lane))
          const found = await mailHosts(dns, domain, signal)
          if (found.kind !== 'hosts') return all(found)
          const rule = ruleOf(domain)
          const identity = byName.get(name) ?? usual
          const journey = hops.of({ domain, found, rule, identity, message, signal, now: call.now() })
          const how = {
            pool,
            memory,
            by: ctx.name,
            attempts,
            // Other demands or another sender may fail where the usual ones do not: they must not stop all others.
            throttle: ({ endpoint }: NextHop) =>
              ['mx:'.concat(nameOf(endpoint)), rule.name, name].filter(Boolean).join(' '),
            tried: (hop: NextHop, failure: SmtpFailure | undefined) => tried(hop, failure, call.now()),
          }
          await sendThrough(message, to, journey.hops, call, how, journey.nowhere)
        },
      },
    }
  },
})

/** `example.org/bulk` → domain and identity. */
function partsOf(lane: string): { readonly domain: string; readonly name: string } {
  const slash = lane.indexOf('/')
  return slash === -1 ? { domain: lane, name: '' } : { domain: lane.slice(0, slash), name: lane.slice(slash + 1) }
}

const nameOf = (endpoint: NextHop['endpoint']) =>
  'path' in endpoint ? endpoint.path : (endpoint.name ?? endpoint.host)
