import * as z from 'zod'

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

const sizeUnits: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
}

/** Milliseconds of `5m`, `1h30m`, `1.5h`, `4d`, `250ms`; undefined where it is not a duration. */
export function parseDuration(text: string): number | undefined {
  return sum(text, /(\d{1,15}(?:\.\d{1,9})?)(ms|[smhdw])/y, durationUnits)
}

/** Octets of `20MB` (decimal), `256KiB` (binary), `512B`; undefined where it is not a size. */
export function parseSize(text: string): number | undefined {
  return sum(text.toLowerCase(), /(\d{1,15}(?:\.\d{1,9})?)([kmgt]i?b|b)/y, sizeUnits)
}

function sum(text: string, part: RegExp, units: Readonly<Record<string, number>>): number | undefined {
  const compact = text.replaceAll(' ', '')
  let total = 0
  part.lastIndex = 0
  for (let at = 0; at < compact.length; at = part.lastIndex) {
    const match = part.exec(compact)
    if (match === null) return undefined
    total += Number(match[1]) * (units[match[2] as string] as number)
  }
  const rounded = Math.round(total)
  return compact === '' || !Number.isSafeInteger(rounded) ? undefined : rounded
}

/** `5m`, `1h30m`, `250ms`: the shortest exact form, largest unit first. */
export function formatDuration(ms: number): string {
  let left = Math.round(ms)
  if (left <= 0) return '0s'
  let text = ''
  for (const [unit, length] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
    ['ms', 1],
  ] as const) {
    const count = Math.floor(left / length)
    left -= count * length
    if (count > 0) text += `${count}${unit}`
  }
  return text
}

/** `512 B`, `4.2 KiB`, `64 MiB`. */
export function formatSize(octets: number): string {
  let value = octets
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1024) return `${unit === 'B' || Number.isInteger(value) ? value : value.toFixed(1)} ${unit}`
    value /= 1024
  }
  return `${value.toFixed(1)} TiB`
}

interface Bounds {
  /** Milliseconds or octets. */
  readonly min?: number
  readonly max?: number
}

/** A zod schema for a time: `5m`, `1h30m`, `4d`, or a number of milliseconds. Gives milliseconds. */
export function duration(bounds: Bounds = {}) {
  return quantity(
    'a duration like 5m, 1h30m or 4d (or a number of milliseconds)',
    parseDuration,
    formatDuration,
    bounds,
  )
}

/** A zod schema for a size: `20MB`, `256KiB`, or a number of octets. Gives octets. */
export function size(bounds: Bounds = {}) {
  return quantity('a size like 256KiB or 20MB (or a number of octets)', parseSize, formatSize, bounds)
}

function quantity(
  expected: string,
  parse: (text: string) => number | undefined,
  format: (value: number) => string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: Bounds,
) {
  return z.union([z.string(), z.number()], { error: `expected ${expected}` }).transform((input, ctx) => {
    const value = typeof input === 'string' ? parse(input) : input
    if (value === undefined || !Number.isSafeInteger(value) || value < 0) {
      ctx.issues.push({ code: 'custom', input, message: `expected ${expected}` })
      return z.NEVER
    }
    if (value < min || value > max) {
      const range = value < min ? `at least ${format(min)}` : `at most ${format(max)}`
      ctx.issues.push({ code: 'custom', input, message: `expected ${range}` })
      return z.NEVER
    }
    return value
  })
}
