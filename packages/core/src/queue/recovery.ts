// After boot, in the background: reads every block once, gives back index keys that are missing, says where a message
// record is missing, removes messages without blocks, and counts. New mail does not wait for it, and it is not hurried.
import type { Entry } from '../storage/contract.ts'
import { type Desk, finish } from './desk.ts'
import { reasonOf } from './errors.ts'
import { blocksOf, messageKey, parseBlockKey } from './keys.ts'
import { indexKey, putBlock } from './partition.ts'
import { type Block, decodeBlock, decodeMessage } from './records.ts'

/** Records between two pauses, and how long those last. */
const step = 100
const pauseMs = 20
const startAfter = 1000

export class Recovery {
  readonly #desk: Desk
  readonly #found: (block: Block) => void
  #stopped = false
  #wake: (() => void) | undefined
  #blocks: AsyncIterator<readonly Entry[]> | undefined

  constructor(desk: Desk, found: (block: Block) => void) {
    this.#desk = desk
    this.#found = found
  }

  /**
   * Before anything is delivered: what is counted is the store as it is now, and whatever is written from here on counts
   * itself. Under way, a write is in the store a moment before it is in the counts, and they would be wrong for good.
   */
  start(): void {
    const { storage, clock } = this.#desk
    this.#blocks = storage.range({ gte: 'r/', lt: 'r0' })[Symbol.asyncIterator]()
    const first = this.#blocks.next()
    // Told of when it is looked at.
    first.catch(() => {})
    clock.after(startAfter, () => void this.#run(first).catch(error => this.#failed(error)))
  }

  stop(): void {
    this.#stopped = true
    this.#wake?.()
    // The store may be closed before it.
    this.#blocks?.return?.().catch(() => {})
  }

  /** One pass over all records. */
  async #run(first: Promise<IteratorResult<readonly Entry[]>>): Promise<void> {
    const { storage, tally, log } = this.#desk
    const counted = { messages: 0, blocks: 0, rebuilt: 0, missing: 0, orphans: 0 }
    let last = ''
    let lastExists = true
    for (
      let next = await first;
      next.done !== true;
      next = await (this.#blocks as AsyncIterator<readonly Entry[]>).next()
    ) {
      const batch = next.value
      for (let i = 0; i < batch.length; i += step) {
        for (const entry of batch.slice(i, i + step)) {
          if (this.#stopped) return
          const block = this.#decode(entry)
          if (block === undefined) continue
          counted.blocks++
          tally.add(block)
          if (block.id !== last) {
            last = block.id
            lastExists = (await storage.get(messageKey(block.id))) !== undefined
            counted.messages++
            tally.messages++
          }
          if (!lastExists) await this.#missing(block, entry, counted)
          else if ((await storage.get(indexKey(block))) === undefined) await this.#rebuild(block, entry, counted)
        }
        await this.#pause()
      }
    }
    await this.#orphans(counted)
    tally.complete = true
    if (counted.rebuilt + counted.missing + counted.orphans > 0) log.warn(counted, 'the queue was checked and repaired')
    else log.info(counted, 'the queue was checked')
  }

  #decode([key, value]: Entry): Block | undefined {
    const name = parseBlockKey(key)
    if (name === undefined) return undefined
    try {
      return decodeBlock(name.id, name.n, value)
    } catch (error) {
      this.#desk.log.error({ key, error: reasonOf(error) }, 'a queue record cannot be read; run posthorn fsck')
      return undefined
    }
  }

  async #rebuild(block: Block, [key, value]: Entry, counted: { rebuilt: number }): Promise<void> {
    if (!(await this.#same(key, value))) return
    const ops: Parameters<typeof putBlock>[1] = []
    putBlock(block, ops)
    // Only if it is still what was read: a delivery may have ended meanwhile.
    const written = await this.#desk.storage.write(ops.slice(1), { when: [{ key, equals: value }] })
    if (!written) return
    counted.rebuilt++
    this.#desk.log.warn(
      { id: block.id, lane: block.lane },
      'queued mail had lost its place in the index; it has it back',
    )
    this.#found(block)
  }

  async #missing(block: Block, [key, value]: Entry, counted: { missing: number; messages: number }): Promise<void> {
    const { log } = this.#desk
    if (!(await this.#same(key, value))) return
    counted.missing++
    counted.messages--
    this.#desk.tally.messages--
    const recipients = block.recipients.map(recipient => recipient.to.raw).slice(0, 20)
    log.error({ id: block.id, recipients }, 'a message record is missing: mail to these was lost; run posthorn fsck')
  }

  /** Nothing happened to it since the pass began. */
  async #same(key: string, value: Uint8Array): Promise<boolean> {
    const now = await this.#desk.storage.get(key)
    return now !== undefined && Buffer.compare(now, value) === 0
  }

  /** Messages whose blocks are all done: a crash came between. */
  async #orphans(counted: { orphans: number }): Promise<void> {
    const { storage } = this.#desk
    let seen = 0
    for await (const batch of storage.range({ gte: 'm/', lt: 'm0' })) {
      for (const [key, value] of batch) {
        if (this.#stopped) return
        if (++seen % step === 0) await this.#pause()
        const id = key.slice(2)
        let blocks = false
        for await (const found of storage.range({ ...blocksOf(id), limit: 1 })) blocks = found.length > 0
        if (blocks) continue
        try {
          if (await finish(this.#desk, decodeMessage(id, value))) counted.orphans++
        } catch (error) {
          this.#desk.log.error({ key, error: reasonOf(error) }, 'a queue record cannot be read; run posthorn fsck')
        }
      }
    }
  }

  #pause(): Promise<void> {
    return new Promise(resolve => {
      const cancel = this.#desk.clock.after(pauseMs, resolve)
      this.#wake = () => {
        cancel()
        resolve()
      }
    })
  }

  #failed(error: unknown): void {
    if (this.#stopped) return
    this.#desk.log.error({ error: reasonOf(error) }, 'the queue could not be checked')
  }
}
