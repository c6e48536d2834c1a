// Posthorn as operators run it, for interop tests: the command, a configuration file, the real store, ports of its own.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ConfigInput } from '@posthorn/core'
import type { QueueListing, Trace } from '@posthorn/core/runtime'
import { stopChild } from '../../bench/contender.ts'
import { succeed } from './program.ts'

const bin = fileURLToPath(new URL('../../packages/cli/bin/posthorn.js', import.meta.url))
const command = ['--conditions=@posthorn/source', bin]

/** The account that every server here has. */
export const anna = { user: 'anna@example.test', password: 'correct horse battery staple' }
const annaHash = '$scrypt$ln=15,r=8,p=1$qc2lPv1wMDn7EkPM3JrZUw$QfEtvwTjbwPIPdSOj2TJiYe3CVb141AxQqevGKgC4v8'
export const accounts = { users: { users: { [anna.user]: annaHash } } }

export interface RunningPosthorn {
  readonly folder: string
  /** By listener. */
  readonly ports: Readonly<Record<string, number>>
  /** Runs `posthorn <args> --json` against it. */
  ask(...args: readonly string[]): Promise<unknown>
  trace(id: string): Promise<Trace>
  queue(): Promise<QueueListing>
  log(): string
  [Symbol.asyncDispose](): Promise<void>
}

/** Starts it; what is not given is a server for example.test that keeps mail in Maildir folders, on ports of its own. */
export async function startPosthorn(config: Partial<ConfigInput> = {}): Promise<RunningPosthorn> {
  const folder = mkdtempSync(join(tmpdir(), 'posthorn-interop-'))
  const file = join(folder, 'posthorn.config.json')
  const defaults: ConfigInput = {
    hostname: 'mx.example.test',
    data: 'data',
    log: { file: 'posthorn.log' },
    listeners: { mx: { listen: '127.0.0.1:0' } },
    plugins: ['storage-level', { domains: { domains: ['example.test'] } }, accounts, 'maildir'],
  }
  writeFileSync(file, JSON.stringify({ ...defaults, ...config }))
  const args = [...command, 'start', '--json', '--config', file]
  const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const dispose = async () => {
    await stopChild(child)
    rmSync(folder, { recursive: true, force: true })
  }
  const ready = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve)
    child.once('error', reject)
    child.once('exit', code => reject(new Error(`posthorn start ended with ${code}: ${said}`)))
  }).catch(async (error: unknown) => {
    await dispose()
    throw error
  })
  const { addresses } = JSON.parse(ready) as { addresses: { listener: string; address: string }[] }
  const ask = async (...words: readonly string[]): Promise<unknown> =>
    JSON.parse((await succeed(process.execPath, [...command, ...words, '--json', '--config', file])).out)
  return {
    folder,
    ports: Object.fromEntries(
      addresses.map(({ listener, address }) => [listener, Number(address.slice(address.lastIndexOf(':') + 1))]),
    ),
    ask,
    trace: async id => (await ask('explain', id)) as Trace,
    queue: async () => (await ask('queue', 'list')) as QueueListing,
    log: () => readFileSync(join(folder, 'posthorn.log'), 'utf8'),
    [Symbol.asyncDispose]: dispose,
  }
}
