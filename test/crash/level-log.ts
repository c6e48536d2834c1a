// LevelDB's write-ahead log, as it is written: which keys a record puts, and with which write its last octet went out.
import type { Call } from './strace.ts'

export interface LogRecord {
  /** When the write with its last octet had returned. */
  readonly written: number
  /** The keys that it puts. */
  readonly keys: readonly string[]
}

const blockSize = 32_768
const headerSize = 7

/** The records of one log, from all writes to it, in order. */
export function logRecords(writes: readonly Call[]): LogRecord[] {
  const log = Buffer.concat(writes.flatMap(({ octets }) => octets))
  const ends: { at: number; end: number }[] = []
  let size = 0
  for (const { octets, end } of writes) {
    for (const part of octets) size += part.length
    ends.push({ at: size, end })
  }
  const records: LogRecord[] = []
  let parts: Buffer[] = []
  let write = 0
  for (let at = 0; at + headerSize <= log.length; ) {
    const left = blockSize - (at % blockSize)
    if (left < headerSize) {
      at += left
      continue
    }
    const length = log.readUInt16LE(at + 4)
    // 1: whole, 2: first part, 3: middle part, 4: last part.
    const type = log[at + 6] as number
    const end = at + headerSize + length
    if (end > log.length) break
    if (type === 1 || type === 2) parts = []
    parts.push(log.subarray(at + headerSize, end))
    at = end
    if (type !== 1 && type !== 4) continue
    while ((ends[write]?.at ?? Infinity) < end) write++
    records.push({ written: ends[write]?.end ?? Infinity, keys: keysOf(Buffer.concat(parts)) })
  }
  return records
}

/** A write batch: sequence and count, then puts (1: key, value) and removals (0: key). */
function keysOf(batch: Buffer): string[] {
  const keys: string[] = []
  let at = 12
  const text = (): Buffer => {
    let length = 0
    for (let shift = 0; ; shift += 7) {
      const octet = batch[at++] as number
      length |= (octet & 0x7f) << shift
      if (octet < 0x80) break
    }
    at += length
    return batch.subarray(at - length, at)
  }
  while (at < batch.length) {
    const put = batch[at++] === 1
    const key = text().toString()
    if (!put) continue
    keys.push(key)
    text()
  }
  return keys
}
