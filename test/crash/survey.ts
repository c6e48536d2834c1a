// What a data folder holds, read as the next start would find it: queued mail and its bodies, reports in the queue, and
// what lies in Maildirs. Opening the store repairs what LevelDB repairs.
import { join } from 'node:path'
import { openStore } from '@posthorn/plugin-storage-level'
import { parseBlockKey } from '../../packages/core/src/queue/keys.ts'
import { decodeBlock, decodeMessage, type MessageRecord } from '../../packages/core/src/queue/records.ts'
import { arrived } from './letters.ts'
import { maildirs, type Told, toldIn } from './told.ts'

export interface Survey {
  /** By number: the state of each recipient that is still to be delivered to, or held. */
  readonly queued: Map<number, Map<string, string>>
  /** What reports in the folder tell, or will tell. */
  readonly told: Told[]
  /** Deliveries into Maildirs: `number address`. */
  readonly arrived: Set<string>
  readonly wrong: string[]
}

export async function survey(data: string): Promise<Survey> {
  const found: Survey = { queued: new Map(), told: [], arrived: new Set(), wrong: [] }
  const opened = await openStore({ path: join(data, 'store'), blobs: join(data, 'blobs'), free: 0 })
  const { storage, blobs } = opened
  try {
    const messages = new Map<string, { record: MessageRecord; n: number | undefined }>()
    for await (const batch of storage.range({ gte: 'm/', lt: 'm0' })) {
      for (const [key, value] of batch) {
        const record = decodeMessage(key.slice(2), value)
        let blocks = false
        for await (const some of storage.range({ gte: `r/${record.id}/`, lt: `r/${record.id}0`, limit: 1 }))
          blocks = some.length > 0
        // Over: its records go one by one, and its body may be gone.
        if (!blocks) continue
        const chunks: Uint8Array[] = []
        for await (const chunk of blobs.open(record.body.ref)) chunks.push(chunk.slice())
        const body = Buffer.concat(chunks)
        const { n, damaged } = arrived(body)
        if (damaged) found.wrong.push(`the body of ${record.id} in the queue is damaged`)
        if (n === undefined) found.told.push(...toldIn(body.toString('latin1')))
        messages.set(record.id, { record, n })
      }
    }
    for await (const batch of storage.range({ gte: 'r/', lt: 'r0' })) {
      for (const [key, value] of batch) {
        const { id, n: number } = parseBlockKey(key) as { id: string; n: number }
        const block = decodeBlock(id, number, value)
        const n = messages.get(id)?.n
        if (!messages.has(id)) found.wrong.push(`recipients of ${id} are queued without their message`)
        if (n === undefined) continue
        const states = found.queued.get(n) ?? new Map<string, string>()
        found.queued.set(n, states)
        for (const { to, action } of block.recipients) {
          if (block.status !== 'report') states.set(to.raw, block.status)
          else if (action !== undefined)
            found.told.push({ report: `of ${id}`, envelope: String(n), recipient: to.raw, action })
        }
      }
    }
  } finally {
    await opened.blobs.close()
    await opened.storage.close()
  }
  for await (const { address, message, name } of maildirs(join(data, 'mail'))) {
    const { n, damaged } = arrived(message)
    if (damaged) found.wrong.push(`${name} in the Maildir of ${address} is damaged`)
    if (n === undefined) found.told.push(...toldIn(message.toString('latin1')))
    else found.arrived.add(`${n} ${address}`)
  }
  return found
}
