// Where queued mail goes, by a table: to next hops by SMTP or LMTP, back to its sender, into hold, or nowhere. The
// queue asks again for each attempt, so a reload re-routes what waits. The dialogue is core's client.
import {
  type Defer,
  type Discard,
  definePlugin,
  type Hold,
  isRouted,
  type Outcome,
  type Reject,
  type Route,
  Rules,
  reject,
  selectsRecipient,
  type Target,
  type Transaction,
} from '@posthorn/core'
import { HopMemory, placeKey, poolKey, SmtpPool, sendThrough } from '@posthorn/core/client'
import { destinationOf } from './destination.ts'
import { type Rule, schema } from './options.ts'

type Answer = Route | Defer | Reject | Discard | Hold | undefined

/** A route that was pinned, or that a reload took away while it was on its way to us. */
const gone = (lane: string): Outcome => ({
  kind: 'defer',
  code: 451,
  enhanced: '4.4.4',
  text: 'no such route',
  reason: `the table has no route ${lane}`,
  scope: 'lane',
})

export default definePlugin({
  name: 'routes',
  schema,
  async setup(ctx, { table, routedLocalParts, idle, uses, age }) {
    const destinations = table.flatMap(rule => (rule.to === undefined ? [] : [destinationOf(ctx.name, rule, rule.to)]))
    const byLane = new Map(destinations.map(destination => [destination.lane, destination]))
    const most = destinations.map(({ limits: { concurrency = 20 }, hops }) => concurrency * hops)
    const limits = {
      perHop: Math.max(1, ...most),
      total: Math.max(
        1,
        most.reduce((sum, n) => sum + n, 0),
      ),
      idle,
      uses,
      age,
    }
    const pool = await ctx.shared(
      poolKey(limits),
      limits,
      () => new SmtpPool(limits),
      pool => pool.close(),
    )
    const memory = new HopMemory()
    const rules = new Rules<Answer>(table.map(rule => [rule.when, answerOf(rule)] as const))
    const accepted = new Set(table.flatMap(({ accept, when }) => (accept ? [...(when.recipients ?? [])] : [])))
    const fits = ({ address }: Target) =>
      selectsRecipient({ recipients: accepted }, address) && (routedLocalParts || !isRouted(address))

    const refused = (target: Target, { from, session }: Transaction) => {
      const answer = rules.early(target, { from, origin: session })
      return answer !== undefined && 'kind' in answer && answer.kind === 'reject' ? answer : undefined
    }

    return {
      rcpt(tx, to) {
        if (to.targets.length === 0) return
        // What a rule will refuse is refused here, as far as it can be known, and makes no report to a forged sender.
        const [first, ...others] = to.targets.map(target => refused(target, tx))
        if (first !== undefined && others.every(other => other !== undefined)) return first
        if (accepted.size > 0 && to.targets.every(fits)) return 'accept'
      },
      deliver: {
        route: (to, message) => rules.find(to, message),
        limits: lane => byLane.get(lane)?.limits ?? {},
        async send(message, to, { lane }, call) {
          const destination = byLane.get(lane)
          const hops = destination?.order(message.origin.local.hostname, message.origin) ?? []
          const ordered = memory.order(hops, placeKey, call.now())
          await sendThrough(message, to, ordered, call, { pool, memory, by: ctx.name }, () => gone(lane))
        },
      },
    }
  },
})

function answerOf({ name, to, hold, discard, reject: refusal }: Rule): Answer {
  const why = (reason: string) => (name === undefined ? reason : `${name}: ${reason}`)
  if (to !== undefined) return { lane: name ?? (to.hops[0]?.hop as string), data: null }
  if (hold !== undefined) return { kind: 'hold', reason: why(hold) }
  if (discard !== undefined) return { kind: 'discard', reason: why(discard) }
  if (refusal === undefined) return undefined
  return reject(550, refusal.enhanced as `5.${number}.${number}`, refusal.text, { reason: why('refused by a route') })
}
