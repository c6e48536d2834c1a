import { token } from '../token.ts'
import type { Awaitable } from '../transaction.ts'

/** A write of one key. Keys are strings, ordered by their UTF-8 octets; values are octets. */
export type Op =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: string }

export type Entry = readonly [key: string, value: Uint8Array]

/** `equals: null` means the key is absent. */
export interface Condition {
  readonly key: string
  readonly equals: Uint8Array | null
}

export interface WriteOptions {
  /** Nothing is written, and `false` comes back, unless every condition holds at the time of the write. */
  readonly when?: readonly Condition[]
  /** Resolves before it is durable: for writes whose loss only repeats work. Rides in the next group. Nothing may rely on an earlier relaxed write. */
  readonly relaxed?: boolean
}

export interface Tx {
  get(key: string): Promise<Uint8Array | undefined>
  range(range: Range): AsyncIterable<readonly Entry[]>
  put(key: string, value: Uint8Array): void
  del(key: string): void
}

export interface Range {
  readonly gte: string
  readonly lt: string
  readonly limit?: number
  readonly reverse?: boolean
}

/**
 * An ordered key-value store with durable, atomic batches. Everything with state is written once against it.
 *
 * Any rejected write is a {@link StorageError}; the batch is then not stored, or not yet known to be: the back end
 * recovers (closes, reopens, re-reads) before it acknowledges another.
 */
export interface Storage {
  get(key: string): Awaitable<Uint8Array | undefined>
  getMany(keys: readonly string[]): Promise<readonly (Uint8Array | undefined)[]>
  /** In batches, in key order. Sees the store as of the first batch. Throws at a `corrupt` value, after the entries before it. */
  range(range: Range): AsyncIterable<readonly Entry[]>
  /** A blind atomic batch, concurrent with others, durable when it resolves. The octets are lent until then. */
  write(ops: readonly Op[], options?: WriteOptions): Promise<boolean>
  /** Read-modify-write, serialised per scope; durable when it resolves. */
  transact<T>(scope: string, fn: (tx: Tx) => Awaitable<T>): Promise<T>
  /** Calls `changed` after a write under `prefix`, across processes where the back end can. */
  watch(prefix: string, changed: (key: string) => void): Disposable
}

/** `full`: no space, or read-only; try later. `failed`: the device or store is at fault. Replied to as 452 4.3.1. */
export class StorageError extends Error {
  readonly kind: 'full' | 'failed' | 'closed' | 'corrupt'
  /** Of a `corrupt` value: a range that met it can be taken up again behind it. */
  readonly key?: string
  constructor(kind: StorageError['kind'], message: string, cause?: unknown, key?: string) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'StorageError'
    this.kind = kind
    if (key !== undefined) this.key = key
  }
}

/** A blob being written. */
export interface BlobWriter {
  readonly size: number
  /** The chunk is lent until this settles. */
  write(chunk: Uint8Array): Awaitable<void>
  /** Reads back what was written so far; as often as wanted. */
  open(range?: { readonly start: number; readonly end: number }): AsyncIterable<Uint8Array>
  /** Makes the octets durable (file synced and named, folder synced). The blob lives only once an owner is written. */
  finish(): Promise<string>
  abort(): Promise<void>
}

/**
 * Octets by reference. One key per owner instead of counts, so that adding a reference is a blind write; a collector
 * removes a blob after a synced removal of its last owner.
 */
export interface Blobs {
  /** Starts a streamed write, for what is too large to sit in memory. */
  create(): BlobWriter
  /** A small blob that lives in the same batch as its owner: one sync, no file. Write `ops` together with {@link own}. */
  inline(bytes: Uint8Array): { readonly ref: string; readonly ops: readonly Op[] }
  own(ref: string, owner: string): readonly Op[]
  /**
   * To be written durably, not relaxed, before the blob may go; the collector then removes it. `sole`: the caller knows
   * that nobody else ever owned it, so an inline blob's octets go in the same batch and the collector is not needed.
   */
  disown(ref: string, owner: string, sole?: boolean): readonly Op[]
  open(ref: string, range?: { readonly start: number; readonly end: number }): AsyncIterable<Uint8Array>
  /** The whole blob where it is inline, so that small bodies cost one read. */
  read(ref: string): Promise<Uint8Array | undefined>
}

export const Storage = token<Storage>('core/storage', ['getMany', 'range', 'write'])
export const Blobs = token<Blobs>('core/blobs', ['read', 'open'])
