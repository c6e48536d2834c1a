// Telling senders what became of their mail. Whatever of a message is to be told goes into one report: when nothing of
// it is under way any more, or `gather` after the first. The batch that commits the report removes what it tells of.

import type { Mailbox } from '@posthorn/mail'
import type { Submission } from '../pipeline/submission.ts'
import type { Op } from '../storage/contract.ts'
import { type Desk, finish, removeMessage } from './desk.ts'
import { reasonOf } from './errors.ts'
import { blocksOf, delayedKey, delayKey, parseBlockKey, parseTimed, timeText } from './keys.ts'
import { shardOf } from './leases.ts'
import type { Loaded } from './messages.ts'
import { expiresAt, wantsReport } from './outcome.ts'
import { removeBlock } from './partition.ts'
import { type Block, decodeBlock } from './records.ts'
import { maxReported, type Told, writeReport } from './report.ts'
import { policyOf } from './retry.ts'

const atOnce = 4
const passLimit = 500
const firstRetry = 5000
const longestRetry = 300_000

/** What one report is made of. */
interface Draft {
  readonly from: Mailbox
  readonly variant: number
  /** The lowest recipient that it tells of: names the report, for each ends only once. */
  first: number
  readonly told: Told[]
  more: number
  readonly blocks: { readonly block: Block; readonly size: number }[]
}

export class Reports {
  readonly #desk: Desk
  readonly #submission: () => Submission | undefined
  readonly #shards: number
  readonly #working = new Map<string, Promise<void>>()
  #timer: (() => void) | undefined
  #timerAt = Infinity
  /** Nothing of the index is due before this. */
  #lowAt = 0
  #running = false
  #failures = 0
  #stopped = false

  constructor(desk: Desk, submission: () => Submission | undefined, shards: number) {
    this.#desk = desk
    this.#submission = submission
    this.#shards = shards
  }

  /** Something is to be told at `at`; or, after boot, perhaps. */
  note(at: number): void {
    this.#lowAt = Math.min(this.#lowAt, at)
    this.#wakeAt(at)
  }

  #wakeAt(at: number): void {
    if (this.#stopped || at >= this.#timerAt) return
    const { clock } = this.#desk
    this.#timer?.()
    this.#timerAt = at
    this.#timer = clock.after(Math.min(Math.max(0, at - clock.now()), 2 ** 31 - 1), () => {
      this.#timer = undefined
      this.#timerAt = Infinity
      void this.#pass()
    })
  }

  /** Nobody works on the message here: ends it if nothing is left, tells what waits unless more falls due before long. */
  async rested(id: string): Promise<void> {
    const { storage, clock, generation, messages, log } = this.#desk
    if (this.#stopped) return
    try {
      const soon = clock.now() + generation().config.queue.gather
      let waits = false
      let empty = true
      for await (const batch of storage.range(blocksOf(id))) {
        for (const [key, value] of batch) {
          empty = false
          const block = decodeBlock(id, parseBlockKey(key)?.n ?? -1, value)
          if (block.status === 'queued' && block.at <= soon) return
          if (block.status === 'report') waits = true
        }
      }
      if (empty) {
        const message = await messages.read(id)
        if (message !== undefined) await finish(this.#desk, message.record)
      } else if (waits && !messages.active(id) && this.#ours(id)) await this.tell(id)
    } catch (error) {
      log.warn({ id, error: reasonOf(error) }, 'a message of several parts is looked at again later')
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.()
    await Promise.all(this.#working.values())
  }

  #ours(id: string): boolean {
    return this.#desk.leases.owns(shardOf(id, this.#shards))
  }

  async #pass(): Promise<void> {
    if (this.#running) return
    this.#running = true
    const { clock, log } = this.#desk
    // Removed keys pile up at the head of the index, so it is read from where something may be.
    const from = this.#lowAt
    this.#lowAt = Infinity
    try {
      const { due, next } = await this.#due(from)
      const ids = [...due.keys()].filter(id => this.#ours(id))
      for (let i = 0; i < ids.length; i += atOnce) {
        await Promise.all(ids.slice(i, i + atOnce).map(id => this.tell(id, due.get(id))))
      }
      if (next !== undefined) this.note(next)
    } catch (error) {
      this.#lowAt = Math.min(this.#lowAt, from)
      const wait = this.#pause()
      log.error({ error: reasonOf(error), retryMs: wait }, 'reports cannot be sent; trying again')
      this.#wakeAt(clock.now() + wait)
    } finally {
      this.#running = false
    }
  }

  /** Keys of the index that are due, by message, and when the next is. */
  async #due(from: number): Promise<{ due: Map<string, string[]>; next: number | undefined }> {
    const now = this.#desk.clock.now()
    const due = new Map<string, string[]>()
    let entries = 0
    let last = from
    for await (const batch of this.#desk.storage.range({ gte: `u/${timeText(from)}`, lt: 'u0', limit: passLimit })) {
      for (const [key] of batch) {
        const entry = parseTimed(key)
        entries++
        if (entry === undefined) continue
        if (entry.at > now) return { due, next: entry.at }
        last = entry.at
        const keys = due.get(entry.id)
        if (keys === undefined) due.set(entry.id, [key])
        else keys.push(key)
      }
    }
    return { due, next: entries === passLimit ? last : undefined }
  }

  #pause(): number {
    return Math.min(firstRetry * 2 ** Math.min(this.#failures++, 10), longestRetry)
  }

  /** Reports on the message what there is to report. `keys`: of the index, removed where nothing stands behind them. */
  async tell(id: string, keys: readonly string[] = []): Promise<void> {
    const before = this.#working.get(id)
    if (before !== undefined) await before.catch(() => {})
    if (this.#stopped) return
    const work = this.#tell(id, keys)
    this.#working.set(id, work)
    try {
      await work
    } finally {
      if (this.#working.get(id) === work) this.#working.delete(id)
    }
  }

  async #tell(id: string, keys: readonly string[]): Promise<void> {
    const { storage, clock, messages, generation, journal, log } = this.#desk
    const { queue } = generation().config
    const message = await messages.read(id)
    const now = clock.now()
    const stale: Op[] = keys.map(key => ({ type: 'del', key }))
    if (message === undefined) {
      // A delay mark may outlive its message; a block may not.
      for await (const batch of storage.range({ ...blocksOf(id), limit: 1 })) {
        if (batch.length > 0)
          log.error({ id }, 'a report cannot be written: its message record is missing; run posthorn fsck')
      }
      await journal.write(stale, true, undefined)
      return
    }
    const { record } = message
    const delayDue = record.received + queue.delayReport
    const tellDelay =
      now >= delayDue && keys.some(key => key.endsWith('/delay')) && !(await storage.get(delayedKey(id)))
    const ended = new Map<number, Draft>()
    const delayed = new Map<number, Draft>()
    for await (const batch of storage.range(blocksOf(id))) {
      for (const [key, value] of batch) {
        const block = decodeBlock(id, parseBlockKey(key)?.n ?? -1, value)
        const from = record.variants[block.variant]?.from ?? null
        if (block.status === 'report') gather(ended, block, from, undefined)
        else if (tellDelay && block.status === 'queued') {
          const policy = policyOf(queue, undefined)
          gather(delayed, block, from, expiresAt(block, policy))
        }
      }
    }
    let sent = true
    for (const draft of ended.values()) sent = (await this.#send(message, draft, false)) && sent
    for (const draft of delayed.values()) sent = (await this.#send(message, draft, true)) && sent
    if (!sent) return
    // Marks without anything behind them any more.
    const left = stale.filter(op => op.key.endsWith('/delay') || ended.size === 0)
    if (left.length > 0) await journal.write(left, true, undefined)
    if ([...ended.values()].some(draft => draft.blocks[0]?.block.solo === false)) await finish(this.#desk, record)
  }

  /** False: later. */
  async #send(message: Loaded, draft: Draft, delay: boolean): Promise<boolean> {
    const { clock, generation, tally, trace, log, blobs } = this.#desk
    const { record } = message
    const config = generation().config
    const id = `dsn.${record.id}.${draft.first}${delay ? '.delay' : ''}`
    const ops: Op[] = []
    for (const { block } of draft.blocks) removeBlock(block, ops)
    if (delay) {
      ops.push({ type: 'put', key: delayedKey(record.id), value: Buffer.from(String(clock.now())) })
      ops.push({ type: 'del', key: delayKey(record.received + config.queue.delayReport, record.id) })
    }
    const solo = !delay && draft.blocks[0]?.block.solo === true
    if (solo) removeMessage(record, blobs, ops, config.queue, true)
    const submission = this.#submission()
    try {
      if (submission === undefined) throw new Error('no way to submit mail')
      const report = await writeReport({
        id,
        hostname: config.hostname,
        now: clock.now(),
        record,
        variant: draft.variant,
        message: message.variant(draft.variant),
        to: draft.from,
        told: draft.told,
        more: draft.more,
      })
      const result = await submission.submit(
        {
          id,
          cause: record.id,
          // RFC 3461 §6.1: from the null reverse-path, so that a report never makes another.
          from: null,
          to: [draft.from],
          smtputf8: report.smtputf8,
          eightBit: report.eightBit,
          dsn: { notify: ['never'], other: {} },
          body: once(report.bytes),
        },
        { with: ops },
      )
      // It was committed before, and what it cleared with it; a mark written since goes now.
      if (result === 'exists') await this.#desk.journal.write(ops, false, undefined)
      for (const { block, size } of draft.blocks) tally.remove(block, size)
      if (solo) tally.messages--
      this.#failures = 0
      const count = draft.told.length + draft.more
      const actions = [...new Set(draft.told.map(one => (delay ? 'delayed' : (one.recipient.action ?? 'failed'))))]
      log.info({ id: record.id, report: id, to: draft.from.raw, recipients: count, actions, result }, 'told the sender')
      const reason = `${actions.join(', ')}: report ${id} to <${draft.from.raw}>`
      trace.append(record.id, [{ at: clock.now(), stage: 'report', verdict: result, reason, count }])
      return true
    } catch (error) {
      const wait = this.#pause()
      log.error({ id: record.id, report: id, error: reasonOf(error), retryMs: wait }, 'a report could not be submitted')
      this.#lowAt = 0
      this.#wakeAt(clock.now() + wait)
      return false
    }
  }
}

/** Puts the block's recipients into the draft of its variant. `until`: they are delayed. */
function gather(drafts: Map<number, Draft>, block: Block, from: Mailbox | null, until: number | undefined): void {
  if (from === null) return
  const told = block.recipients
    .filter(r => until === undefined || wantsReport(from, r.notify, 'delayed'))
    .map((recipient): Told => (until === undefined ? { recipient } : { recipient, willRetryUntil: until }))
  if (told.length === 0) return
  let draft = drafts.get(block.variant)
  if (draft === undefined) {
    draft = { from, variant: block.variant, first: Infinity, told: [], more: 0, blocks: [] }
    drafts.set(block.variant, draft)
  }
  for (const one of told) {
    draft.first = Math.min(draft.first, one.recipient.o)
    if (draft.told.length < maxReported) draft.told.push(one)
    else draft.more++
  }
  // The removal needs names, not fifty thousand recipients.
  if (until === undefined) {
    draft.blocks.push({ block: { ...block, recipients: [] }, size: block.recipients.length })
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
