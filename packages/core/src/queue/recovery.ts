// After boot, in the background: reads every block once, gives back index keys that are missing, says where a message
// record is missing, removes messages without blocks, and counts. New mail does not wait for it, and it is not hurried.
import type { Entry } from '../storage/contract.ts'
import { type Desk, finish } from './desk.ts'
import { reasonOf } from './errors.ts'
import { KeySet } from './key-set.ts'
import { messageKey, parseBlockKey } from './keys.ts'
import { indexKey, putBlock } from './partition.ts'
import { type Block, decodeBlock, decodeMessage } from './records.ts'

/** Blocks between two pauses, keys or messages read at once, and how long pauses last at least. */
const step = 50
const page = 500
const pauseMs = 5
/** A pause is so many times as long as the work before it: mail that moves keeps 95 % of the thread. */
const restFor = 19
const startAfter = 1000

export class Recovery {
  readonly #desk: Desk
  readonly #found: (block: Block) => void
  #stopped = false
  #began = 0
  #since = 0
  #moved = 0
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

  /** One pass over all records. Reads in the order of keys: a million gets would set LevelDB compacting all it has. */
  async #run(first: Promise<IteratorResult<readonly Entry[]>>): Promise<void> {
    const { tally, log, clock } = this.#desk
    const counted = { messages: 0, blocks: 0, rebuilt: 0, missing: 0, orphans: 0 }
    this.#began = clock.now()
    this.#since = clock.monotonic()
    const index = await this.#index()
    let after = 'm/'
    let last = ''
    for (
      let next = await first;
      next.done !== true && !this.#stopped;
      next = await (this.#blocks as AsyncIterator<readonly Entry[]>).next()
    ) {
      for (let i = 0; i < next.value.length; i += step) {
        const blocks = next.value.slice(i, i + step).flatMap(entry => this.#decode(entry))
        const until = messageKey(blocks.at(-1)?.block.id ?? '')
        const messages =
          until < after ? new Set([last]) : await this.#messages(after, `${until}\0`, blocks, last, counted)
        for (const { block, entry } of blocks) {
          if (this.#stopped) return
          counted.blocks++
          tally.add(block)
          if (block.id !== last) {
            counted.messages++
            tally.messages++
          }
          last = block.id
          if (!messages.has(block.id) && !(await this.#stored(messageKey(block.id)))) {
            await this.#missing(block, entry, counted)
          } else if (!index.has(indexKey(block)) && !(await this.#stored(indexKey(block)))) {
            await this.#rebuild(block, entry, counted)
          }
        }
        if (until >= after) after = `${until}\0`
        await this.#pause()
      }
    }
    await this.#messages(after, 'm0', [], last, counted)
    if (this.#stopped) return
    tally.complete = true
    if (counted.rebuilt + counted.missing + counted.orphans > 0) log.warn(counted, 'the queue was checked and repaired')
    else log.info(counted, 'the queue was checked')
  }

  async #stored(key: string): Promise<boolean> {
    return (await this.#desk.storage.get(key)) !== undefined
  }

  /** Every key in an index, by its hash. Read piece by piece: a reader that stays keeps what is removed on the disk. */
  async #index(): Promise<KeySet> {
    const { storage } = this.#desk
    const found = new KeySet()
    for (const kind of ['d', 'h', 'u']) {
      for (let from = `${kind}/`, more = true; more && !this.#stopped; ) {
        more = false
        for await (const batch of storage.range({ gte: from, lt: `${kind}0`, limit: page })) {
          for (const [key] of batch) found.add(key)
          from = `${batch.at(-1)?.[0]}\0`
          more = batch.length > 0
        }
        await this.#pause()
      }
    }
    return found
  }

  /** The ids of messages from one key up to another. Those without a block, which a crash left, are removed. */
  async #messages(
    from: string,
    until: string,
    blocks: readonly { readonly block: Block }[],
    last: string,
    counted: { orphans: number },
  ): Promise<Set<string>> {
    const { storage } = this.#desk
    const found = new Set([last])
    const owners = new Set(blocks.map(({ block }) => block.id)).add(last)
    for (let gte = from, more = true; more && !this.#stopped; ) {
      more = false
      for await (const batch of storage.range({ gte, lt: until, limit: page })) {
        for (const [key, value] of batch) {
          const id = key.slice(2)
          found.add(id)
          if (!owners.has(id)) await this.#orphan(id, key, value, counted)
        }
        gte = `${batch.at(-1)?.[0]}\0`
        more = batch.length > 0
      }
      if (more) await this.#pause()
    }
    return found
  }

  #decode(entry: Entry): { readonly block: Block; readonly entry: Entry }[] {
    const [key, value] = entry
    const name = parseBlockKey(key)
    if (name === undefined) return []
    try {
      return [{ block: decodeBlock(name.id, name.n, value), entry }]
    } catch (error) {
      this.#desk.log.error({ key, error: reasonOf(error) }, 'a queue record cannot be read; run posthorn fsck')
      return []
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

  /** A message whose blocks are all done: a crash came between. What came since the start has blocks that came since. */
  async #orphan(id: string, key: string, value: Uint8Array, counted: { orphans: number }): Promise<void> {
    try {
      const record = decodeMessage(id, value)
      if (record.received >= this.#began || !(await finish(this.#desk, record))) return
      counted.orphans++
      // Its end is counted; itself it was not.
      this.#desk.tally.messages++
    } catch (error) {
      this.#desk.log.error({ key, error: reasonOf(error) }, 'a queue record cannot be read; run posthorn fsck')
    }
  }

  #pause(): Promise<void> {
    const { clock, tally } = this.#desk
    const idle = tally.moved === this.#moved
    this.#moved = tally.moved
    const rest = Math.max(pauseMs, (idle ? 1 : restFor) * (clock.monotonic() - this.#since))
    return new Promise(resolve => {
      const over = () => {
        this.#since = clock.monotonic()
        resolve()
      }
      const cancel = clock.after(rest, over)
      this.#wake = () => {
        cancel()
        over()
      }
    })
  }

  #failed(error: unknown): void {
    if (this.#stopped) return
    this.#desk.log.error({ error: reasonOf(error) }, 'the queue could not be checked')
  }
}
