// A committed (or about to be committed) variant as delivery sees it: head, then the received octets without the
// removed ranges. Nothing is copied to make it; the received octets are never rewritten.
import { isAscii } from 'node:buffer'
import type { Mailbox, MailParams } from '@posthorn/mail'
import { fieldValues, type Header, scanHeader } from '@posthorn/mail'
import type { Queued } from '../delivery.ts'
import type { Json } from '../json.ts'
import type { Origin } from '../session.ts'
import type { StateKey } from '../state.ts'

export interface StoredVariant {
  readonly id: string
  readonly from: Mailbox | null
  readonly params: MailParams
  readonly origin: Origin
  readonly received: number
  readonly state: Readonly<Record<string, Json>>
  readonly junk?: string
  /** What we write before the received header. */
  readonly head: Uint8Array
  /** Ranges of the received header that were removed, [start, end), ascending. */
  readonly skip: readonly (readonly [number, number])[]
  /** Octets as received, and what is known of them. */
  readonly bodySize: number
  readonly content?: '7bit' | '8bit'
}

export interface ReceivedOctets {
  /** The header as received. */
  readonly header: Uint8Array
  open(range: { readonly start: number; readonly end: number }): AsyncIterable<Uint8Array>
  /** All of it, where it sits in memory anyway. */
  readonly bytes?: Uint8Array
}

/** Up to this size a message in memory is opened as one chunk: one write to the peer, one to the file. */
const oneChunk = 65_536

export function storedMessage(variant: StoredVariant, body: ReceivedOctets): Queued {
  return new StoredMessage(variant, body)
}

class StoredMessage implements Queued {
  readonly #variant: StoredVariant
  readonly #body: ReceivedOctets
  #headers: readonly Header[] | undefined
  readonly size: number

  constructor(variant: StoredVariant, body: ReceivedOctets) {
    this.#variant = variant
    this.#body = body
    let size = variant.head.length + variant.bodySize
    for (const [start, end] of variant.skip) size -= end - start
    this.size = size
  }

  get id() {
    return this.#variant.id
  }
  get from() {
    return this.#variant.from
  }
  get params() {
    return this.#variant.params
  }
  get origin() {
    return this.#variant.origin
  }
  get received() {
    return this.#variant.received
  }
  get junk(): string | undefined {
    return this.#variant.junk
  }

  get content(): '7bit' | '8bit' | undefined {
    const { content, head, skip } = this.#variant
    if (content === undefined || isAscii(head)) return content === '8bit' && skip.length > 0 ? undefined : content
    return '8bit'
  }

  get<T>(key: StateKey<'message', T>): T | undefined {
    return this.#variant.state[key.name] as T | undefined
  }

  header(name: string): readonly string[] {
    this.#headers ??= [scanHeader(this.#variant.head), kept(scanHeader(this.#body.header), this.#variant.skip)]
    return this.#headers.flatMap(header => fieldValues(header, name))
  }

  get pieces(): readonly Uint8Array[] | undefined {
    const { bytes } = this.#body
    return bytes === undefined || this.size > oneChunk ? undefined : this.#parts(bytes, 0, this.size)
  }

  async *open(range?: { readonly start: number; readonly end: number }): AsyncIterable<Uint8Array> {
    const from = Math.max(0, range?.start ?? 0)
    const to = Math.min(this.size, range?.end ?? this.size)
    if (from >= to) return
    const { bytes } = this.#body
    if (bytes !== undefined) {
      const parts = this.#parts(bytes, from, to)
      if (parts.length > 1 && to - from <= oneChunk) yield Buffer.concat(parts)
      else yield* parts
      return
    }
    for (const piece of this.#pieces(from, to)) {
      if (piece.head) yield this.#variant.head.subarray(piece.start, piece.end)
      else yield* this.#body.open(piece)
    }
  }

  #parts(bytes: Uint8Array, from: number, to: number): Uint8Array[] {
    return this.#pieces(from, to).map(p => (p.head ? this.#variant.head : bytes).subarray(p.start, p.end))
  }

  /** The ranges of head and received octets that [from, to) of the spliced message is made of. */
  #pieces(from: number, to: number): { head: boolean; start: number; end: number }[] {
    const { head, skip, bodySize } = this.#variant
    const pieces: { head: boolean; start: number; end: number }[] = []
    let at = 0
    const add = (isHead: boolean, start: number, end: number) => {
      const length = end - start
      const a = Math.max(from - at, 0)
      const b = Math.min(to - at, length)
      if (a < b) pieces.push({ head: isHead, start: start + a, end: start + b })
      at += length
    }
    add(true, 0, head.length)
    let next = 0
    for (const [start, end] of skip) {
      if (start > next) add(false, next, start)
      next = end
    }
    if (bodySize > next) add(false, next, bodySize)
    return pieces
  }
}

/** The header without the fields that were removed. */
function kept(header: Header, skip: StoredVariant['skip']): Header {
  if (skip.length === 0) return header
  const removed = new Set(skip.map(([start]) => start))
  return { ...header, fields: header.fields.filter(field => !removed.has(field.start)) }
}
