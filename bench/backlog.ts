// Fills a data folder with queued mail before a server starts on it: the records that the queue itself writes, a
// thousand messages in a batch.

import { join } from 'node:path'
import type { Op } from '@posthorn/core'
import { type Accepted, type Block, encodeMessage, messageRecord, putBlock } from '@posthorn/core/runtime'
import { closeStore, openStore } from '@posthorn/plugin-storage-level'

export interface Backlog {
  readonly messages: number
  /** The lane and recipient's domain of the nth message. */
  to(n: number): { readonly lane: string; readonly domain: string }
  /** When the nth message falls due, in ms from now. */
  due(n: number): number
  /** Octets of each message. */
  readonly size: number
  /** Tried once, in vain; else not yet. */
  readonly deferred?: boolean
}

const perBatch = 1000

export async function fill(data: string, backlog: Backlog): Promise<void> {
  const store = await openStore({ path: join(data, 'store'), blobs: join(data, 'blobs') })
  const { storage, blobs } = store
  const text = `From: a@x.test\r\nSubject: backlog\r\n\r\n${`${'z'.repeat(76)}\r\n`.repeat(Math.ceil(backlog.size / 78))}`
  const bytes = Buffer.from(text)
  const headerSize = text.indexOf('\r\n\r\n') + 4
  const header = bytes.subarray(0, headerSize)
  try {
    const now = Date.now()
    for (let from = 0; from < backlog.messages; from += perBatch) {
      const ops: Op[] = []
      for (let n = from; n < Math.min(from + perBatch, backlog.messages); n++) {
        const { lane, domain } = backlog.to(n)
        // As newId makes them: they sort by time.
        const id = `01BACKLOG${String(n).padStart(7, '0')}`
        const { ref, ops: body } = blobs.inline(bytes)
        const address = { local: `u${n}`, domain, raw: `u${n}@${domain}` }
        const message: Accepted = {
          id,
          received: now,
          params: { smtputf8: false, requireTls: false, other: {} },
          origin: {
            id: 'session',
            protocol: 'smtp',
            listener: { name: 'mx', role: 'mx' },
            local: { ip: '127.0.0.1', port: 25, hostname: 'posthorn.test' },
            client: { ip: '127.0.0.1', port: 2525, via: 'direct', trusted: false },
            helo: { verb: 'EHLO', name: 'client.test' },
          },
          state: {},
          body: { ref, ops: body, size: bytes.length, headerSize, header, bytes },
          variants: [
            {
              from: { local: 'a', domain: 'x.test', raw: 'a@x.test' },
              head: Buffer.from('Received: by posthorn.test\r\n'),
              skip: [],
              targets: [{ id: '1', address, state: {} }],
            },
          ],
        }
        ops.push(...body, ...blobs.own(ref, id), {
          type: 'put',
          key: `m/${id}`,
          value: encodeMessage(messageRecord(message)),
        })
        putBlock(block(message, lane, now + backlog.due(n), backlog.deferred === true), ops)
      }
      await storage.write(ops, { relaxed: true })
    }
    // Mail that waits has been sorted long ago: the bench is not of that.
    await storage.compact('\u0001', '\u{10ffff}')
  } finally {
    await closeStore(store)
  }
}

function block({ id, received, variants }: Accepted, lane: string, at: number, deferred: boolean): Block {
  const attempt = {
    at: received,
    lane,
    kind: 'defer',
    code: 451,
    enhanced: '4.4.1',
    text: 'no connection',
    scope: 'lane',
  }
  const [target] = variants[0]?.targets ?? []
  if (target === undefined) throw new Error('a message without a target')
  return {
    id,
    n: 0,
    variant: 0,
    lane,
    status: 'queued',
    at,
    priority: 0,
    sender: 'a@x.test',
    from: 'a@x.test',
    received,
    waited: 0,
    solo: true,
    recipients: [
      {
        o: 0,
        id: target.id,
        to: target.address,
        tries: deferred ? 1 : 0,
        attempts: deferred ? [attempt as never] : [],
      },
    ],
  }
}
