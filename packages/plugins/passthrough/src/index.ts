// Passes a transaction through to the server behind: its answers to RCPT and to the message are what the client hears,
// and nothing is queued. What enters without a client (reports, added recipients) is queued and delivered there.
import {
  type Call,
  defer,
  definePlugin,
  domainPattern,
  fitsPattern,
  type Id,
  isRouted,
  type Outcome,
  type PassedOn,
  type Recipient,
  reject,
  type Target,
  type Transaction,
  type Verdict,
} from '@posthorn/core'
import {
  checkTls,
  endpointText,
  HopMemory,
  hopShape,
  keepShape,
  laneLimits,
  laneShape,
  nextHops,
  onStop,
  placeKey,
  poolKey,
  SmtpFailure,
  SmtpPool,
  sendThrough,
} from '@posthorn/core/client'
import * as z from 'zod'
import { HeldTransactions } from './held.ts'

const schema = z
  .strictObject({
    to: z
      .union([endpointText(), z.array(endpointText()).min(1)])
      .transform(to => (typeof to === 'string' ? [to] : to))
      .describe('The server behind, `host:port` or `unix:/path`; of several, the first that works'),
    domains: z.array(domainPattern()).min(1).describe('Recipient domains that pass through'),
    routedLocalParts: z
      .boolean()
      .default(false)
      .describe('Pass local parts with %, ! or @ in them too, which the server behind may take for a route elsewhere'),
    ...hopShape,
    ...laneShape,
    ...keepShape,
    connections: z
      .int()
      .min(1)
      .max(10_000)
      .default(100)
      .describe('Connections to each, at most: a client holds one from its first recipient to the end of its message'),
  })
  .superRefine(checkTls)

// RCPT has 30 seconds in all, with a second hop to try.
const timeouts = { connect: 5_000, greeting: 10_000, hello: 10_000, mail: 20_000, rcpt: 20_000 }

const nowhere = (): Outcome => ({ kind: 'defer', code: 451, enhanced: '4.4.4', text: 'no next hop', scope: 'lane' })
const unavailable = (reason: string) =>
  defer(451, '4.4.1', 'The mail server behind is not available, try again later', { reason })
const otherWay = () => defer(452, '4.5.3', 'Send to this recipient in a transaction of its own')

export default definePlugin({
  name: 'passthrough',
  schema,
  async setup(ctx, options) {
    const { to: list, domains, connections, idle, uses, age } = options
    const ours = new Set(domains)
    const hopsOf = nextHops(ctx.name, list, options)
    const limits = { perHop: connections, total: connections * list.length, idle, uses, age }
    const pool = await ctx.shared(
      poolKey(limits),
      limits,
      () => new SmtpPool({ ...limits, timeouts }),
      pool => pool.close(),
    )
    const memory = new HopMemory()
    const held = new HeldTransactions(pool, memory)
    const fits = ({ address }: Pick<Target, 'address'>) => fitsPattern(address.domain, ours)
    const mayPass = (target: Target) => fits(target) && (options.routedLocalParts || !isRouted(target.address))
    const passes = ({ targets }: Recipient) => targets.length > 0 && targets.every(mayPass)
    const lane = list[0] as string

    /** What a client's recipient asks for must be what the transaction's first one got. */
    const mayJoin = (tx: Transaction, to: Recipient): boolean =>
      tx.recipients.every(other => other.targets.length === 0 || passes(other) === passes(to))

    return {
      rcpt: {
        effect: true,
        timeout: 60_000,
        async handler(tx, to, call): Promise<PassedOn | Verdict | undefined> {
          const here = passes(to)
          // Others' recipients are others' affair, unless this transaction is passing through already.
          if (!here && held.of(tx.id) === undefined) return undefined
          if (!mayJoin(tx, to)) return otherWay()
          if (!here) return undefined
          const { hostname } = tx.session.local
          const hops = hopsOf(hostname, tx.session)
          let reply: PassedOn | undefined
          for (const target of to.targets) {
            try {
              reply = { kind: 'passed-on', reply: await held.ask(tx, target, hops, call) }
            } catch (error) {
              if (error instanceof SmtpFailure) return unavailable(error.message)
              throw error
            }
            if (reply.reply.code >= 400) return reply
          }
          return reply
        },
      },

      async queue(message, to, call) {
        const passing = held.of(message.id)
        const mine = to.filter(fits)
        if (passing === undefined || mine.length === 0) return undefined
        const { hop: answered } = passing
        // The whole message is known only now, so its envelope is said again in front of it, on the same connection.
        await held.letGo(message.id)
        const all = memory.order(hopsOf(message.origin.local.hostname, message.origin), placeKey, call.now())
        const first = answered === undefined ? undefined : placeKey(answered)
        const hops = [...all.filter(hop => placeKey(hop) === first), ...all.filter(hop => placeKey(hop) !== first)]
        const answers = new Map<Id, Verdict | PassedOn>()
        const report = (id: Id, outcome: Outcome) => answers.set(id, answerOf(outcome))
        const how = { pool, memory, by: ctx.name, attempts: hops.length }
        await sendThrough(message, mine, hops, sending(call, report), how, nowhere)
        for (const { id } of mine) if (!answers.has(id)) answers.set(id, unavailable('no answer'))
        return answers
      },

      deliver: {
        route: target => (fits(target) ? { lane, data: null } : undefined),
        limits: () => laneLimits(options),
        async send(message, to, _route, call) {
          const hops = memory.order(hopsOf(message.origin.local.hostname, message.origin), placeKey, call.now())
          await sendThrough(message, to, hops, call, { pool, memory, by: ctx.name, attempts: hops.length }, nowhere)
        },
      },
    }
  },
})

function sending(call: Call, report: (id: Id, outcome: Outcome) => void) {
  return {
    get signal() {
      return call.signal
    },
    log: call.log,
    now: () => call.now(),
    report,
    onAbort: (fn: (reason: unknown) => void) => onStop(call.signal, fn),
    throttle: async () => ({ [Symbol.dispose]() {} }),
  }
}

/** The peer's own words where it said any. */
function answerOf(outcome: Outcome): Verdict | PassedOn {
  const { kind, remote } = outcome
  if (remote !== undefined && remote.code !== 421) {
    const reports = 'noReport' in outcome && outcome.noReport === true
    return {
      kind: 'passed-on',
      reply: remote,
      ...(reports ? { noReport: true } : {}),
      ...(kind === 'delivered' ? { final: true } : {}),
    }
  }
  switch (kind) {
    case 'reject':
      return reject(outcome.code, outcome.enhanced, outcome.text)
    case 'defer':
      return unavailable(outcome.reason ?? outcome.text)
    default:
      return unavailable(`it was ${kind} without an answer`)
  }
}
