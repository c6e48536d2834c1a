// What a report says: of which message, of whom, what became of it (RFC 3464).
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface Told {
  /** The report's own Message-ID. */
  readonly report: string
  /** The ENVID of the message that it tells of: its number. */
  readonly envelope: string
  readonly recipient: string
  readonly action: string
}

export function toldIn(message: string): Told[] {
  const report = /^Message-ID:\s*<?([^>\r\n]+)/im.exec(message)?.[1] ?? ''
  const envelope = /^Original-Envelope-Id: *(\S+)/im.exec(message)?.[1]
  if (envelope === undefined) return []
  const told: Told[] = []
  for (const part of message.split(/\r?\n\r?\n/)) {
    const recipient = /^Final-Recipient: *[\w-]+; *(\S+)/im.exec(part)?.[1]
    const action = /^Action: *(\S+)/im.exec(part)?.[1]
    if (recipient !== undefined && action !== undefined) told.push({ report, envelope, recipient, action })
  }
  return told
}

/** The messages in the Maildirs below `path`, each with its address. */
export async function* maildirs(path: string): AsyncGenerator<{ address: string; message: Buffer; name: string }> {
  for (const domain of await readdir(path).catch(() => [])) {
    for (const local of await readdir(join(path, domain))) {
      const folder = join(path, domain, local, 'new')
      for (const name of await readdir(folder).catch(() => []))
        yield { address: `${local}@${domain}`, message: await readFile(join(folder, name)), name }
    }
  }
}
