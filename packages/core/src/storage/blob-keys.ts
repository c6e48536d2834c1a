// The keys of blobs, the same in every back end that keeps blob records in a Storage:
// `B/<ref>` octets of an inline blob, `b/<ref>/<owner>` an owner, `g/<ref>` a blob that lost an owner and may be garbage.
import { newId } from '../id.ts'
import type { Op } from './contract.ts'

const digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const nothing = new Uint8Array(0)
let counter = 0

/**
 * A name that no other blob has: time, 35 random bits, and a counter, because two blobs under one name are two lost
 * messages. Sorts by time, so that what arrives together lies and dies together in the store.
 */
export function newBlobName(now: number): string {
  counter = (counter + 1) & 1023
  return newId(now) + digits[counter >> 5] + digits[counter & 31]
}

export const inlineRef = (now: number): string => `i${newBlobName(now)}`
export const isInlineRef = (ref: string): boolean => ref.charCodeAt(0) === 105
export const inlineKey = (ref: string): string => `B/${ref}`
export const ownerKey = (ref: string, owner: string): string => `b/${ref}/${owner}`
export const garbageKey = (ref: string): string => `g/${ref}`

/** The ops of {@link Blobs.own}. */
export const ownOps = (ref: string, owner: string): readonly Op[] => [
  { type: 'put', key: ownerKey(ref, owner), value: nothing },
]

/** The ops of {@link Blobs.disown}: a sole owner's inline octets go at once, else the collector is told to look. */
export function disownOps(ref: string, owner: string, sole: boolean): readonly Op[] {
  const gone: Op = { type: 'del', key: ownerKey(ref, owner) }
  if (sole && isInlineRef(ref)) return [gone, { type: 'del', key: inlineKey(ref) }]
  // Named, so that the collector can tell a later mark from the one it dealt with.
  return [gone, { type: 'put', key: garbageKey(ref), value: Buffer.from(owner) }]
}

/**
 * Whether a batch hands a blob to the collector. Such a batch is never relaxed: after a power cut the records would be
 * back and the file gone.
 */
export function dooms(ops: readonly Op[]): boolean {
  for (const op of ops)
    if (op.type === 'put' && op.key.charCodeAt(0) === 103 && op.key.charCodeAt(1) === 47) return true
  return false
}
