// One Maildir: a message is written in tmp, synced, and renamed into new, so that a reader never sees half of one and a
// crash never loses one that was acknowledged.
import { type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'

/** Folders known to exist, so that most deliveries make none. */
const made = new Set<string>()
const mostMade = 10_000

/**
 * Writes `chunks` as `name` into the Maildir at `path` (made where it is missing, 0700). Resolves when file and name
 * are on stable storage. Rejects with the file system's error, and leaves nothing but perhaps a file in tmp.
 */
export async function deliverTo(path: string, name: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  await makeMaildir(path)
  const temporary = join(path, 'tmp', name)
  let file: FileHandle
  try {
    file = await open(temporary, 'w', 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    // Somebody removed the folder while we ran.
    made.delete(path)
    await makeMaildir(path)
    file = await open(temporary, 'w', 0o600)
  }
  try {
    for await (const chunk of chunks) await writeAll(file, chunk)
    await file.sync()
  } catch (error) {
    await file.close().catch(() => undefined)
    await unlink(temporary).catch(() => undefined)
    throw error
  }
  await file.close()
  await rename(temporary, join(path, 'new', name))
  await syncFolder(join(path, 'new'))
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, at)
    at += bytesWritten
  }
}

async function makeMaildir(path: string): Promise<void> {
  if (made.has(path)) return
  for (const part of ['tmp', 'new', 'cur']) {
    const first = await mkdir(join(path, part), { recursive: true, mode: 0o700 })
    // What was made must be found after a power cut: its parent is synced too.
    if (first !== undefined) await syncFolder(join(first, '..'))
  }
  await syncFolder(path)
  if (made.size >= mostMade) made.clear()
  made.add(path)
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
