import { expect, it } from 'vitest'
import { progressOn } from '../src/progress.ts'
import { terminal } from './terminal.ts'

it('progress is told once a second, and not at all of what takes less', () => {
  const io = terminal('/')
  let now = 5
  const progress = progressOn(io, () => now)
  for (let done = 0; done <= 100; done++) {
    now = 5 + done * 33
    progress(`records: ${done}`)
  }
  expect(io.lines.err).toEqual(['… records: 31', '… records: 62', '… records: 93'])
})
