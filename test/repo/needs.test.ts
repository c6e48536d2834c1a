import { afterEach, expect, test, vi } from 'vitest'
import { needs, program } from '../interop/needs.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

test('finds what is installed', () => {
  expect(program('sh')).toMatch(/\/sh$/)
  expect(needs('sh')).toBe(true)
})

test('a missing program skips, and says which one', () => {
  vi.stubEnv('CI_INTEROP_REQUIRED', '')
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  expect(needs('sh', 'no-such-mail-server')).toBe(false)
  expect(said.mock.calls.join()).toContain('not installed: no-such-mail-server')
})

test('in CI a missing program is a failure', () => {
  vi.stubEnv('CI_INTEROP_REQUIRED', '1')
  expect(() => needs('no-such-mail-server')).toThrow('not installed: no-such-mail-server')
})
