// What the parts of the queue share: the store and its journal, the messages in memory, the configuration at work, and
// where things are told. One for each queue.
import type { Generation } from '../boot/contract.ts'
import type { Clock } from '../clock.ts'
import type { QueueConfig } from '../config/contract.ts'
import type { DeliveryTarget, Outcome, Queued } from '../delivery.ts'
import type { Timers } from '../hooks/timers.ts'
import type { Log } from '../log.ts'
import type { Blobs, Op, Storage } from '../storage/contract.ts'
import type { TraceSink } from './contract.ts'
import type { Journal } from './journal.ts'
import { blocksOf, delayedKey, delayKey, messageKey } from './keys.ts'
import type { Leases } from './leases.ts'
import type { Messages } from './messages.ts'
import type { Block, MessageRecord } from './records.ts'
import type { Tally } from './tally.ts'
import type { Throttles } from './throttle.ts'

export interface Desk {
  readonly storage: Storage
  readonly blobs: Blobs
  readonly clock: Clock
  readonly log: Log
  /** [0, 1). */
  readonly random: () => number
  readonly generation: () => Generation
  readonly trace: TraceSink
  readonly journal: Journal
  readonly leases: Leases
  readonly messages: Messages
  /** Messages without blocks whose records are being removed. */
  readonly ending: Set<string>
  readonly throttles: Throttles
  readonly timers: Timers
  readonly tally: Tally
  readonly outcome: (message: Queued, to: DeliveryTarget, outcome: Outcome, generation: Generation) => void
  /** Blocks that were written: whoever waits for such learns of them. */
  readonly written: (block: Block) => void
  /** Delay marks were written, none before `at`. */
  readonly late: (at: number) => void
  /** Nobody here works on the message any more: reports may go out before their time. */
  readonly rested: (id: string) => void
}

/** When a delay report is due for what is still queued. */
export const delayedAt = (received: number, config: QueueConfig): number => received + config.delayReport

/** What goes with the last block of a message. */
export function removeMessage(
  record: MessageRecord,
  blobs: Blobs,
  ops: Op[],
  config: QueueConfig,
  tried: boolean,
): void {
  ops.push({ type: 'del', key: messageKey(record.id) }, ...blobs.disown(record.body.ref, record.id, true))
  if (!tried) return
  ops.push({ type: 'del', key: delayedKey(record.id) })
  ops.push({ type: 'del', key: delayKey(delayedAt(record.received, config), record.id) })
}

/**
 * Ends a message whose blocks went one by one: removes it if no block is left. Their removal must be durable by now.
 * May be called again and by several: it comes to the same. True: it was this call.
 */
export async function finish(desk: Desk, record: MessageRecord): Promise<boolean> {
  const { storage, blobs, journal, tally, generation, ending } = desk
  for await (const batch of storage.range({ ...blocksOf(record.id), limit: 1 })) if (batch.length > 0) return false
  if ((await storage.get(messageKey(record.id))) === undefined) return false
  // Of several at the same time only one counts.
  if (ending.has(record.id)) return false
  ending.add(record.id)
  try {
    const ops: Op[] = []
    removeMessage(record, blobs, ops, generation().config.queue, true)
    if (!(await journal.write(ops, false, undefined))) return false
    tally.messages--
    return true
  } finally {
    ending.delete(record.id)
  }
}
