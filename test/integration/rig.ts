// A whole Posthorn in this process, on free ports, with its data in a folder that goes with it: what the end-to-end
// tests talk to. Configurations are plain values; local plugins are files beside them.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Clock, ConfigInput, Log } from '@posthorn/core'
import {
  ControlClient,
  type FollowEnd,
  type LoadedConfig,
  loadConfig,
  Posthorn,
  type Status,
} from '@posthorn/core/runtime'
import { SmtpScript, type SmtpScriptOptions } from '@posthorn/testing'

/** Plugins by short name come from the distribution, as they do for the `posthorn` command. */
const bases = [new URL('../../packages/cli/package.json', import.meta.url).href]
const examples = new URL('../../examples/', import.meta.url)

/** The file of one of the examples, to be listed by path. */
export const example = (name: string) => new URL(name, examples).pathname

export type RigConfig = Partial<ConfigInput>

export interface RigOptions {
  /** Files beside the configuration, by path: local plugins. */
  readonly files?: Readonly<Record<string, string>>
  /** A folder that was a rig's before, so that its data is found again. */
  readonly folder?: string
  /** For what takes hours; the sockets keep the machine's own time. */
  readonly clock?: Clock
}

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly message: string | undefined
  readonly [field: string]: unknown
}

const defaults: ConfigInput = {
  hostname: 'mx.example.test',
  data: 'data',
  listeners: { mx: { listen: '127.0.0.1:0', tls: 'none' } },
  // Reports go out at once; a next attempt is made when a test asks for it.
  queue: { gather: 0, retry: ['1h'] },
  plugins: [],
}

export class Rig {
  readonly folder: string
  readonly log: LogLine[] = []
  /** What the next reload reads. */
  config: RigConfig
  #server: Posthorn | undefined
  #control: ControlClient | undefined
  readonly #clock: Clock | undefined

  private constructor(folder: string, config: RigConfig, clock?: Clock) {
    this.folder = folder
    this.config = config
    this.#clock = clock
  }

  /** Removes the folder where the server cannot start. */
  static async start(config: RigConfig, options: RigOptions = {}): Promise<Rig> {
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'rig-')))
    const rig = new Rig(folder, config, options.clock)
    try {
      await rig.write(options.files ?? {})
      await rig.boot()
    } catch (error) {
      await rm(folder, { recursive: true, force: true })
      throw error
    }
    return rig
  }

  get server(): Posthorn {
    if (this.#server === undefined) throw new Error('the server is not running')
    return this.#server
  }

  get data(): string {
    return join(this.folder, 'data')
  }

  async write(files: Readonly<Record<string, string>>): Promise<void> {
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(this.folder, name)), { recursive: true })
      await writeFile(join(this.folder, name), text)
    }
  }

  /** Starts again on the same data, after `stop`. */
  async boot(): Promise<void> {
    this.#server = await Posthorn.start({
      load: () => this.#load(),
      log: this.#logger(),
      ...(this.#clock !== undefined && { clock: this.#clock }),
    })
  }

  /** Ends the server and keeps its data. */
  async stop(within = 0): Promise<void> {
    this.#control?.close()
    this.#control = undefined
    const server = this.#server
    this.#server = undefined
    await server?.stop(within)
  }

  /** Reloads with some of the configuration changed; where that fails the old one is what `config` says. */
  async reload(change: RigConfig = {}): Promise<void> {
    const before = this.config
    this.config = { ...before, ...change }
    try {
      await this.server.reload()
    } catch (error) {
      this.config = before
      throw error
    }
  }

  port(listener = 'mx'): number {
    const found = this.server.addresses.find(one => one.listener === listener)
    if (found === undefined) throw new Error(`no listener ${listener}`)
    return Number(/:(\d+)$/.exec(found.address)?.[1])
  }

  /** A client that speaks transcripts. */
  connect(listener = 'mx', options: Omit<SmtpScriptOptions, 'port'> = {}): Promise<SmtpScript> {
    return SmtpScript.connect({ port: this.port(listener), ...options })
  }

  /** The control socket, as the commands use it. */
  async control(): Promise<ControlClient> {
    this.#control ??= await ControlClient.connect(join(this.data, 'control.sock'))
    return this.#control
  }

  async status(): Promise<Status> {
    return (await this.control()).call<Status>('status')
  }

  /** Resolves when nothing of the message is under way any more. */
  async end(id: string): Promise<FollowEnd> {
    return (await this.control()).call<FollowEnd>('follow', { id })
  }

  /** Resolves when the queue is empty, by what is stored. */
  empty(): Promise<void> {
    const { operations } = this.server.queue
    return until('the queue is empty', async () => (await operations.list({ limit: 1 })).messages.length === 0)
  }

  /** The messages in the Maildir of an address, or in a folder of it (`.Junk`), in no order. */
  async inbox(address: string, inside = '.'): Promise<readonly Buffer[]> {
    const at = address.lastIndexOf('@')
    const folder = join(this.data, 'mail', address.slice(at + 1), address.slice(0, at), inside, 'new')
    const names = await readdir(folder).catch(() => [])
    return Promise.all(names.map(name => readFile(join(folder, name))))
  }

  /** The same, when there are so many. */
  async delivered(address: string, count: number): Promise<readonly Buffer[]> {
    await until(`${count} messages for ${address}`, async () => (await this.inbox(address)).length >= count)
    return this.inbox(address)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await rm(this.folder, { recursive: true, force: true })
  }

  #load(): Promise<LoadedConfig> {
    const value = { ...defaults, ...this.config, queue: { ...defaults.queue, ...this.config.queue } }
    return loadConfig({ inline: { value, folder: this.folder, name: 'the rig' }, bases })
  }

  #logger(): Log {
    const at = (level: LogLine['level']) => (fields: object, message?: string) => {
      this.log.push({ ...fields, level, message })
    }
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }
}

/** Waits for what nothing tells of. Fails, saying what it waited for. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, patience = 15_000): Promise<void> {
  const end = performance.now() + patience
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

/** The id in `250 2.0.0 Ok: queued as …`. */
export function queueId(reply: readonly string[]): string {
  const id = /queued as (\S+)/.exec(reply.join(' '))?.[1]
  if (id === undefined) throw new Error(`not queued: ${reply.join(' ')}`)
  return id
}

/** One message by DATA over an open session: the final reply. */
export async function send(
  client: SmtpScript,
  from: string,
  to: string | readonly string[],
  message: string | Uint8Array = 'Subject: hello\r\n\r\nhello\r\n',
): Promise<string[]> {
  const recipients = typeof to === 'string' ? [to] : to
  client.send(`MAIL FROM:<${from}>\r\n${recipients.map(one => `RCPT TO:<${one}>\r\n`).join('')}DATA\r\n`)
  await client.expect('250 2.1.0 *')
  for (const _ of recipients) await client.expect('250 2.1.5 *')
  await client.expect('354 *')
  const text = Buffer.from(message).toString('latin1').replace(/^\./gm, '..')
  client.send(Buffer.from(`${text}.\r\n`, 'latin1'))
  return client.reply()
}

/** A session past its EHLO. */
export async function greeted(rig: Rig, listener = 'mx'): Promise<SmtpScript> {
  const client = await rig.connect(listener)
  await client.speak(`
    S: 220 *
    C: EHLO client.example.test
    S: 250 ...
  `)
  return client
}

/** A stored or relayed message, its own head apart from the octets that came in. */
export function parted(stored: Buffer): { readonly head: string; readonly received: Buffer } {
  const text = stored.toString('latin1')
  const own = /^(?:Return-Path: .*\r\n)?(?:Delivered-To: .*\r\n)?Received: .*\r\n(?:[ \t].*\r\n)*/.exec(text)?.[0]
  if (own === undefined) throw new Error(`no head of ours: ${text.slice(0, 200)}`)
  return { head: own, received: stored.subarray(own.length) }
}
