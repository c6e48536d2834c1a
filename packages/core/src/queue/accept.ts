// From an accepted message to its records: the message once, and a block for each variant and lane.

import type { Mailbox } from '@posthorn/mail'
import type { Generation } from '../boot/contract.ts'
import type { Clock } from '../clock.ts'
import type { DeliveryTarget, Outcome } from '../delivery.ts'
import type { Log } from '../log.ts'
import { deliveryTarget } from '../message/target.ts'
import type { Op } from '../storage/contract.ts'
import type { Accepted, AcceptedTarget, AcceptedVariant, Ended } from './contract.ts'
import type { Loaded } from './messages.ts'
import { settle } from './outcome.ts'
import { type BlockKeys, keysOf, putBlock } from './partition.ts'
import { type Block, type MessageRecord, maxBlock, type RecipientRecord } from './records.ts'
import { policyOf } from './retry.ts'
import { type Routed, routeTarget } from './routing.ts'

/** A block whose records are made, and where its recipients go. */
export interface NewBlock extends BlockKeys {
  /** Where it is not handed over, with its first recipient only: the others are in its record, and may be 50,000. */
  readonly block: Block
  /** How many recipients it has. */
  readonly size: number
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

/** Asks where every target goes. The records of a block go into `ops` as soon as it is full: see {@link NewBlock}. */
export async function makeBlocks(
  message: Accepted,
  loaded: Loaded,
  context: AcceptContext,
  ops: Op[],
): Promise<NewBlock[]> {
  const { generation, clock, log } = context
  const routing = { agents: generation.plan.agents, clock, log }
  const made = new NewBlocks(ops)
  let o = 0
  for (let v = 0; v < message.variants.length; v++) {
    const variant = message.variants[v] as AcceptedVariant
    const lanes = new Map<string, OpenBlock>()
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
      const open = lanes.get(routed.lane)
      if (open === undefined) {
        lanes.set(routed.lane, { recipients: [recipient], routes: [routed] })
        continue
      }
      if (open.recipients.length === maxBlock) {
        made.add(newBlock(message, variant, v, routed.lane, open.recipients), open.routes)
        open.recipients = []
        open.routes = []
      }
      open.recipients.push(recipient)
      open.routes.push(routed)
    }
    for (const [lane, { recipients, routes }] of lanes) {
      made.add(newBlock(message, variant, v, lane, recipients), routes)
    }
    if (ended.length > 0) for (const block of endedBlocks(message, variant, v, ended, context)) made.add(block)
  }
  return made.finished()
}

/** The recipients of a lane that are not in a record yet. */
interface OpenBlock {
  recipients: RecipientRecord[]
  routes: Routed[]
}

/** Puts the records of blocks into `ops`. The first waits for a second: one that stays the only one is `solo`. */
class NewBlocks {
  readonly #ops: Op[]
  readonly #made: NewBlock[] = []
  #first: { readonly block: Block; readonly routes: readonly Routed[] | undefined } | undefined

  constructor(ops: Op[]) {
    this.#ops = ops
  }

  /** `routes`: of each recipient, where the block may be handed over. */
  add(block: Block, routes?: readonly Routed[]): void {
    if (this.#first === undefined && this.#made.length === 0) {
      this.#first = { block, routes }
      return
    }
    this.#putFirst(false)
    this.#put(block, routes)
  }

  finished(): NewBlock[] {
    this.#putFirst(true)
    return this.#made
  }

  #putFirst(solo: boolean): void {
    if (this.#first === undefined) return
    const { block, routes } = this.#first
    this.#first = undefined
    this.#put(solo ? { ...block, solo } : block, routes)
  }

  #put(block: Block, routes: readonly Routed[] | undefined): void {
    const { recipients } = block
    const size = recipients.length
    const keys = keysOf(block)
    putBlock(block, this.#ops, keys)
    if (routes !== undefined && this.#made.length < mostHanded) {
      const known = new Map(recipients.map((r, n) => [r.id, routes[n] as Routed]))
      this.#made.push({ block, size, ...keys, routes: known, handed: true })
    } else {
      const short = { ...block, recipients: recipients.slice(0, 1) }
      this.#made.push({ block: short, size, ...keys, routes: unknown, handed: false })
    }
  }
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
): readonly Block[] {
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
  return settle(block, block.recipients, outcomes, context).next
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
