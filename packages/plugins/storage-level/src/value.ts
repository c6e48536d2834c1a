// The stored form of a value, format 1: one octet of version, CRC-32 of the payload (little endian), payload.
// LevelDB's reads are not checksummed: flipped bits came back as data (shared notes, measured).
import { crc32 } from 'node:zlib'

export const headerSize = 5
const version = 1

const empty = Buffer.from([version, 0, 0, 0, 0])
let scratch = Buffer.allocUnsafeSlow(64 * 1024)

function fill(target: Buffer, payload: Uint8Array): void {
  target[0] = version
  target.writeUInt32LE(crc32(payload), 1)
  target.set(payload, headerSize)
}

/** The stored form, lent until the next call: for those who copy it at once, as a LevelDB batch does. */
export function lendEncoded(payload: Uint8Array): Buffer {
  const size = payload.length + headerSize
  if (size === headerSize) return empty
  if (size > scratch.length) {
    // One big value does not keep its size for ever.
    if (size > 1024 * 1024) return encode(payload)
    scratch = Buffer.allocUnsafeSlow(size * 2)
  }
  const stored = scratch.subarray(0, size)
  fill(stored, payload)
  return stored
}

export function encode(payload: Uint8Array): Buffer {
  const stored = Buffer.allocUnsafe(payload.length + headerSize)
  fill(stored, payload)
  return stored
}

/** Why a stored value cannot be trusted; undefined where it can. */
export function flaw(stored: Uint8Array): string | undefined {
  if (stored.length < headerSize) return 'is too short'
  if (stored[0] !== version) return `has the unknown format ${stored[0]}`
  const expected = Buffer.from(stored.buffer, stored.byteOffset, headerSize).readUInt32LE(1)
  return crc32(stored.subarray(headerSize)) === expected ? undefined : 'does not match its checksum'
}

/** The payload, a view of `stored`. Check {@link flaw} first. */
export const payload = (stored: Uint8Array): Uint8Array => stored.subarray(headerSize)
