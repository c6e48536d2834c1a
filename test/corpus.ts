// Reads the messages of test/fixtures/corpus, and makes of each what SMTP can carry. Knows nothing of servers.

import { readdirSync, readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

const folder = new URL('./fixtures/corpus/', import.meta.url)

export interface CorpusMessage {
  /** `mime4j/bad-newlines-multi-1.msg`: source folder and file. */
  readonly name: string
  /** As its project keeps it, whatever its line ends. */
  readonly bytes: Buffer
}

/** Every message, in the order of names. */
export function corpus(): readonly CorpusMessage[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => /\.(eml|msg|txt|eml\.gz)$/.test(name))
    .sort()
    .map(name => {
      const bytes = readFileSync(new URL(encodeURI(name), folder))
      return name.endsWith('.gz')
        ? { name: name.slice(0, -'.gz'.length), bytes: gunzipSync(bytes) }
        : { name, bytes: bytes }
    })
}

/**
 * The message with CRLF line ends and a final one, which is what DATA can carry; undefined where there is a NUL, which
 * needs BINARYMIME (RFC 5321 §2.3.8, RFC 3030 §3).
 */
export function carriable(message: Uint8Array): Buffer | undefined {
  if (message.includes(0)) return
  const text = Buffer.from(message)
    .toString('latin1')
    .replace(/\r\n|\r|\n/g, '\r\n')
  return Buffer.from(text.endsWith('\r\n') ? text : `${text}\r\n`, 'latin1')
}
