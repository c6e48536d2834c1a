// Where the octets of one message under way are kept: in memory up to a limit, then in a blob being written. Read back
// as often as wanted; handed to the queue without another copy.
import { isAscii } from 'node:buffer'
import { type Header, scanHeader } from '@posthorn/mail'
import type { StagedBody } from '../queue/contract.ts'
import type { Blobs, BlobWriter } from '../storage/contract.ts'
import type { Awaitable } from '../transaction.ts'

export class Spool {
  readonly #blobs: Blobs
  readonly #memory: number
  #chunks: Uint8Array[] = []
  #writer: BlobWriter | undefined
  #whole: Uint8Array | undefined
  #size = 0
  #ascii = true
  #header: Header = scanHeader(new Uint8Array(0))

  /** `memory`: octets kept in memory before a file is begun. */
  constructor(blobs: Blobs, memory: number) {
    this.#blobs = blobs
    this.#memory = memory
  }

  get size(): number {
    return this.#size
  }

  /** RFC 2045 §2.7, §2.8, as far as octets above 127 tell. */
  get content(): '7bit' | '8bit' {
    return this.#ascii ? '7bit' : '8bit'
  }

  /** The received header, taken apart; empty before the first write. */
  get header(): Header {
    return this.#header
  }

  /** The received header as it came, its empty line included. */
  get headerBytes(): Uint8Array {
    return this.#header.bytes.subarray(0, this.#header.body)
  }

  /** The first chunk holds the whole header. Chunks are lent for this call, so they are copied. */
  write(chunk: Uint8Array): Awaitable<void> {
    const first = this.#size === 0
    this.#size += chunk.length
    this.#ascii &&= isAscii(chunk)
    const copy = Buffer.from(chunk)
    if (this.#writer !== undefined) return this.#writer.write(copy)
    if (first) this.#header = scanHeader(copy)
    this.#chunks.push(copy)
    if (this.#size > this.#memory) return this.#spill()
  }

  async #spill(): Promise<void> {
    // The header outlives the chunks, so that filters and routes need no file to read it.
    this.#header = { ...this.#header, bytes: Buffer.from(this.headerBytes) }
    const writer = this.#blobs.create()
    this.#writer = writer
    const chunks = this.#chunks
    this.#chunks = []
    for (const chunk of chunks) await writer.write(chunk)
  }

  /** The whole message where it sits in memory. */
  get bytes(): Uint8Array | undefined {
    if (this.#writer !== undefined) return undefined
    if (this.#whole === undefined || this.#whole.length !== this.#size) {
      this.#whole = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks)
      this.#chunks = [this.#whole as Uint8Array]
      this.#header = { ...this.#header, bytes: this.#whole as Uint8Array }
    }
    return this.#whole
  }

  async *open(range?: { readonly start: number; readonly end: number }): AsyncIterable<Uint8Array> {
    const bytes = this.bytes
    if (bytes === undefined) yield* (this.#writer as BlobWriter).open(range)
    else yield bytes.subarray(range?.start ?? 0, range?.end ?? bytes.length)
  }

  /** Makes a large body durable, or wraps a small one for the batch that takes it. Rejects with StorageError. */
  async stage(): Promise<StagedBody> {
    const bytes = this.bytes
    const header = this.headerBytes
    const rest = { size: this.#size, headerSize: header.length, header }
    if (bytes !== undefined) return { ...this.#blobs.inline(bytes), ...rest, bytes }
    return { ref: await (this.#writer as BlobWriter).finish(), ops: [], ...rest }
  }

  /** Forgets everything; a half-written file is removed. */
  async discard(): Promise<void> {
    this.#chunks = []
    const writer = this.#writer
    this.#writer = undefined
    this.#size = 0
    await writer?.abort()
  }
}
