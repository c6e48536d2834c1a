// Dates as mail writes them (RFC 5322 §3.3), always in UTC.

const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

let lastSecond = Number.NaN
let lastText = ''

/** `ms` since the epoch, from year 1970 to 9999. `+0000` says that the local zone is not told of. */
export function formatDate(ms: number): string {
  // Thousands of messages share a second.
  const second = Math.floor(ms / 1000)
  if (second === lastSecond) return lastText
  const date = new Date(second * 1000)
  const clock = date.toISOString().slice(11, 19)
  lastText = `${days[date.getUTCDay()]}, ${date.getUTCDate()} ${months[date.getUTCMonth()]} ${date.getUTCFullYear()} ${clock} +0000`
  lastSecond = second
  return lastText
}
