import { randomBytes } from 'node:crypto'

// Crockford's base 32 without I, L, O, U: safe in file names, keys and conversation; sorts by time.
const digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

let pool = Buffer.alloc(0)
let used = 0

/**
 * A new id for a session or message: 9 characters of milliseconds since the epoch, 7 random ones (35 bits), in
 * Crockford base 32. Ids sort by time of making; two of the same millisecond collide with odds of 3e-11.
 */
export function newId(now: number): string {
  if (used + 7 > pool.length) {
    pool = randomBytes(3584)
    used = 0
  }
  let time = ''
  for (let t = now, i = 0; i < 9; i++) {
    time = digits[t % 32] + time
    t = Math.floor(t / 32)
  }
  let random = ''
  for (let i = 0; i < 7; i++) random += digits[(pool[used++] as number) & 31]
  return time + random
}
