// Taking a block apart where its recipients part: each part is a block again, and has a name that nobody else has.
import type { Op } from '../storage/contract.ts'
import { blockKey, dueKey, encodeLane, heldKey, rankOf, reportKey } from './keys.ts'
import { type Block, encodeBlock, encodeDue, type RecipientRecord } from './records.ts'

/** What is to become of some recipients of a block. */
export interface Part extends Partial<Pick<Block, 'lane' | 'status' | 'at' | 'reason' | 'bounce' | 'waited' | 'pin'>> {
  readonly recipients: readonly RecipientRecord[]
}

const nothing = new Uint8Array(0)

/**
 * The blocks that parts make of a block. The part with the recipient that the block is named by keeps the name, else
 * the first; any other is named by its first recipient. So a name is never in use twice, whoever splits what.
 */
export function partition(block: Block, parts: readonly Part[]): Block[] {
  const filled = parts.filter(part => part.recipients.length > 0)
  const named = filled.findIndex(part => part.recipients.some(r => r.o === block.n))
  const keeper = named === -1 ? 0 : named
  const solo = block.solo && filled.length === 1
  return filled.map((part, i) => {
    const n = i === keeper ? block.n : (part.recipients[0] as RecipientRecord).o
    return { ...block, ...part, n, solo }
  })
}

/** The one key in an index that the block has. */
export function indexKey(block: Block): string {
  const { status, at, id, n } = block
  if (status === 'queued') return dueKey(encodeLane(block.lane), rankOf(block.priority), at, id, n)
  if (status === 'held') return heldKey(block.bounce === true, at, id, n)
  return reportKey(at, id, n)
}

/** A block's own key, and its {@link indexKey}. Whoever knows them hands them on: they are looked up by, and hashed once. */
export interface BlockKeys {
  readonly key: string
  readonly index: string
}

export const keysOf = (block: Block): BlockKeys => ({ key: blockKey(block.id, block.n), index: indexKey(block) })

/** Writes a block and its index key. */
export function putBlock(block: Block, ops: Op[], { key, index }: BlockKeys = keysOf(block)): void {
  ops.push(
    { type: 'put', key, value: encodeBlock(block) },
    { type: 'put', key: index, value: block.status === 'queued' ? encodeDue(block) : nothing },
  )
}

/** Removes a block and its index key. */
export function removeBlock(block: Block, ops: Op[]): void {
  const { key, index } = keysOf(block)
  ops.push({ type: 'del', key }, { type: 'del', key: index })
}

/** What replaces `before` by `after`, its {@link partition}. */
export function replaceBlock(before: Block, after: readonly Block[], { key, index }: BlockKeys = keysOf(before)): Op[] {
  const ops: Op[] = []
  if (!after.some(block => block.n === before.n)) ops.push({ type: 'del', key })
  if (!after.some(block => indexKey(block) === index)) ops.push({ type: 'del', key: index })
  for (const block of after) putBlock(block, ops)
  return ops
}

/**
 * Whether the loss of the write only repeats work. Not so where it names a new block: a later, durable write may then
 * remove the one that its recipients came from.
 */
export const losable = (before: Block, after: readonly Block[]): boolean =>
  after.length === 0 ? before.solo : after.length === 1 && after[0]?.n === before.n
