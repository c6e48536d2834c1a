// A front with a scripted pipeline behind it: what it was told is recorded, what it answers is up to the test.
import { Buffer } from 'node:buffer'
import type { Mailbox, MailParams, RcptParams, Reply } from '@posthorn/mail'
import { type FakeClock, fakeClock, SmtpScript, type SmtpScriptOptions } from '@posthorn/testing'
import type { ListenerConfig } from '../../src/config/contract.ts'
import type { Credentials } from '../../src/credentials.ts'
import type { Log } from '../../src/log.ts'
import type { Arrival, BodySink, Pipeline, PipelineSession } from '../../src/pipeline/contract.ts'
import type { Origin, Session } from '../../src/session.ts'
import { type FrontConfig, ListenerSet, type ListenerSetOptions } from '../../src/smtp/server.ts'
import type { Awaitable } from '../../src/transaction.ts'

export interface Received {
  readonly from: Mailbox | null
  readonly params: MailParams
  readonly to: readonly { readonly mailbox: Mailbox; readonly params: RcptParams }[]
  body: string
  /** Lengths of the writes. */
  readonly writes: number[]
  outcome: 'open' | 'ended' | Reply | undefined
}

/** What the pipeline answers; by default yes to everything, at once. */
export interface Script {
  connect?(arrival: Arrival): Awaitable<Reply | undefined>
  helo?(verb: string, name: string): Awaitable<Reply | undefined>
  auth?(credentials: Credentials): Awaitable<{ user: string } | Reply>
  mail?(from: Mailbox | null, params: MailParams): Awaitable<Reply>
  rcpt?(to: Mailbox, params: RcptParams): Awaitable<Reply>
  data?(how: 'data' | 'bdat'): Awaitable<Reply | undefined>
  write?(chunk: Uint8Array): Awaitable<void>
  end?(message: Received): Awaitable<Reply | readonly Reply[]>
  retired?: boolean
}

export const reply = (code: number, enhanced: string, text: string, close?: boolean): Reply => ({
  code,
  enhanced,
  lines: [text],
  ...(close === undefined ? {} : { close }),
})

export class FakePipeline implements Pipeline {
  script: Script = {}
  readonly arrivals: Arrival[] = []
  readonly messages: Received[] = []
  readonly secured: NonNullable<Origin['tls']>[] = []
  readonly calls: string[] = []
  open_ = 0
  onClose: () => void = () => {}

  open(arrival: Arrival): PipelineSession {
    this.arrivals.push(arrival)
    this.open_++
    this.calls.push('open')
    const pipeline = this
    let transaction: { from: Mailbox | null; params: MailParams; to: Received['to'][number][] } | undefined
    return {
      session: { id: `S${this.arrivals.length}` } as Session,
      get retired() {
        return pipeline.script.retired ?? false
      },
      connect: () => this.script.connect?.(arrival),
      helo: (verb, name) => {
        this.calls.push(`${verb} ${name}`)
        return this.script.helo?.(verb, name)
      },
      secured: tls => {
        this.calls.push('secured')
        this.secured.push(tls)
      },
      auth: credentials => this.script.auth?.(credentials) ?? { user: credentials.username },
      mail: (from, params) => {
        transaction = { from, params, to: [] }
        return this.script.mail?.(from, params) ?? reply(250, '2.1.0', 'Sender OK')
      },
      rcpt: (mailbox, params) => {
        transaction?.to.push({ mailbox, params })
        return this.script.rcpt?.(mailbox, params) ?? reply(250, '2.1.5', 'Recipient OK')
      },
      data: how => {
        this.calls.push(how)
        const answer = this.script.data?.(how)
        if (answer instanceof Promise) return answer.then(refusal => refusal ?? this.#sink(transaction))
        return answer ?? this.#sink(transaction)
      },
      reset: () => {
        this.calls.push('reset')
      },
      close: () => {
        this.calls.push('close')
        this.open_--
        this.onClose()
      },
    }
  }

  #sink(transaction: { from: Mailbox | null; params: MailParams; to: Received['to'][number][] } | undefined): BodySink {
    if (transaction === undefined) throw new Error('data without a transaction')
    const message: Received = { ...transaction, body: '', writes: [], outcome: 'open' }
    this.messages.push(message)
    let writing = false
    return {
      write: chunk => {
        if (writing) throw new Error('two writes at a time')
        message.writes.push(chunk.length)
        message.body += Buffer.from(chunk).toString('latin1')
        const written = this.script.write?.(chunk)
        if (written === undefined) return
        writing = true
        return (written as Promise<void>).finally(() => {
          writing = false
        })
      },
      end: () => {
        message.outcome = 'ended'
        return this.script.end?.(message) ?? reply(250, '2.0.0', 'Queued')
      },
      abort: refusal => {
        if (writing) throw new Error('abort during a write')
        if (message.outcome !== 'open') throw new Error('abort after the end')
        message.outcome = refusal
      },
    }
  }

  /** Bodies that were ended, so would have been kept. */
  get kept(): readonly string[] {
    return this.messages.filter(({ outcome }) => outcome === 'ended').map(({ body }) => body)
  }
}

const limits: ListenerConfig['limits'] = {
  connections: 100,
  connectionsPerIp: 50,
  messageSize: 1_000_000,
  recipients: 100,
  messagesPerConnection: 1000,
  idleCommands: 50,
  errors: 20,
  commandLine: 1024,
  headerSize: 65_536,
  headerFields: 100,
  headerLines: 500,
  idle: 300_000,
  session: 7_200_000,
  dataTime: 3_600_000,
  minRate: 100,
}

export type ListenerOptions = Partial<Omit<ListenerConfig, 'limits'>> & { readonly limits?: Partial<typeof limits> }

export function listener(options: ListenerOptions = {}): ListenerConfig {
  return {
    name: 'mx',
    role: 'mx',
    listen: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
    tls: 'none',
    requireTls: false,
    auth: 'off',
    insecureAuth: false,
    proxy: false,
    hostname: 'mx.example.test',
    binarymime: false,
    bareNewlines: 'refuse',
    priorities: 'users',
    ...options,
    limits: { ...limits, ...options.limits },
  }
}

export type ConfigOptions = Partial<Omit<FrontConfig, 'limits' | 'listeners'>> & {
  readonly limits?: Partial<typeof limits>
}

export function config(listeners: readonly ListenerConfig[], options: ConfigOptions = {}): FrontConfig {
  return {
    tls: { names: {}, minVersion: 'TLSv1.2', clients: { request: false } },
    trust: { proxy: [], xclient: [] },
    body: { memory: 65_536, inflight: 1_000_000, deadline: 240_000 },
    ...options,
    listeners,
    limits: { ...limits, ...options.limits },
  }
}

export class Rig implements AsyncDisposable {
  readonly pipeline = new FakePipeline()
  readonly clock: FakeClock = fakeClock()
  readonly logged: { readonly level: string; readonly fields: object; readonly message: string | undefined }[] = []
  readonly set: ListenerSet

  private constructor(options: Partial<ListenerSetOptions>) {
    const log = Object.fromEntries(
      ['debug', 'info', 'warn', 'error'].map(level => [
        level,
        (fields: object, message?: string) => this.logged.push({ level, fields, message }),
      ]),
    ) as unknown as Log
    this.set = new ListenerSet({ pipeline: this.pipeline, clock: this.clock, log, ...options })
  }

  static async start(
    options: ListenerOptions = {},
    more: { config?: ConfigOptions; set?: Partial<ListenerSetOptions>; script?: Script } = {},
  ): Promise<Rig> {
    const rig = new Rig(more.set ?? {})
    rig.pipeline.script = more.script ?? {}
    await rig.set.open(config([listener(options)], more.config))
    return rig
  }

  get port(): number {
    const [first] = this.set.addresses()
    return first?.address.kind === 'tcp' ? first.address.port : 0
  }

  connect(options: SmtpScriptOptions = {}): Promise<SmtpScript> {
    return SmtpScript.connect({ port: this.port, ...options })
  }

  /** Resolves when every session is closed. */
  closed(): Promise<void> {
    if (this.pipeline.open_ === 0) return Promise.resolve()
    return new Promise(resolve => {
      this.pipeline.onClose = () => {
        if (this.pipeline.open_ === 0) resolve()
      }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const drained = this.set.drain(0)
    await this.clock.advance(2000)
    await drained
  }
}
