import { expect, test } from 'vitest'
import { lendRoom, wrote } from '../../src/smtp/client/room.ts'

test('room is lent again once a socket took all of it, and given up to a socket that did not', () => {
  const first = lendRoom(100)
  expect(first).toHaveLength(100)
  wrote(first, 0)
  const second = lendRoom(200)
  expect(second.buffer).toBe(first.buffer)
  second.fill('kept')
  wrote(second, 150)
  const third = lendRoom(200)
  third.fill('other')
  expect(third.buffer).not.toBe(second.buffer)
  expect(second.toString('latin1', 0, 8)).toBe('keptkept')
})

test('what is too large for the room has its own', () => {
  const large = lendRoom(100_000)
  expect(large).toHaveLength(100_000)
  wrote(large, 50_000)
  expect(lendRoom(10).buffer).not.toBe(large.buffer)
})
