// Messages in memory while something of them waits or is delivered: records, the received octets where they are
// small, and each variant as agents see it. Blocks of one message share it.
import type { Queued } from '../delivery.ts'
import { type ReceivedOctets, storedMessage } from '../message/stored.ts'
import { Roster } from '../roster.ts'
import { type Blobs, type Storage, StorageError } from '../storage/contract.ts'
import type { Accepted } from './contract.ts'
import { messageKey } from './keys.ts'
import { decodeMessage, type MessageRecord } from './records.ts'

export class Loaded {
  readonly record: MessageRecord
  readonly body: ReceivedOctets
  /** How many blocks hold it. */
  users = 0
  readonly #variants: (Queued | undefined)[] = []

  constructor(record: MessageRecord, body: ReceivedOctets) {
    this.record = record
    this.body = body
  }

  variant(n: number): Queued {
    let queued = this.#variants[n]
    if (queued === undefined) {
      const variant = this.record.variants[n]
      if (variant === undefined) throw new StorageError('corrupt', `message ${this.record.id} has no variant ${n}`)
      const { id, params, origin, received, state, body } = this.record
      const { from, head, skip, junk } = variant
      queued = storedMessage(
        {
          id,
          from,
          params,
          origin,
          received,
          state,
          head,
          skip,
          bodySize: body.size,
          ...(body.content !== undefined && { content: body.content }),
          ...(junk !== undefined && { junk }),
        },
        this.body,
      )
      this.#variants[n] = queued
    }
    return queued
  }
}

export class Messages {
  readonly #storage: Storage
  readonly #blobs: Blobs
  readonly #loaded = new Roster<Loaded>()
  readonly #loading = new Map<string, Promise<Loaded | undefined>>()

  constructor(storage: Storage, blobs: Blobs) {
    this.#storage = storage
    this.#blobs = blobs
  }

  /** A message just accepted: nothing of it need be read back. */
  fresh(record: MessageRecord, body: Accepted['body']): Loaded {
    return new Loaded(record, this.#octets(record, body.header, body.bytes))
  }

  /** Counts a holder. */
  hold(loaded: Loaded): Loaded {
    loaded.users++
    this.#loaded.set(loaded.record.id, loaded)
    return loaded
  }

  release(loaded: Loaded): void {
    loaded.users--
    if (loaded.users === 0 && this.#loaded.get(loaded.record.id) === loaded) this.#loaded.delete(loaded.record.id)
  }

  /** Whether a block of it waits or is being delivered, here. */
  active(id: string): boolean {
    return this.#loaded.has(id)
  }

  /** Reads and counts a holder; `undefined`: there is no such message. Rejects with what reading it says. */
  async load(id: string): Promise<Loaded | undefined> {
    const known = this.#loaded.get(id)
    if (known !== undefined) return this.hold(known)
    let reading = this.#loading.get(id)
    if (reading === undefined) {
      reading = this.read(id).finally(() => this.#loading.delete(id))
      this.#loading.set(id, reading)
    }
    const loaded = await reading
    return loaded && this.hold(this.#loaded.get(id) ?? loaded)
  }

  /** Reads without counting. */
  async read(id: string): Promise<Loaded | undefined> {
    const value = await this.#storage.get(messageKey(id))
    if (value === undefined) return undefined
    const record = decodeMessage(id, value)
    const { ref, headerSize, inline } = record.body
    const bytes = inline ? await this.#blobs.read(ref) : undefined
    if (bytes !== undefined) return new Loaded(record, this.#octets(record, bytes.subarray(0, headerSize), bytes))
    const chunks: Uint8Array[] = []
    for await (const chunk of this.#blobs.open(ref, { start: 0, end: headerSize })) chunks.push(chunk.slice())
    return new Loaded(record, this.#octets(record, Buffer.concat(chunks), undefined))
  }

  #octets(record: MessageRecord, header: Uint8Array, bytes: Uint8Array | undefined): ReceivedOctets {
    const blobs = this.#blobs
    const { ref } = record.body
    return { header, open: range => blobs.open(ref, range), ...(bytes !== undefined && { bytes }) }
  }
}
