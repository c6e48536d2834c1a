// Reads a blob file in pieces; a whole one is checked against its reference before its last piece is given out.
import { type FileHandle, open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { StorageError } from '@posthorn/core'
import type { FileRef, Slots } from './blob-files.ts'
import { troubleOf } from './trouble.ts'

const pieceSize = 128 * 1024

export interface Slice {
  readonly start: number
  readonly end: number
}

/** Opens a file when there is a slot for it; close it with {@link closeSlot}. */
export async function openSlot(path: string, slots: Slots): Promise<FileHandle> {
  await slots.take()
  try {
    return await open(path, 'r')
  } catch (error) {
    slots.give()
    throw error
  }
}

export async function closeSlot(file: FileHandle, slots: Slots): Promise<void> {
  slots.give()
  await file.close()
}

/** The octets [start, end) of the first `size` of a file, in pieces that are the reader's own. */
export async function* pieces(file: FileHandle, size: number, range?: Slice): AsyncGenerator<Buffer> {
  const end = Math.min(range?.end ?? size, size)
  for (let at = Math.max(0, range?.start ?? 0); at < end; ) {
    const wanted = Math.min(pieceSize, end - at)
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafeSlow(wanted), 0, wanted, at)
    if (bytesRead === 0) throw new StorageError('corrupt', `a blob file ends at ${at} of ${size} octets`)
    yield buffer.subarray(0, bytesRead)
    at += bytesRead
  }
}

/** A finished blob. Throws StorageError `corrupt` where the file is missing, short or changed. */
export async function* readBlob(path: string, ref: FileRef, slots: Slots, range?: Slice): AsyncGenerator<Uint8Array> {
  const whole = range === undefined || (range.start <= 0 && range.end >= ref.size)
  let file: FileHandle
  try {
    file = await openSlot(path, slots)
  } catch (error) {
    const gone = (error as { code?: string }).code === 'ENOENT'
    throw gone
      ? new StorageError('corrupt', `the blob file ${path} is missing`, error)
      : troubleOf(error, 'reading a blob')
  }
  try {
    let crc = 0
    let seen = 0
    for await (const piece of pieces(file, ref.size, range)) {
      seen += piece.length
      if (whole) {
        crc = crc32(piece, crc)
        // Before the last piece: nobody gets all of a blob that is not what was stored.
        if (seen === ref.size && crc !== ref.crc)
          throw new StorageError('corrupt', `the blob file ${path} does not match its checksum`)
      }
      yield piece
    }
  } catch (error) {
    throw troubleOf(error, 'reading a blob')
  } finally {
    await closeSlot(file, slots)
  }
}
