import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fakeClock } from '@posthorn/testing'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { LogFile } from '../../src/server/log-file.ts'
import { openLog } from '../../src/server/logging.ts'

let folder: string
const complaints: string[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'posthorn-log-'))
  complaints.length = 0
})
afterEach(() => rmSync(folder, { recursive: true }))

const complain = (text: string) => void complaints.push(text)
const read = (name = 'log/posthorn.log') => readFileSync(join(folder, name), 'utf8')

test('lines come in their order, within a second, in a file that is its owner’s alone', async () => {
  const clock = fakeClock()
  const file = new LogFile(join(folder, 'log/posthorn.log'), clock, complain)
  for (let i = 0; i < 3; i++) file.write(`${i}\n`)
  expect(read()).toBe('')
  await clock.advance(1000)
  await expect.poll(() => read()).toBe('0\n1\n2\n')
  expect(statSync(join(folder, 'log/posthorn.log')).mode & 0o777).toBe(0o600)
  file.close()
})

test('much is written before the second is over, and nothing twice or out of order', async () => {
  const file = new LogFile(join(folder, 'log/posthorn.log'), fakeClock(), complain)
  const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`)
  for (const line of lines) file.write(line)
  await expect.poll(() => read().length).toBeGreaterThan(65_536)
  file.close()
  await expect.poll(() => read() === lines.join('')).toBe(true)
})

test('after rotation lines go to the new file, and what was written before to the old one', async () => {
  const file = new LogFile(join(folder, 'log/posthorn.log'), fakeClock(), complain)
  file.write('before\n')
  file.flush()
  renameSync(join(folder, 'log/posthorn.log'), join(folder, 'old.log'))
  file.reopen()
  file.write('after\n')
  file.close()
  await expect.poll(() => read('old.log')).toBe('before\n')
  expect(read()).toBe('after\n')
})

test('a full disk costs lines, never the server: it is told once a minute, and what waits is bounded', async () => {
  const clock = fakeClock()
  // Linux: every write to it fails with ENOSPC.
  const file = new LogFile('/dev/full', clock, complain)
  const line = `${'x'.repeat(1023)}\n`
  for (let i = 0; i < 20_000; i++) file.write(line)
  await expect.poll(() => complaints.length).toBe(1)
  expect(complaints[0]).toContain('ENOSPC')
  await clock.advance(30_000)
  expect(complaints).toHaveLength(1)
  await clock.advance(31_000)
  await expect.poll(() => complaints.length).toBe(2)
  expect(Number(/lost so far: (\d+)/.exec(complaints[1] ?? '')?.[1])).toBeGreaterThan(11_000)
  file.close()
})

test('an error is in the file at once', async () => {
  const log = openLog({ level: 'info', file: join(folder, 'log/posthorn.log') }, fakeClock(), complain)
  log.error({ id: 'A' }, 'went wrong')
  await expect.poll(() => read()).toContain('"id":"A","msg":"went wrong"')
  log.close()
})
