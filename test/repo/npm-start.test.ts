// The first five minutes: `npm start` in a fresh clone, and every line that it prints to try.

import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkout, type Demo, removeCheckout, startDemo } from '../demo.ts'

let folder: string
let demo: Demo
const password = ({ said }: Demo) => said.join('\n').match(/password (\S+)/)?.[1]
const command = (start: string) => demo.commands.find(line => line.startsWith(start)) ?? `no command ${start}`

beforeAll(async () => {
  folder = await checkout()
  demo = await startDemo(folder)
})
afterAll(async () => {
  await demo?.stop().catch(() => {})
  await removeCheckout(folder)
})

test('it is ready soon, on loopback, with a user, and says what to try', () => {
  const said = demo.said.join('\n')
  process.stderr.write(`npm start: ready in ${(demo.ready / 1000).toFixed(2)} s\n`)
  // Two seconds on a machine that does nothing else.
  expect(demo.ready).toBeLessThan(process.env.CI ? 10_000 : 5_000)
  expect(said).toMatch(/^Posthorn \d+\.\d+\.\d+ is ready \(\d+\.\d s\)/m)
  expect(said).toMatch(/^ {2}mx +127\.0\.0\.1:25\d\d +takes mail for demo@example\.test$/m)
  expect(said).toMatch(/^ {2}submission +127\.0\.0\.1:25\d\d +log in as demo@example\.test, password \S{19}$/m)
  expect(demo.commands.map(line => line.split(' ')[0])).toEqual([
    'npm',
    'swaks',
    'printf',
    'printf',
    'npm',
    'npm',
    'npm',
    'ls',
  ])
})

test('what it prints to try works as printed', { timeout: 60_000 }, async () => {
  const sent = await demo.shell(command('npm run posthorn -- send'))
  expect(sent.code, sent.out + sent.err).toBe(0)
  expect(sent.out).toMatch(/deliver +maildir/)
  const id = sent.out.match(/queued as (\w+)/)?.[1] as string
  const rest = ['npm run posthorn -- status', 'npm run posthorn -- queue list', 'npm run posthorn -- explain', 'ls']
  const [status, list, explained, mail] = await Promise.all(
    rest.map(start => demo.shell(command(start).replace('<id>', id))),
  )
  expect(status, status?.err).toMatchObject({ code: 0, out: expect.stringMatching(/^delivered +1$/m) })
  expect(list, list?.err).toMatchObject({ code: 0, out: expect.stringContaining('The queue is empty.') })
  expect(explained, explained?.err).toMatchObject({ code: 0, out: expect.stringMatching(/rcpt +domains +accept/) })
  expect(mail?.out.trim().split('\n')).toHaveLength(1)
})

test('everything it makes is in .posthorn/, for nobody else’s eyes', () => {
  expect(statSync(join(folder, '.posthorn')).mode & 0o077).toBe(0)
  const account = join(folder, '.posthorn/demo.json')
  expect(statSync(account).mode & 0o077).toBe(0)
  expect(readFileSync(join(folder, '.posthorn/posthorn.log'), 'utf8')).not.toContain(password(demo))
  expect(readFileSync(new URL('../../.gitignore', import.meta.url), 'utf8').split('\n')).toContain('.posthorn/')
})

test('SIGTERM ends it with exit code 0; the next start has the same password and mail', {
  timeout: 60_000,
}, async () => {
  expect(await demo.stop()).toBe(0)
  const first = password(demo)
  demo = await startDemo(folder)
  expect(password(demo)).toBe(first)
  expect((await demo.shell(command('ls'))).out.trim().split('\n')).toHaveLength(1)
})
