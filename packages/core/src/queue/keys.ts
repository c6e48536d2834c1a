// The keys of the queue's records. Numbers have a fixed width, so that keys sort as what they say.
//   m/<id>  r/<id>/<n>  d/<lane>/<rank>/<due>/<id>/<n>  h/<b|o>/<since>/<id>/<n>  u/<due>/<id>/<n>  y/<id>
//   l/<shard> leases  p/<lane> pauses
import type { Range } from '../storage/contract.ts'

/** The lane of recipients that no agent claims. It has no `/`, so no agent's lane is ever called so. */
export const unrouted = 'unrouted'

const idForm = /^[A-Za-z0-9._-]{1,200}$/

/** Whether an id can stand in a key. */
export const isQueueId = (id: string): boolean => idForm.test(id)

const wide = (n: number, width: number): string => String(n).padStart(width, '0')
export const timeText = (ms: number): string => wide(Math.max(0, Math.floor(ms)), 13)

/** MT-PRIORITY (RFC 6710) 9..-9 as 00..18: what is more urgent sorts first. */
export const rankOf = (priority: number): number => 9 - priority

export const messageKey = (id: string): string => `m/${id}`
export const blockKey = (id: string, n: number): string => `r/${id}/${wide(n, 6)}`
export const blocksOf = (id: string): Range => ({ gte: `r/${id}/`, lt: `r/${id}0` })
export const delayedKey = (id: string): string => `y/${id}`
export const pauseKey = (lane: string): string => `p/${encodeURIComponent(lane)}`

/** Where the lane's part of the index begins. `lane` is encoded, as by {@link encodeLane}. */
export const laneStart = (lane: string): string => `d/${lane}/`
export const laneEnd = (lane: string): string => `d/${lane}0`
export const rankStart = (lane: string, rank: number): string => `d/${lane}/${wide(rank, 2)}/`
export const rankEnd = (lane: string, rank: number): string => `d/${lane}/${wide(rank, 2)}0`
/** The first key of a rank that is due after `at`. */
export const dueAfter = (lane: string, rank: number, at: number): string =>
  at === Infinity ? rankEnd(lane, rank) : `d/${lane}/${wide(rank, 2)}/${timeText(at + 1)}/`

export const encodeLane = (lane: string): string => encodeURIComponent(lane)

export const dueKey = (lane: string, rank: number, due: number, id: string, n: number): string =>
  `d/${lane}/${wide(rank, 2)}/${timeText(due)}/${id}/${wide(n, 6)}`
export const heldKey = (bounce: boolean, since: number, id: string, n: number): string =>
  `h/${bounce ? 'b' : 'o'}/${timeText(since)}/${id}/${wide(n, 6)}`
export const reportKey = (due: number, id: string, n: number): string => `u/${timeText(due)}/${id}/${wide(n, 6)}`
/** Says that the message's senders may be owed a delay report at `due`. */
export const delayKey = (due: number, id: string): string => `u/${timeText(due)}/${id}/delay`

export interface DueEntry {
  /** Encoded. */
  readonly lane: string
  readonly rank: number
  readonly due: number
  readonly id: string
  readonly n: number
}

/** Takes a `d/` key apart; `undefined` for what is none. */
export function parseDueKey(key: string): DueEntry | undefined {
  const [kind, lane, rank, due, id, n, more] = key.split('/')
  if (kind !== 'd' || lane === undefined || id === undefined || n === undefined || more !== undefined) return undefined
  return { lane, rank: Number(rank), due: Number(due), id, n: Number(n) }
}

/** The due time in a `d/` key of the lane, without taking all of it apart. */
export function dueOf(key: string, lane: string): number {
  const at = lane.length + 6
  return Number(key.slice(at, at + 13))
}

/** The time, id and block of an `h/` or `u/` key; `n` is NaN for a delay mark. */
export function parseTimed(key: string): { readonly at: number; readonly id: string; readonly n: number } | undefined {
  const parts = key.split('/')
  if (parts[0] === 'h') parts.shift()
  const [, at, id, n] = parts
  if (id === undefined || n === undefined || parts.length !== 4) return undefined
  return { at: Number(at), id, n: Number(n) }
}

/** The block that an `r/` key names. */
export function parseBlockKey(key: string): { readonly id: string; readonly n: number } | undefined {
  const [kind, id, n, more] = key.split('/')
  if (kind !== 'r' || id === undefined || n === undefined || more !== undefined) return undefined
  return { id, n: Number(n) }
}
