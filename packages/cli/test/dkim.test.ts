import { mkdtempSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { run } from '../src/program.ts'

it('dkim makes, rotates and lists keys, and never prints a private one', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'posthorn-cli-dkim-'))
  onTestFinished(() => rm(cwd, { recursive: true }))
  const config = {
    hostname: 'mx.example.test',
    data: 'data',
    listeners: { mx: { listen: '127.0.0.1:0' } },
    plugins: [],
  }
  writeFileSync(join(cwd, 'posthorn.config.json'), JSON.stringify(config))
  const printed: string[] = []
  const posthorn = async (...args: string[]) => {
    const out: string[] = []
    const io = {
      cwd,
      env: {},
      out: (line: string) => void out.push(line),
      err: (line: string) => void printed.push(line),
    }
    const code = await run(args, io as never)
    printed.push(...out)
    return { code, out }
  }
  expect((await posthorn('dkim', 'rotate', 'example.test')).code).not.toBe(0)
  const made = await posthorn('dkim', 'generate', 'Example.test', '--algorithm', 'ed25519', '--selector', 'one')
  expect(made.out.join('\n')).toMatch(
    /^one\._domainkey\.example\.test\. IN TXT \( "v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=" \)$/m,
  )
  expect((await posthorn('dkim', 'generate', 'example.test', '--selector', 'one', '--algorithm', 'rsa')).code).not.toBe(
    0,
  )
  expect((await posthorn('dkim', 'rotate', 'example.test', '--algorithm', 'ed25519', '--selector', 'two')).code).toBe(0)
  const { out } = await posthorn('dkim', 'list', '--json')
  const keys = JSON.parse(out[0] as string) as { selector: string; state: string }[]
  expect(keys.map(k => [k.selector, k.state])).toEqual([
    ['one', 'retired'],
    ['two', 'active'],
  ])
  expect(printed.join()).not.toContain('PRIVATE')
})
