// The queue's records and their octets: the message, written once, and blocks of its recipients, rewritten as delivery
// goes on. The first octet is the format; readers refuse formats that they do not know.
import type { Mailbox, MailParams, Notify, RemoteReply } from '@posthorn/mail'
import type { Outcome } from '../delivery.ts'
import type { Json } from '../json.ts'
import type { Origin } from '../session.ts'
import type { StagedBody } from './contract.ts'
import { badRecord, newerRecord } from './errors.ts'
import { blockKey, messageKey } from './keys.ts'

const format = 1

/** One variant's reverse-path and head. */
export interface VariantRecord {
  readonly from: Mailbox | null
  readonly head: Uint8Array
  readonly skip: readonly (readonly [number, number])[]
  readonly junk?: string
}

/** `m/<id>`: written once, removed in or after the batch that removes its last block. */
export interface MessageRecord {
  readonly id: string
  readonly received: number
  readonly params: MailParams
  readonly origin: Origin
  readonly state: Readonly<Record<string, Json>>
  readonly cause?: string
  /** `inline`: the octets lie beside the records, and go in the batch that removes them. */
  readonly body: Pick<StagedBody, 'ref' | 'size' | 'headerSize' | 'content'> & { readonly inline: boolean }
  readonly variants: readonly VariantRecord[]
  /** How many targets it was accepted for. */
  readonly recipients: number
}

/** One try to deliver to one recipient. Replies are kept as they came. */
export interface Attempt {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly lane: string
  readonly kind: Outcome['kind']
  readonly code?: number
  readonly enhanced?: string
  readonly text?: string
  readonly by?: string
  readonly scope?: 'recipient' | 'message' | 'lane'
  readonly remote?: RemoteReply
}

export type Action = 'failed' | 'delivered' | 'relayed' | 'expanded'

export interface RecipientRecord {
  /** Its number among the message's targets; names blocks. */
  readonly o: number
  readonly id: string
  readonly to: Mailbox
  readonly original?: Mailbox
  readonly notify?: readonly Notify[]
  readonly orcpt?: string
  readonly state?: Readonly<Record<string, Json>>
  readonly tries: number
  /** The last five. */
  readonly attempts: readonly Attempt[]
  /** How it ended, in a block whose status is `report`. */
  readonly action?: Action
  /** What the report shall say of it, where an agent explained itself. */
  readonly dsnText?: string
}

/** Where an operator sends it, whatever `route` says: to this plugin, or to this very lane of it. */
export interface Pin {
  readonly plugin: string
  readonly lane?: string
  readonly data?: Json
}

/**
 * `r/<id>/<n>`: up to 500 recipients that share variant, lane, status and time. Each block has exactly one key in an
 * index, which follows from the block. `n` is the number of one of its recipients, or of one that is done, so names
 * stay unique however blocks are taken apart.
 */
export interface Block {
  readonly id: string
  readonly n: number
  readonly variant: number
  readonly lane: string
  /** `queued`: due at `at`. `held`: since `at`. `report`: over, and reported on at `at` at the latest. */
  readonly status: 'queued' | 'held' | 'report'
  readonly at: number
  readonly priority: number
  /** Who takes turns in a lane. */
  readonly sender: string
  /** The variant's reverse-path, to look for; '' is the null one. */
  readonly from: string
  /** When the message came; milliseconds since the epoch. */
  readonly received: number
  /** Milliseconds spent in hold, which do not count for expiry. */
  readonly waited: number
  /** The message has no other block, and never had: its removal can take everything along. */
  readonly solo: boolean
  readonly reason?: string
  /** Held because it is a report that cannot be delivered: bounded by `held.keep` and `held.max`. */
  readonly bounce?: true
  readonly pin?: Pin
  readonly recipients: readonly RecipientRecord[]
}

export const maxBlock = 500
export const keptAttempts = 5

// A session's messages share one Origin: its JSON is made once.
const origins = new WeakMap<Origin, string>()

function originJson(origin: Origin): string {
  let json = origins.get(origin)
  if (json === undefined) {
    json = JSON.stringify(origin)
    origins.set(origin, json)
  }
  return json
}

/** Format, length of the JSON, JSON, then the variants' heads as they are. */
export function encodeMessage(message: MessageRecord): Uint8Array {
  const { id, received, params, origin, state, cause, body, variants, recipients } = message
  // Named one by one: to copy "the rest" of an object takes V8 longer than its JSON.
  const lean = variants.map(({ from, head, skip, junk }) => ({ from, skip, junk, head: head.length }))
  const most = { id, received, params, state, cause, body, recipients, variants: lean }
  const json = `${JSON.stringify(most).slice(0, -1)},"origin":${originJson(origin)}}`
  let size = 0
  for (const variant of variants) size += variant.head.length
  const length = Buffer.byteLength(json)
  const bytes = Buffer.allocUnsafe(5 + length + size)
  bytes[0] = format
  bytes.writeUInt32LE(length, 1)
  bytes.write(json, 5)
  let at = 5 + length
  for (const { head } of variants) {
    bytes.set(head, at)
    at += head.length
  }
  return bytes
}

/** Throws POSTHORN_QUEUE_RECORD for octets that are no such record, POSTHORN_QUEUE_FORMAT for a newer format. */
export function decodeMessage(id: string, value: Uint8Array): MessageRecord {
  const key = messageKey(id)
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.length)
  if (bytes[0] !== format) throw newerRecord(key, bytes[0])
  try {
    const length = bytes.readUInt32LE(1)
    const record = JSON.parse(bytes.toString('utf8', 5, 5 + length))
    let at = 5 + length
    for (const variant of record.variants) {
      const end = at + variant.head
      if (!(end <= bytes.length)) throw new RangeError('the head is cut short')
      variant.head = value.subarray(at, end)
      at = end
    }
    if (record.id !== id || at !== bytes.length)
      throw new RangeError('it is of another message, or has octets too many')
    return record
  } catch (error) {
    throw badRecord(key, error)
  }
}

export function encodeBlock(block: Block): Uint8Array {
  const json = JSON.stringify({ ...block, recipients: block.recipients.map(lean) })
  const bytes = Buffer.allocUnsafe(1 + Buffer.byteLength(json))
  bytes[0] = format
  bytes.write(json, 1)
  return bytes
}

/** Without what follows from the rest: of fifty thousand recipients half of the octets. */
function lean(recipient: RecipientRecord): object {
  const { o, id, to, original, notify, orcpt, state, tries, attempts, action, dsnText } = recipient
  const { local, domain, raw } = to
  return {
    o,
    id,
    original,
    notify,
    orcpt,
    state,
    action,
    dsnText,
    to: raw === `${local}@${domain}` ? { local, domain } : to,
    tries: tries > 0 ? tries : undefined,
    attempts: attempts.length > 0 ? attempts : undefined,
  } satisfies Record<keyof RecipientRecord, unknown>
}

type Lean = { -readonly [K in keyof RecipientRecord]: RecipientRecord[K] } & { to: { raw?: string } }

/** Puts that back, in place: a copy of each would be most of what reading a block costs. */
function complete(recipient: Lean): void {
  const { to } = recipient
  to.raw ??= `${to.local}@${to.domain}`
  recipient.tries ??= 0
  recipient.attempts ??= []
}

/** Throws as {@link decodeMessage} does. */
export function decodeBlock(id: string, n: number, value: Uint8Array): Block {
  const key = blockKey(id, n)
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.length)
  if (bytes[0] !== format) throw newerRecord(key, bytes[0])
  try {
    const block = JSON.parse(bytes.toString('utf8', 1)) as Block & { recipients: Lean[] }
    if (block.id !== id || block.n !== n || !Array.isArray(block.recipients))
      throw new RangeError('it is of another block')
    for (const recipient of block.recipients) complete(recipient)
    return block
  } catch (error) {
    throw badRecord(key, error)
  }
}

/** The value of a `d/` key: when its age began, and whose turn it is, so that a lane's index can be judged unread. */
export const encodeDue = (block: Block): Uint8Array =>
  Buffer.from(`\u0001${block.received + block.waited} ${block.sender}`)

export function decodeDue(value: Uint8Array): { readonly since: number; readonly sender: string } {
  const text = Buffer.from(value.buffer, value.byteOffset, value.length).toString()
  const space = text.indexOf(' ')
  return { since: Number(text.slice(1, space)) || 0, sender: text.slice(space + 1) }
}
