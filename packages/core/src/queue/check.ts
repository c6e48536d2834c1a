// What `posthorn fsck` asks of the queue: that each block can be read, has its message and its one index key, and that
// nothing lies about that belongs to none. Holds one batch in memory, and never writes.
import type { Finding, RecordCheck } from '../storage/check.ts'
import type { Op, Storage } from '../storage/contract.ts'
import { reasonOf } from './errors.ts'
import { blockKey, blocksOf, messageKey, parseBlockKey, parseDueKey, parseTimed } from './keys.ts'
import { indexKey, putBlock } from './partition.ts'
import { type Block, decodeBlock, decodeMessage } from './records.ts'

type Reader = Pick<Storage, 'get' | 'getMany' | 'range'>

/** For a store that nobody is using. */
export const queueCheck: RecordCheck = {
  name: 'queue',
  async *check(storage) {
    yield* checkMessages(storage)
    yield* checkBlocks(storage)
    yield* checkIndex(storage, 'd/', 'd0')
    yield* checkIndex(storage, 'h/', 'h0')
    yield* checkIndex(storage, 'u/', 'u0')
  },
}

async function* checkMessages(storage: Reader): AsyncGenerator<Finding> {
  for await (const batch of storage.range({ gte: 'm/', lt: 'm0' })) {
    for (const [key, value] of batch) {
      const id = key.slice(2)
      try {
        decodeMessage(id, value)
      } catch (error) {
        yield unreadable(key, error)
        continue
      }
      let blocks = false
      for await (const found of storage.range({ ...blocksOf(id), limit: 1 })) blocks = found.length > 0
      if (blocks) continue
      yield {
        severity: 'waste',
        at: key,
        what: 'a message whose recipients are all done',
        fix: 'The server removes it after its next start, with its body.',
      }
    }
  }
}

async function* checkBlocks(storage: Reader): AsyncGenerator<Finding> {
  for await (const batch of storage.range({ gte: 'r/', lt: 'r0' })) {
    for (const [key, value] of batch) {
      const name = parseBlockKey(key)
      let block: Block
      try {
        if (name === undefined) throw new RangeError('no such key is ever written')
        block = decodeBlock(name.id, name.n, value)
      } catch (error) {
        yield unreadable(key, error)
        continue
      }
      const index = indexKey(block)
      const [message, entry] = await storage.getMany([messageKey(block.id), index])
      if (message === undefined) {
        const addresses = block.recipients.slice(0, 20).map(r => r.to.raw)
        yield {
          severity: 'lost',
          at: key,
          what: `mail to ${addresses.join(', ')} whose message record is missing`,
          fix: 'Restore it from a backup, or tell the sender; `posthorn queue delete` removes what is left.',
        }
      }
      if (entry !== undefined) continue
      const ops: Op[] = []
      putBlock(block, ops)
      yield {
        severity: 'damaged',
        at: key,
        what: `${block.status} mail that lost its place in the index`,
        fix: '--repair gives it back; so does the server by itself, soon after it starts.',
        repair: ops.slice(1),
      }
    }
  }
}

async function* checkIndex(storage: Reader, gte: string, lt: string): AsyncGenerator<Finding> {
  for await (const batch of storage.range({ gte, lt })) {
    for (const [key] of batch) {
      const entry = gte === 'd/' ? parseDueKey(key) : parseTimed(key)
      // A delay mark stands for its message, not for a block.
      if (entry !== undefined && Number.isNaN(entry.n)) continue
      const value = entry && (await storage.get(blockKey(entry.id, entry.n)))
      if (entry !== undefined && value !== undefined && stands(key, entry.id, entry.n, value)) continue
      yield {
        severity: 'waste',
        at: key,
        what: 'an index key that stands for nothing',
        fix: '--repair removes it; the server does so when it meets it.',
        repair: [{ type: 'del', key }],
      }
    }
  }
}

// A block that cannot be read was reported already; its index keys stay.
function stands(key: string, id: string, n: number, value: Uint8Array): boolean {
  try {
    return indexKey(decodeBlock(id, n, value)) === key
  } catch {
    return true
  }
}

const unreadable = (key: string, error: unknown): Finding => ({
  severity: 'lost',
  at: key,
  what: `a queue record that cannot be read: ${reasonOf(error)}`,
  fix: 'Restore it from a backup.',
})
