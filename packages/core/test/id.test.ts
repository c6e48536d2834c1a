import { newId } from '@posthorn/core'
import { expect, it } from 'vitest'

it('never makes the same id twice, however many in a millisecond and wherever the clock goes', () => {
  const now = Date.UTC(2026, 0, 5)
  const ids: string[] = []
  for (let i = 0; i < 50_000; i++) ids.push(newId(now + (i % 3) - 1))
  expect(new Set(ids).size).toBe(ids.length)
  expect([...ids].sort()).toEqual(ids)
  for (const id of ids.slice(0, 100)) expect(id).toMatch(/^[0-9A-HJKMNP-TV-Z]{16}$/)
})
