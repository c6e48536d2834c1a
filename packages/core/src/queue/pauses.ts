// Lanes that an operator paused: remembered over restarts, one small record each.
import type { Storage } from '../storage/contract.ts'
import { pauseKey } from './keys.ts'
import type { Pause } from './lane.ts'

export async function loadPauses(storage: Pick<Storage, 'range'>): Promise<Map<string, Pause>> {
  const pauses = new Map<string, Pause>()
  for await (const batch of storage.range({ gte: 'p/', lt: 'p0' })) {
    for (const [key, value] of batch) pauses.set(decodeURIComponent(key.slice(2)), parse(value))
  }
  return pauses
}

/** Durable when it resolves. `undefined`: the lane goes on. */
export async function storePause(
  storage: Pick<Storage, 'write'>,
  lane: string,
  pause: Pause | undefined,
): Promise<void> {
  const key = pauseKey(lane)
  await storage.write([
    pause === undefined ? { type: 'del', key } : { type: 'put', key, value: Buffer.from(JSON.stringify(pause)) },
  ])
}

// A damaged record still says that somebody wanted the lane to stand still.
function parse(value: Uint8Array): Pause {
  try {
    const { since, reason } = JSON.parse(Buffer.from(value).toString()) as { since: unknown; reason: unknown }
    return { since: Number(since) || 0, reason: String(reason) }
  } catch {
    return { since: 0, reason: 'paused' }
  }
}
