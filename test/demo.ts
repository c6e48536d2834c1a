// `npm start` as a newcomer runs it, but in a folder of its own: the root's package.json, and links to the rest of the
// clone, so that no `.posthorn/` is left in it. Reads what the demo prints.

import { spawn } from 'node:child_process'
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Status } from '@posthorn/core/runtime'
import { type Ended, run, succeed } from './interop/program.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const last = /^ {2}ls /

/** A folder in which `npm start` and `npm run posthorn` do what they do in a clone. */
export async function checkout(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-checkout-'))
  await cp(join(root, 'package.json'), join(folder, 'package.json'))
  for (const name of ['packages', 'node_modules']) await symlink(join(root, name), join(folder, name))
  return folder
}

/** What a shell would have, without what the npm that runs the tests has set for its own scripts. */
function environment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...rest } = process.env
  return Object.fromEntries(Object.entries(rest).filter(([name]) => !/^(npm_|VITEST|NODE_ENV$)/i.test(name)))
}

export interface Demo {
  readonly folder: string
  /** All that it printed until it was ready, by line. */
  readonly said: readonly string[]
  /** Milliseconds from `npm start` to the last of those lines. */
  readonly ready: number
  /** The lines below "Try this", as printed, without indent and comment. */
  readonly commands: readonly string[]
  /** Runs one of them in a shell there. */
  shell(command: string): Promise<Ended>
  /** SIGTERM to the server; the exit code of `npm start`. */
  stop(): Promise<number | null>
}

/** Runs `npm start` in `folder`; rejects with what it said where it is not ready within 30 s. */
export async function startDemo(folder: string): Promise<Demo> {
  const began = performance.now()
  const env = environment()
  const child = spawn('npm', ['start'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const exit = new Promise<number | null>(resolve => child.once('exit', resolve))
  const said: string[] = []
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const all = () => `${said.join('\n')}\n${errors}`
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGTERM')
      reject(new Error(`not ready within 30 s: ${all()}`))
    }, 30_000)
    createInterface({ input: child.stdout }).on('line', line => {
      said.push(line)
      if (!last.test(line)) return
      clearTimeout(timer)
      resolve()
    })
    child.once('exit', code => {
      clearTimeout(timer)
      reject(new Error(`npm start ended with ${code}: ${all()}`))
    })
  })
  const ready = performance.now() - began
  const shell = (command: string) => run('bash', ['-c', command], { cwd: folder, env })
  return {
    folder,
    said,
    ready,
    commands: said
      .slice(said.findIndex(line => line.startsWith('Try this')) + 1)
      .filter(line => line !== '')
      .map(line => line.replace(/\s+#.*$/, '').trim()),
    shell,
    async stop() {
      const status = await succeed('npm', ['run', '--silent', 'posthorn', '--', 'status', '--json'], {
        cwd: folder,
        env,
      })
      process.kill((JSON.parse(status.out) as Status).pid, 'SIGTERM')
      return exit
    },
  }
}

export const removeCheckout = (folder: string) => rm(folder, { recursive: true, force: true })
