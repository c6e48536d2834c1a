/** Rows of cells as aligned lines; the last column is not padded. Control characters are shown, not sent to the terminal. */
export function table(rows: readonly (readonly (string | number)[])[], indent = ''): string[] {
  const cells = rows.map(row => row.map(cell => printable(String(cell))))
  const widths: number[] = []
  for (const row of cells) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  }
  return cells.map(
    row =>
      indent +
      row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
  )
}

/** Text of others (addresses, replies, headers) as one line that cannot steer a terminal. */
export function printable(text: string): string {
  // Cc: C0 and C1 controls. Cf: marks that turn the direction of writing, and the like.
  return text.replace(/[\p{Cc}\p{Cf}]/gu, char => `\\x${(char.codePointAt(0) ?? 0).toString(16).padStart(2, '0')}`)
}

/** `2026-11-23 14:05:09`, local time. */
export function when(ms: number): string {
  const d = new Date(ms)
  const two = (n: number) => String(n).padStart(2, '0')
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`
}

/** `3s`, `12m`, `4h`, `9d`: how long ago, or how long until. */
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 120) return `${s}s`
  if (s < 7200) return `${Math.round(s / 60)}m`
  if (s < 172_800) return `${Math.round(s / 3600)}h`
  return `${Math.round(s / 86_400)}d`
}
