import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterEach, describe, it } from 'vitest'
import { LevelStorage } from '../src/level.ts'

const run = promisify(execFile)
const script = join(import.meta.dirname, 'process/writer.ts')
const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'posthorn-faults-'))
  cleanups.push(() => rm(made, { recursive: true, force: true }))
  return made
}

/** A writer process under a limit of file size, which is a full disk to it. Blocks of 512 octets; none: no limit. */
function writer(path: string, { writers = 20, octets = 2000, blocks = 0 } = {}) {
  const limit = blocks > 0 ? `trap '' XFSZ; ulimit -S -f ${blocks}; ` : ''
  const child: ChildProcess = spawn(
    'sh',
    [
      '-c',
      `${limit}exec "$0" "$@"`,
      process.execPath,
      '--conditions=@posthorn/source',
      script,
      path,
      `${writers}`,
      `${octets}`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  cleanups.push(() => child.kill('SIGKILL'))
  const acknowledged = new Set<number>()
  const refused: string[] = []
  let look: (() => void) | undefined
  createInterface({ input: child.stdout as NonNullable<ChildProcess['stdout']> })
    .on('line', line => {
      const [word, rest] = line.split(' ') as [string, string?]
      if (word === 'ack') acknowledged.add(Number(rest))
      else if (word === 'refused') refused.push(rest as string)
      look?.()
    })
    .on('close', () => look?.())
  return {
    child,
    acknowledged,
    refused,
    async until(condition: () => boolean): Promise<void> {
      while (!condition()) {
        assert.equal(child.exitCode, null, 'the writer died by itself')
        await new Promise<void>(resolve => {
          look = resolve
        })
      }
    },
    async kill(): Promise<void> {
      const gone = new Promise(resolve => child.once('close', resolve))
      child.kill('SIGKILL')
      await gone
    },
  }
}

async function lost(path: string, acknowledged: Iterable<number>): Promise<number[]> {
  const storage = await LevelStorage.open({ path })
  const missing: number[] = []
  for (const n of acknowledged)
    if ((await storage.get(`m/${n}`)) === undefined || (await storage.get(`r/${n}`)) === undefined) missing.push(n)
  await storage.close()
  return missing
}

describe('when the disk is full', () => {
  // LevelDB acknowledges after an append that was cut by a full disk, and loses it: 500 of 500, measured.
  for (const blocks of [1000, 4096, 8192])
    it(`refuses, goes on when there is space, and has every acknowledged batch after SIGKILL (${blocks / 2} KiB)`, async () => {
      const path = join(await folder(), 'store')
      const server = writer(path, { blocks })
      await server.until(() => server.refused.length >= 20)
      assert.deepEqual([...new Set(server.refused)], ['full'])
      await run('prlimit', ['--fsize=unlimited', '--pid', `${server.child.pid}`])
      const then = server.acknowledged.size
      await server.until(() => server.acknowledged.size >= then + 500)
      await server.kill()
      assert.deepEqual(await lost(path, server.acknowledged), [])
    })
})

describe('when the process is killed', () => {
  it('has every acknowledged batch, five times over', async () => {
    const path = join(await folder(), 'store')
    for (let round = 0; round < 5; round++) {
      const server = writer(path, { octets: 8000 })
      await server.until(() => server.acknowledged.size >= 50 + round * 37)
      await server.kill()
      assert.deepEqual(await lost(path, server.acknowledged), [])
    }
  })
})

describe('when another process has the store', () => {
  it('says so, and what to do', async () => {
    const path = join(await folder(), 'store')
    const server = writer(path, { writers: 1 })
    await server.until(() => server.acknowledged.size > 0)
    await assert.rejects(LevelStorage.open({ path }), {
      name: 'PosthornError',
      code: 'POSTHORN_STORE_BUSY',
      fix: /Stop the other server/,
    })
  })
})

describe('when the folder cannot be written', () => {
  it('says at boot which one', async () => {
    let path = join(await folder(), 'store')
    await mkdir(path, { mode: 0o500 })
    cleanups.push(() => chmod(path, 0o700))
    // Root may write anywhere but where the kernel says no.
    if (process.getuid?.() === 0) path = '/sys/kernel'
    await assert.rejects(LevelStorage.open({ path }), {
      code: 'POSTHORN_STORE_OPEN',
      message: new RegExp(path),
      fix: /belongs to the user/,
    })
  })
})
