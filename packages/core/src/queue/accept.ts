// From an accepted message to its records: the message once, and a block for each variant and lane.

import type { Mailbox } from '@posthorn/mail'
import type { Generation } from '../boot/contract.ts'
import type { Clock } from '../clock.ts'
import type { DeliveryTarget, Outcome } from '../delivery.ts'
import type { Log } from '../log.ts'
import { deliveryTarget } from '../message/target.ts'
import type { Accepted, AcceptedTarget, AcceptedVariant, Ended } from './contract.ts'
import type { Loaded } from './messages.ts'
import { settle } from './outcome.ts'
import { indexKey } from './partition.ts'
import { type Block, type MessageRecord, maxBlock, type RecipientRecord } from './records.ts'
import { policyOf } from './retry.ts'
import { type Routed, routeTarget } from './routing.ts'

/** A block to be written, and where its recipients go. */
export interface NewBlock {
  readonly block: Block
  /** Its key in the index. */
  readonly index: string
  readonly routes: ReadonlyMap<string, Routed>
  /** May be handed over in memory: a newsletter's other blocks wait in the index. */
  readonly handed: boolean
}

/** Blocks of one message that are handed over. */
const mostHanded = 8
const unknown: ReadonlyMap<string, Routed> = new Map()

export interface AcceptContext {
  readonly generation: Generation
  readonly clock: Clock
  readonly log: Log
  readonly random: () => number
}

export function messageRecord(message: Accepted): MessageRecord {
  const { id, received, params, origin, state, body, cause, variants } = message
  let recipients = 0
  for (const variant of variants) recipients += variant.targets.length
  return {
    id,
    received,
    params,
    origin,
    state,
    ...(cause !== undefined && { cause }),
    body: {
      ref: body.ref,
      size: body.size,
      headerSize: body.headerSize,
      inline: body.ops.length > 0,
      ...(body.content !== undefined && { content: body.content }),
    },
    variants: variants.map(({ from, head, skip, junk }) => ({ from, head, skip, ...(junk !== undefined && { junk }) })),
    recipients,
  }
}

/** MT-PRIORITY (RFC 6710 §3): -9 to 9, 0 where nothing sensible is said. */
export function priorityOf({ params }: Pick<Accepted, 'params'>): number {
  const said = params.other['MT-PRIORITY']
  return typeof said === 'string' && /^-?\d$/.test(said) ? Number(said) : 0
}

/** Who takes turns with others in a lane: the user, or the reverse-path. */
function senderOf(message: Accepted, from: Mailbox | null): string {
  const sender = message.origin.auth?.user ?? (from === null ? '<>' : `${from.local}@${from.domain}`)
  return sender.slice(0, 320)
}

/** Asks where every target goes. */
export async function makeBlocks(message: Accepted, loaded: Loaded, context: AcceptContext): Promise<NewBlock[]> {
  const { generation, clock, log } = context
  const routing = { agents: generation.plan.agents, clock, log }
  const blocks: NewBlock[] = []
  let o = 0
  for (let v = 0; v < message.variants.length; v++) {
    const variant = message.variants[v] as AcceptedVariant
    const lanes = new Map<string, { recipients: RecipientRecord[]; routes: Routed[] }>()
    const ended: { recipient: RecipientRecord; outcome: Outcome }[] = []
    const queued = loaded.variant(v)
    let before: Routed | undefined
    for (const target of variant.targets) {
      const recipient = recipientRecord(target, o++)
      if (target.ended !== undefined) {
        ended.push({ recipient, outcome: outcomeAtDot(target.ended) })
        continue
      }
      const to: DeliveryTarget = deliveryTarget(target)
      const answer = routeTarget(to, queued, undefined, routing)
      const asked = answer instanceof Promise ? await answer : answer
      const routed: Routed = same(asked, before) ? before : asked
      before = routed
      const lane = lanes.get(routed.lane)
      if (lane === undefined) lanes.set(routed.lane, { recipients: [recipient], routes: [routed] })
      else {
        lane.recipients.push(recipient)
        lane.routes.push(routed)
      }
    }
    for (const [lane, { recipients, routes }] of lanes) {
      for (let i = 0; i < recipients.length; i += maxBlock) {
        const part = recipients.length <= maxBlock ? recipients : recipients.slice(i, i + maxBlock)
        const handed = blocks.length < mostHanded
        const known = handed ? new Map(part.map((r, n) => [r.id, routes[i + n] as Routed])) : unknown
        const block = newBlock(message, variant, v, lane, part)
        blocks.push({ block, index: indexKey(block), routes: known, handed })
      }
    }
    if (ended.length > 0) for (const block of endedBlocks(message, variant, v, ended, context)) blocks.push(block)
  }
  const [only] = blocks
  if (blocks.length === 1 && only !== undefined) return [{ ...only, block: { ...only.block, solo: true } }]
  return blocks
}

/** Whether an answer is the one before it: agents make a new one for each of fifty thousand recipients. */
function same(one: Routed, before: Routed | undefined): before is Routed {
  return (
    before !== undefined &&
    one.lane === before.lane &&
    one.entry === before.entry &&
    one.outcome === before.outcome &&
    one.route?.data === before.route?.data
  )
}

const outcomeAtDot = (ended: Ended): Outcome => ('by' in ended ? ended : { ...ended, scope: 'recipient' })

/** What ended at the dot: its sender is told if it wants to hear; what was refused and has no sender is held. */
function endedBlocks(
  message: Accepted,
  variant: AcceptedVariant,
  v: number,
  ended: readonly { recipient: RecipientRecord; outcome: Outcome }[],
  { generation, clock, random }: AcceptContext,
): NewBlock[] {
  const { queue } = generation.config
  const block = newBlock(
    { ...message },
    { ...variant, hold: '' },
    v,
    'dot',
    ended.map(r => r.recipient),
  )
  const outcomes = new Map(ended.map(r => [r.recipient.id, r.outcome]))
  const policy = { ...policyOf(queue, undefined), expire: Number.NEGATIVE_INFINITY }
  const context = { now: clock.now(), from: variant.from, policy, gather: 0, random }
  return settle(block, block.recipients, outcomes, context).next.map(next => ({
    block: next,
    index: indexKey(next),
    routes: unknown,
    handed: false,
  }))
}

function newBlock(
  message: Accepted,
  variant: AcceptedVariant,
  v: number,
  lane: string,
  recipients: readonly RecipientRecord[],
): Block {
  const { hold } = variant
  return {
    id: message.id,
    n: (recipients[0] as RecipientRecord).o,
    variant: v,
    lane,
    status: hold ? 'held' : 'queued',
    at: message.received,
    priority: priorityOf(message),
    sender: senderOf(message, variant.from),
    from: variant.from?.raw ?? '',
    received: message.received,
    waited: 0,
    solo: false,
    ...(hold && { reason: hold }),
    recipients,
  }
}

function recipientRecord(target: AcceptedTarget, o: number): RecipientRecord {
  const { id, address, original, notify, orcpt, state } = target
  let some = false
  for (const _ in state) {
    some = true
    break
  }
  return {
    o,
    id,
    to: address,
    ...(original !== undefined && { original }),
    ...(notify !== undefined && { notify }),
    ...(orcpt !== undefined && { orcpt }),
    ...(some && { state }),
    tries: 0,
    attempts: untried,
  }
}

const untried: RecipientRecord['attempts'] = Object.freeze([])
