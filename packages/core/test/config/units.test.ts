import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { validate } from '../../src/config/explain.ts'
import { duration, formatDuration, formatSize, parseDuration, parseSize, size } from '../../src/config/units.ts'

describe('durations', () => {
  it.each([
    ['250ms', 250],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['1h 30m', 5_400_000],
    ['1.5h', 5_400_000],
    ['4d', 345_600_000],
    ['2w', 1_209_600_000],
    ['0s', 0],
  ])('%s is %d ms', (text, ms) => expect(parseDuration(text)).toBe(ms))

  it.each(['', '5', 'm', '5 minutes', '-5m', '5m!', 'm5', '1e3s', '5M', 'Infinityms', '99999999999999d', '5m\0'])(
    '%j is none',
    text => expect(parseDuration(text)).toBeUndefined(),
  )

  it('are written as they are read', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31), ms => {
        expect(parseDuration(formatDuration(ms))).toBe(ms)
      }),
    )
  })

  it('of any text are whole milliseconds or refused', () => {
    fc.assert(
      fc.property(fc.string(), text => {
        const ms = parseDuration(text)
        expect(ms === undefined || (Number.isSafeInteger(ms) && ms >= 0)).toBe(true)
      }),
    )
  })
})

describe('sizes', () => {
  it.each([
    ['512B', 512],
    ['20MB', 20_000_000],
    ['256KiB', 262_144],
    ['1gib', 1_073_741_824],
    ['1.5 MiB', 1_572_864],
  ])('%s is %d octets', (text, octets) => expect(parseSize(text)).toBe(octets))

  it.each(['', '5', '20M', 'MB', '1XB', '-1MB'])('%j is none', text => expect(parseSize(text)).toBeUndefined())

  it('are shown short', () =>
    expect([0, 900, 2048, 1_500_000].map(formatSize)).toEqual(['0 B', '900 B', '2 KiB', '1.4 MiB']))
})

it('schemas take text or numbers, and say what they want', async () => {
  expect((await validate(duration(), '5m')).value).toBe(300_000)
  expect((await validate(duration(), 1500)).value).toBe(1500)
  expect((await validate(size(), '1KiB')).value).toBe(1024)
  const say = async (schema: unknown, value: unknown) => (await validate(schema, value)).problems.map(p => p.message)
  const durations = 'expected a duration like 5m, 1h30m or 4d (or a number of milliseconds), found'
  expect(await say(duration(), 'soon')).toEqual([`${durations} "soon"`])
  expect(await say(duration(), -1)).toEqual([`${durations} -1`])
  expect(await say(duration(), 1.5)).toEqual([`${durations} 1.5`])
  expect(await say(duration(), null)).toEqual([`${durations} nothing`])
  expect(await say(duration({ max: 60_000 }), '2m')).toEqual(['expected at most 1m, found "2m"'])
  expect(await say(size({ min: 1024 }), 3)).toEqual(['expected at least 1 KiB, found 3'])
})
