// The server under test: a process of its own on a data folder that outlives it, started, reloaded, limited and killed.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ControlClient, type QueueFilter, type QueueListing } from '@posthorn/core/runtime'
import { inlineLimit } from './letters.ts'

const program = fileURLToPath(new URL('../../packages/cli/bin/posthorn.js', import.meta.url))
const aliases = fileURLToPath(new URL('./aliases.ts', import.meta.url))
const readyWithin = 30_000

export interface ServerOptions {
  /** Where configuration, log and data go. */
  readonly folder: string
  readonly port: number
  /** The port of each domain's next hop. */
  readonly relays: Readonly<Record<string, number>>
  /** Run by this: a tracer and its arguments. */
  readonly under?: readonly string[]
  /** Default: `data` in the folder. */
  readonly data?: string
}

export class CrashServer {
  readonly #options: ServerOptions
  readonly #config: string
  readonly #log: WriteStream
  #child: ChildProcess | undefined
  #exit: Promise<void> = Promise.resolve()
  #ready = false

  private constructor(options: ServerOptions, config: string) {
    this.#options = options
    this.#config = config
    this.#log = createWriteStream(join(options.folder, 'server.log'), { flags: 'a' })
  }

  static async prepare(options: ServerOptions): Promise<CrashServer> {
    const config = join(options.folder, 'posthorn.config.json')
    await writeFile(config, JSON.stringify(configuration(options), null, 2))
    return new CrashServer(options, config)
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  get data(): string {
    return dataOf(this.#options)
  }

  get running(): boolean {
    return this.#child !== undefined
  }

  /** Starts the process, without waiting for it to be ready. */
  spawn(): void {
    const [tracer, ...first] = this.#options.under ?? []
    const args = ['--conditions=@posthorn/source', program, 'start', '--json', '--config', this.#config]
    const command = tracer === undefined ? process.execPath : tracer
    const child = spawn(command, tracer === undefined ? args : [...first, process.execPath, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    this.#ready = false
    child.stdout.on('data', (chunk: Buffer) => {
      if (chunk.includes('"ready":true')) this.#ready = true
      this.#log.write(chunk)
    })
    child.stderr.on('data', chunk => this.#log.write(chunk))
    this.#exit = new Promise(resolve => {
      child.once('exit', () => {
        this.#child = undefined
        resolve()
      })
    })
  }

  /** Rejects where it ends instead of getting ready. */
  async start(): Promise<void> {
    this.spawn()
    const limit = Date.now() + readyWithin
    while (!this.#ready) {
      if (this.#child === undefined) throw new Error(`the server did not start: see ${this.#options.folder}/server.log`)
      if (Date.now() > limit) throw new Error('the server did not get ready in time')
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  }

  /** To the server itself, where it runs under a tracer. */
  async signal(signal: NodeJS.Signals): Promise<void> {
    if (this.#child === undefined) return
    // Without its tracer it would only run on.
    const pid = this.#options.under === undefined ? this.pid : await childOf(this.pid)
    try {
      process.kill(pid, signal)
    } catch (error) {
      // It ended by itself meanwhile: whoever waits will see.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
    if (signal === 'SIGKILL' || signal === 'SIGTERM') await this.#exit
  }

  /** No file may grow beyond so many octets: what a full disk does to those who write. */
  async limitFiles(octets: number | 'unlimited'): Promise<void> {
    if (this.#child === undefined) return
    try {
      await promisify(execFile)('prlimit', ['--pid', String(this.pid), `--fsize=${octets}:unlimited`])
    } catch (error) {
      // The process may have ended meanwhile; the tool must be there.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw error
    }
  }

  async call<T>(method: string, params: unknown): Promise<T> {
    const client = await ControlClient.connect(join(this.data, 'control.sock'))
    try {
      return await client.call<T>(method, params)
    } finally {
      client.close()
    }
  }

  retryAll(): Promise<unknown> {
    return this.call('queue.apply', { action: { kind: 'retry' }, filter: {} })
  }

  list(filter: QueueFilter): Promise<QueueListing> {
    return this.call('queue.list', filter)
  }

  async close(): Promise<void> {
    await this.signal('SIGKILL')
    await new Promise<void>(resolve => this.#log.end(() => resolve()))
  }
}

const dataOf = ({ data, folder }: ServerOptions) => data ?? join(folder, 'data')

function configuration(options: ServerOptions): object {
  return {
    hostname: 'mx.crash.test',
    data: dataOf(options),
    listeners: { mx: { listen: `127.0.0.1:${options.port}` } },
    // All clients come from one address here.
    limits: { messagesPerConnection: 1_000_000, connectionsPerIp: 1000, errors: 1_000_000 },
    body: { memory: inlineLimit },
    // Beside the data, where the full disk hits it too.
    log: { level: 'info', file: join(options.folder, 'posthorn.log') },
    queue: {
      retry: ['150ms', '300ms', '600ms', '1s'],
      expire: '1h',
      delayReport: '2s',
      gather: '300ms',
    },
    plugins: [
      'storage-level',
      { domains: { domains: ['home.test', 'list.test'] } },
      { use: aliases },
      ...Object.entries(options.relays).map(([domain, port]) => ({
        use: 'relay',
        as: `relay-${domain.replace('.', '-')}`,
        options: { to: `127.0.0.1:${port}`, tls: 'none', domains: [domain], connections: 8 },
      })),
      'maildir',
    ],
  }
}

/** A port that nobody has, for a server that comes back to it again and again. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise<void>(resolve => server.close(() => resolve()))
  return port
}

/** A tracer's only child. */
async function childOf(pid: number): Promise<number> {
  const [child] = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ')
  return Number(child) || pid
}
