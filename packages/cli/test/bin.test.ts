// The command as a process of its own: what only a process has.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { temporary } from './terminal.ts'

const bin = fileURLToPath(new URL('../bin/posthorn.js', import.meta.url))
const node = ['--conditions=@posthorn/source', bin]

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const run = (cwd: string, args: readonly string[], before: readonly string[] = []): Promise<Ended> =>
  promisify(execFile)(process.execPath, [...before, ...node, ...args], { cwd }).then(
    out => ({ code: 0, ...out }),
    (error: Ended) => error,
  )

/** Starts a server; resolves with its output so far once it is ready. */
async function started(
  cwd: string,
  args: readonly string[],
): Promise<{ child: ChildProcess; ready: string; ended: Promise<number | null> }> {
  const child = spawn(process.execPath, [...node, 'start', ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const ended = new Promise<number | null>(done => child.once('exit', done))
  let text = ''
  await new Promise<void>((done, fail) => {
    const heard = (chunk: Buffer) => {
      text += chunk
      if (/is ready|"ready":true/.test(text)) setImmediate(done)
    }
    child.stdout.on('data', heard)
    child.stderr.on('data', heard)
    child.once('exit', () => fail(new Error(text)))
  })
  return { child, ready: text, ended }
}

describe('the process', () => {
  it('says its version', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
    expect(await run('/', ['--version'])).toMatchObject({ code: 0, stdout: `${version}\n` })
  })

  it('refuses a Node that is too old, in one line', async () => {
    const cwd = temporary()
    writeFileSync(
      join(cwd, 'old.cjs'),
      "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.19.1' } })",
    )
    expect(await run(cwd, ['status'], ['--require', './old.cjs'])).toMatchObject({
      code: 78,
      stderr: 'posthorn needs Node.js 22.22.2 or newer, this is 20.19.1\n',
    })
  })

  it('ends with 70 at a fault that nobody caught, and says where it was', async () => {
    const cwd = temporary()
    // `passwd` waits for its input, which never comes.
    writeFileSync(join(cwd, 'fault.cjs'), "setTimeout(() => Promise.reject(new Error('lost promise')), 300)")
    const { code, stderr } = await run(cwd, ['passwd'], ['--require', './fault.cjs'])
    expect(code).toBe(70)
    expect(stderr).toMatch(/^posthorn: a fault inside Posthorn, ending: Error: lost promise\n +at .*fault\.cjs/)
  })

  it('runs from the sources of a checkout whatever conditions it was given', async () => {
    const { stdout, code } = await promisify(execFile)(process.execPath, [bin, '--help']).then(
      out => ({ code: 0, ...out }),
      (error: Ended) => error,
    )
    expect([code, stdout.split('\n')[0]]).toEqual([0, 'Usage: posthorn [options] [command]'])
  })
})

describe('start --demo', () => {
  it('is ready in two seconds, takes mail as its lines say, reloads, and ends with 0', async () => {
    const cwd = temporary()
    const begun = performance.now()
    const { child, ready, ended } = await started(cwd, ['--demo'])
    // On two cores that all test files share, twice the promised time.
    expect(performance.now() - begun).toBeLessThan(4_000)
    expect(ready).toMatch(/log in as demo@example\.test, password \S+/)

    const sent = await run(cwd, ['send', '--to', 'demo@example.test'])
    expect(sent.stdout).toMatch(/queued as (\S+)[\s\S]*deliver +maildir[\s\S]*: done\n$/)
    expect(readdirSync(join(cwd, '.posthorn/mail/example.test/demo/new'))).toHaveLength(1)
    const id = /queued as (\S+)/.exec(sent.stdout)?.[1] ?? ''
    expect((await run(cwd, ['explain', id])).stdout).toContain('rcpt')
    expect((await run(cwd, ['queue', 'list'])).stdout).toBe('The queue is empty.\n')
    expect(JSON.parse((await run(cwd, ['status', '--json'])).stdout)).toMatchObject({
      hostname: 'mail.example.test',
      generation: 1,
    })

    expect((await run(cwd, ['reload'])).stdout).toContain('configuration 2')
    expect(await run(cwd, ['start', '--demo'])).toMatchObject({ code: 75 })

    child.kill('SIGTERM')
    expect(await ended).toBe(0)
    expect(existsSync(join(cwd, '.posthorn/control.sock'))).toBe(false)
    expect((await run(cwd, ['status'])).code).toBe(69)
  }, 40_000)

  it('gives way to a configuration in the folder', async () => {
    const cwd = temporary()
    const config = {
      hostname: 'mx.example.org',
      listeners: { mx: { listen: '127.0.0.1:0' } },
      plugins: ['storage-level'],
      log: { level: 'silent' },
    }
    writeFileSync(join(cwd, 'posthorn.config.json'), JSON.stringify(config))
    const { child, ready, ended } = await started(cwd, ['--demo'])
    expect(ready).toMatch(/configuration .*posthorn\.config\.json[\s\S]*mx {2}127\.0\.0\.1:\d+/)
    expect(existsSync(join(cwd, '.posthorn'))).toBe(false)
    child.kill('SIGINT')
    expect(await ended).toBe(0)
  })

  it('says all that is wrong with it, and ends with 78', async () => {
    const cwd = temporary()
    writeFileSync(
      join(cwd, 'posthorn.config.yaml'),
      'hostname: mx.example.org\nlisteners:\n  mx:\n    lissen: 25\nplugins: [storage-levle]\n',
    )
    const { code, stderr } = await run(cwd, ['start'])
    expect(code).toBe(78)
    expect(stderr.split('\n').filter(line => line.startsWith('  → '))).toEqual([
      '  → Did you mean "listen"?',
      '  → Did you mean "storage-level"? Else install it: npm install @posthorn/plugin-storage-levle',
    ])
  })
})
