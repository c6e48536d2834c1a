// The options of `routes`: a table of rules, each with what becomes of the mail that it is for.
import { duration, selector } from '@posthorn/core'
import { checkTls, endpointText, hopShape, keepShape, laneShape } from '@posthorn/core/client'
import * as z from 'zod'

const hop = z.strictObject({
  hop: endpointText().describe('The next hop, `host:port` or `unix:/path`'),
  priority: z.int().min(0).max(65_535).default(0).describe('The lowest goes first, the others are for when it fails'),
  weight: z.int().min(1).max(65_535).default(1).describe('Share of the mail among hops of equal priority'),
})

const hops = z
  .union([endpointText(), z.array(endpointText()).min(1), z.array(hop).min(1)], {
    error: 'expected host:port, a list of them, or a list of { hop, priority, weight }',
  })
  .transform(given =>
    (typeof given === 'string' ? [given] : given).map((one, priority) =>
      typeof one === 'string' ? { hop: one, priority, weight: 1 } : one,
    ),
  )
  .describe('Next hops: the first that works, or by priority and weight')

const destination = z
  .strictObject({
    hops,
    ...hopShape,
    ...laneShape,
    retry: z
      .array(duration({ min: 1 }))
      .min(1)
      .optional()
      .describe("Times between attempts; default the queue's"),
    expire: duration({ min: 1 }).optional().describe("When to give up; default the queue's"),
  })
  .superRefine(checkTls)

/** A destination; hops alone are one with every default. */
const to = z
  .union([endpointText(), z.array(endpointText()).min(1), destination], {
    error: 'expected host:port, a list of them, or a group of options with hops',
  })
  .transform(given => (typeof given === 'string' || Array.isArray(given) ? destination.parse({ hops: given }) : given))

const oneLine = z.string().regex(/^[^\p{Cc}]{1,400}$/u, 'expected one line of text')

const refusal = z
  .union([oneLine, z.strictObject({ enhanced: z.string().regex(/^5\.\d{1,3}\.\d{1,3}$/), text: oneLine })])
  .transform(given => (typeof given === 'string' ? { enhanced: '5.7.1', text: given } : given))

const actions = ['to', 'pass', 'hold', 'discard', 'reject'] as const

const rule = z
  .strictObject({
    name: z
      .string()
      .regex(/^[\w.:[\]-]{1,100}$/, 'expected a name of letters, digits and . _ : -')
      .optional()
      .describe('Its name, for lanes and reasons; default the first hop'),
    when: selector().prefault({}).describe('The mail it is for: all that is given must hold, of each list one'),
    to: to.optional().describe('Where it goes: next hops, and how to talk to them'),
    pass: z.literal(true).optional().describe('Leaves it to the plugins behind this one'),
    hold: oneLine.optional().describe('Holds it until an operator releases it, for this reason'),
    discard: oneLine.optional().describe('Drops it, for this reason; nobody is told'),
    reject: refusal.optional().describe('Refuses it with this text, or { enhanced, text }; what is queued is returned'),
    accept: z
      .boolean()
      .default(false)
      .describe('Accept the recipients that `when` names at RCPT: mail for them comes to us'),
  })
  .superRefine((given, ctx) => {
    const chosen = actions.filter(action => given[action] !== undefined)
    const complain = (path: string, message: string) => ctx.addIssue({ code: 'custom', path: [path], message })
    if (chosen.length !== 1) complain(chosen[1] ?? 'to', `expected one of ${actions.join(', ')}, and only one`)
    const { recipients } = given.when
    if (given.accept && (recipients === undefined || recipients.has('*'))) {
      complain('accept', 'expected recipients in `when`: without them it would accept mail for everybody')
    }
  })

export const schema = z
  .strictObject({
    table: z.array(rule).min(1).describe('Rules; the first that fits is the one'),
    routedLocalParts: z
      .boolean()
      .default(false)
      .describe('Accept local parts with %, ! or @ in them too, which the next hop may take for a route elsewhere'),
    ...keepShape,
  })
  .superRefine(({ table }, ctx) => {
    const seen = new Set<string>()
    for (const [nth, { name, to }] of table.entries()) {
      // What is wrong in itself comes here as it was written.
      const lane = name ?? (to as Partial<Destination> | undefined)?.hops?.[0]?.hop
      if (to === undefined || lane === undefined) continue
      if (!seen.has(lane)) seen.add(lane)
      else {
        const message = `expected a name of its own: another rule goes to ${lane} too`
        ctx.addIssue({ code: 'custom', path: ['table', nth, 'name'], message })
      }
    }
  })

export type Rule = z.output<typeof rule>
export type Destination = z.output<typeof destination>
