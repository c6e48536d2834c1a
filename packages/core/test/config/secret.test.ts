import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import * as z from 'zod'
import { validate } from '../../src/config/explain.ts'
import { fromConfig, whileReading } from '../../src/config/folder.ts'
import { secret } from '../../src/config/secret.ts'
import { folderOf } from './folder.ts'

const read = (folder: string, value: unknown, warnings: string[] = []) =>
  whileReading({ folder, warn: message => warnings.push(message) }, () => validate(secret(), value))

describe('a secret', () => {
  it('is a string, a variable or a file, read from the config folder', async () => {
    const folder = folderOf({ 'key.txt': 'geheim\n' })
    chmodSync(join(folder, 'key.txt'), 0o600)
    vi.stubEnv('POSTHORN_TEST_SECRET', 'from env')
    const warnings: string[] = []
    expect((await read(folder, 'plain', warnings)).value).toBe('plain')
    expect((await read(folder, { env: 'POSTHORN_TEST_SECRET' }, warnings)).value).toBe('from env')
    expect((await read(folder, { file: 'key.txt' }, warnings)).value).toBe('geheim')
    expect(warnings).toEqual([])
    vi.unstubAllEnvs()
  })

  it('that everybody can read is warned about', async () => {
    const folder = folderOf({ 'key.txt': 'geheim' })
    chmodSync(join(folder, 'key.txt'), 0o644)
    const warnings: string[] = []
    await read(folder, { file: 'key.txt' }, warnings)
    expect(warnings).toEqual([expect.stringContaining('everybody on this machine can read it: chmod 600')])
  })

  it('that is missing is named, its value never shown', async () => {
    const folder = folderOf({ empty: '' })
    const say = async (value: unknown) => (await read(folder, value)).problems.map(p => p.message)
    expect(await say({ env: 'POSTHORN_NO_SUCH' })).toEqual(['the environment variable POSTHORN_NO_SUCH is not set'])
    expect(await say({ file: 'none' })).toEqual([`the file ${folder}/none does not exist`])
    expect(await say({ file: '.' })).toEqual([`the file ${folder} cannot be read (EISDIR)`])
    expect(await say({ file: 'empty' })).toEqual(['the secret is empty'])
    expect(await say({ file: 'a\0b' })).toHaveLength(1)
    expect(await say(4711)).toEqual([expect.not.stringContaining('4711')])
    expect(await say({ evn: 'hunter2' })).toEqual(['unknown option "evn"', expect.stringContaining('{ file: path }')])
    expect(await say({ env: 'A', file: 'b' })).toEqual([expect.stringContaining('{ file: path }')])
  })

  it('is recognised deep in a schema, by its mark', async () => {
    const schema = z.strictObject({
      accounts: z.record(
        z.string(),
        z.union([z.string().min(20).meta({ secret: true }), z.strictObject({ a: z.int() })]),
      ),
      list: z.array(secret()).optional(),
    })
    const { problems } = await validate(schema, { accounts: { anna: 'hunter2' }, list: [7] })
    expect(problems.map(p => p.message)).toEqual([
      'expected at least 20 characters, found something else (not shown)',
      expect.not.stringContaining('7'),
    ])
  })
})

it('paths count from the folder of the configuration being read, whoever asks', async () => {
  const both = await Promise.all(
    ['/a', '/b'].map(folder =>
      whileReading({ folder, warn: () => {} }, async () => {
        await Promise.resolve()
        return fromConfig('x/y')
      }),
    ),
  )
  expect(both).toEqual(['/a/x/y', '/b/x/y'])
})
