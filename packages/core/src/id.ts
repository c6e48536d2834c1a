import { randomInt } from 'node:crypto'

// Crockford's base 32 without I, L, O, U: safe in file names, keys and conversation; sorts by time.
const digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

let last = 0
let lastText = encode(0, 9)
let serial = 0

/**
 * A new id for a session or message: 9 characters of milliseconds since the epoch, 7 that are random at the first id of
 * a millisecond and count up from there, in Crockford base 32. Ids of one process never repeat, not even when its clock
 * steps back, and sort in the order of making; two processes that make one in the same millisecond collide with odds of
 * 6e-11.
 */
export function newId(now: number): string {
  if (now > last) {
    last = now
    lastText = encode(now, 9)
    // Half of the room is left to count in.
    serial = randomInt(2 ** 34)
  } else serial++
  return lastText + encode(serial, 7)
}

function encode(value: number, length: number): string {
  let text = ''
  let rest = Math.floor(value)
  for (let i = 0; i < length; i++) {
    text = digits[rest % 32] + text
    rest = Math.floor(rest / 32)
  }
  return text
}
