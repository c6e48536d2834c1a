// What the queue's tests share: a queue over a store in memory, a clock that stands still, agents that do as told, and
// mail to put in.

import type { Mailbox, MailParams } from '@posthorn/mail'
import { type FakeClock, fakeClock, type MemoryBlobs, memoryBlobs, memoryStorage } from '@posthorn/testing'
import { Aborter } from '../../src/aborter.ts'
import type { Generation } from '../../src/boot/contract.ts'
import type { Config, QueueConfig } from '../../src/config/contract.ts'
import type { DeliveryAgent, DeliveryTarget, Outcome, Queued } from '../../src/delivery.ts'
import type { Id } from '../../src/envelope.ts'
import { newId } from '../../src/id.ts'
import type { Log } from '../../src/log.ts'
import type { Submission } from '../../src/pipeline/submission.ts'
import type { Accepted, AcceptedTarget, TraceEntry } from '../../src/queue/contract.ts'
import { Queue, type QueueOptions } from '../../src/queue/queue.ts'
import type { Storage } from '../../src/storage/contract.ts'
import { defer, reject } from '../../src/verdict.ts'

export const minute = 60_000
export const hour = 60 * minute
export const day = 24 * hour

export const box = (address: string): Mailbox => {
  const at = address.lastIndexOf('@')
  return { local: address.slice(0, at), domain: address.slice(at + 1), raw: address }
}

export const queueConfig: QueueConfig = {
  retry: [5, 10, 20, 40, 80, 160, 240].map(m => m * minute),
  expire: 5 * day,
  delayReport: 4 * hour,
  concurrency: 20,
  maxRecipients: 100,
  handover: { messages: 10_000, bytes: 64 * 1024 * 1024 },
  held: { keep: 14 * day, max: 10_000 },
  gather: 10 * minute,
}

export interface MailOptions {
  readonly id?: string
  readonly from?: string | null
  readonly to?: readonly string[]
  readonly params?: Partial<MailParams>
  readonly body?: string
  readonly head?: string
  readonly user?: string
  /** The body is a file, as large ones are. */
  readonly file?: boolean
  readonly target?: (address: string, i: number) => Partial<AcceptedTarget>
  readonly hold?: string
}

/** What one `send` was called with. */
export interface Sent {
  readonly message: Queued
  readonly to: readonly DeliveryTarget[]
  readonly lane: string
  readonly at: number
}

export type Answer = Outcome | 'nothing' | (() => Promise<Outcome>)

export const delivered: Outcome = { kind: 'delivered', by: 'mx.test' }
export const busy = (scope: 'recipient' | 'message' | 'lane' = 'recipient', extra: object = {}): Outcome => ({
  ...defer(451, '4.7.1', 'try again later'),
  scope,
  ...extra,
})
export const gone = (extra: object = {}): Outcome => ({
  ...reject(550, '5.1.1', 'no such user'),
  scope: 'recipient',
  ...extra,
})

/** An agent that routes by domain and answers as `answer` says; it remembers. */
export class Agent implements DeliveryAgent {
  readonly sent: Sent[] = []
  answer: (to: DeliveryTarget, message: Queued) => Answer = () => delivered
  lane: (to: DeliveryTarget) => string | undefined = to => to.address.domain
  limits?: NonNullable<DeliveryAgent['limits']>
  readonly #clock: FakeClock

  constructor(clock: FakeClock) {
    this.#clock = clock
  }

  route(to: DeliveryTarget) {
    const lane = this.lane(to)
    return lane === undefined ? undefined : { lane, data: { host: lane } }
  }

  async send(
    message: Queued,
    to: readonly DeliveryTarget[],
    route: { lane: string },
    call: { report(id: Id, outcome: Outcome): void },
  ): Promise<void> {
    this.sent.push({ message, to, lane: route.lane, at: this.#clock.now() })
    for (const target of to) {
      const answer = this.answer(target, message)
      const outcome = typeof answer === 'function' ? await answer() : answer
      if (outcome !== 'nothing') call.report(target.id, outcome)
    }
  }
}

export interface Office {
  readonly clock: FakeClock
  readonly storage: Storage
  readonly blobs: MemoryBlobs
  readonly queue: Queue
  readonly agent: Agent
  readonly logs: { level: string; fields: Record<string, unknown>; text: string | undefined }[]
  readonly traces: Map<string, TraceEntry[]>
  /** Reports that were submitted. */
  readonly reports: { id: string; to: string; text: string }[]
  /** Another configuration: other agents, other limits. */
  reload(change: { agents?: readonly { plugin: string; agent: DeliveryAgent }[]; queue?: Partial<QueueConfig> }): void
  /** Accepts mail; the id. */
  mail(options?: MailOptions): Promise<string>
}

export interface OfficeOptions extends Partial<Omit<QueueOptions, 'storage' | 'blobs' | 'clock'>> {
  readonly storage?: Storage
  readonly blobs?: MemoryBlobs
  readonly clock?: FakeClock
  /** Timers of a process that dies before its clock does. */
  readonly alive?: () => boolean
  readonly agent?: Agent
  readonly config?: Partial<QueueConfig>
  /** Commit reports to the queue itself, as the pipeline does; else they only are remembered. */
  readonly deliverReports?: boolean
  readonly start?: boolean
}

export async function office(options: OfficeOptions = {}): Promise<Office> {
  const clock = options.clock ?? fakeClock()
  const storage = options.storage ?? memoryStorage()
  const blobs = options.blobs ?? memoryBlobs(storage)
  const agent = options.agent ?? new Agent(clock)
  const logs: Office['logs'] = []
  const line = (level: string) => (fields: object, text?: string) => {
    logs.push({ level, fields: fields as Record<string, unknown>, text })
  }
  const log: Log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
  const traces = new Map<string, TraceEntry[]>()
  const reports: Office['reports'] = []
  let current = makeGeneration(1, [{ plugin: 'test', agent }], { ...queueConfig, ...options.config })

  const submission: Submission = {
    async submit(draft, { with: ops } = {}) {
      if (await queue.knows(draft.id)) return 'exists'
      const chunks: Uint8Array[] = []
      for await (const chunk of draft.body) chunks.push(chunk)
      const text = Buffer.concat(chunks).toString()
      reports.push({ id: draft.id, to: draft.to[0]?.raw ?? '', text })
      if (options.deliverReports) {
        const to = draft.to.map(t => t.raw)
        const message = accepted(blobs, clock, { id: draft.id, from: null, to, body: text })
        await queue.commit(message, ops === undefined ? {} : { with: ops })
      } else if (ops !== undefined) await storage.write(ops)
      return 'queued'
    },
  }

  const queue = new Queue({
    ...options,
    storage,
    blobs,
    clock: { ...clock, after: (ms, fn) => clock.after(ms, () => options.alive?.() !== false && fn()) },
    log,
    generation: () => current,
    submission: () => submission,
    random: options.random ?? (() => 0.5),
    // Renewed thrice an hour: days pass quicker for it.
    lease: options.lease ?? hour,
    trace: { append: (id, entries) => void traces.set(id, [...(traces.get(id) ?? []), ...entries]) },
  })
  if (options.start !== false) await queue.start()
  return {
    clock,
    storage,
    blobs,
    queue,
    agent,
    logs,
    traces,
    reports,
    reload({ agents, queue: changed }) {
      const next = { ...current.config.queue, ...changed }
      const entries = agents ?? current.plan.agents.map(({ plugin, agent: one }) => ({ plugin, agent: one }))
      current = makeGeneration(current.number + 1, entries, next)
      queue.reloaded()
    },
    async mail(mail = {}) {
      let message = accepted(blobs, clock, mail)
      if (mail.file) {
        const writer = blobs.create()
        await writer.write(message.body.bytes ?? new Uint8Array(0))
        const { bytes: _, ...body } = message.body
        message = { ...message, body: { ...body, ref: await writer.finish(), ops: [] } }
      }
      await queue.commit(message)
      return message.id
    },
  }
}

export function makeGeneration(
  number: number,
  agents: readonly { plugin: string; agent: DeliveryAgent }[],
  queue: QueueConfig,
): Generation {
  const plan = { stages: {} as never, absent: [], agents: agents.map((entry, rank) => ({ ...entry, rank })) }
  return {
    number,
    config: { hostname: 'mail.example.test', queue } as Config,
    plan,
    plugins: [],
    retired: new Aborter(),
    get: () => undefined,
    hold: () => () => {},
  }
}

export function accepted(blobs: MemoryBlobs, clock: { now(): number }, options: MailOptions = {}): Accepted {
  const { from = 'alice@example.test', to = ['bob@dest.test'], params, head = 'Received: here\r\n' } = options
  const text = options.body ?? 'Subject: hello\r\nFrom: alice@example.test\r\n\r\nHello, Bob.\r\n'
  const bytes = Buffer.from(text)
  const headerSize = text.indexOf('\r\n\r\n') + 4
  const { ref, ops } = blobs.inline(bytes)
  return {
    id: options.id ?? newId(clock.now()),
    received: clock.now(),
    params: { smtputf8: false, requireTls: false, other: {}, ...params },
    origin: {
      id: 'session',
      protocol: 'smtp',
      listener: { name: 'mx', role: 'mx' },
      local: { ip: '127.0.0.1', port: 25, hostname: 'mail.example.test' },
      client: { ip: '192.0.2.1', port: 2525, name: 'client.test', via: 'direct', trusted: false },
      helo: { verb: 'EHLO', name: 'client.test' },
      ...(options.user !== undefined && { auth: { user: options.user, mechanism: 'PLAIN', scopes: [] } }),
    },
    state: {},
    body: { ref, ops, size: bytes.length, headerSize, header: bytes.subarray(0, headerSize), bytes },
    variants: [
      {
        from: from === null ? null : box(from),
        head: Buffer.from(head),
        skip: [],
        ...(options.hold !== undefined && { hold: options.hold }),
        targets: to.map((address, i) => ({
          id: `t${i}`,
          address: box(address),
          state: {},
          ...options.target?.(address, i),
        })),
      },
    ],
  }
}

/** Keys of the store under the queue's prefixes, leases left out: empty when nothing is queued. */
export function queueKeys(storage: { entries(): readonly (readonly [string, Uint8Array])[] }): string[] {
  return storage
    .entries()
    .map(([key]) => key)
    .filter(key => /^[mrdhuybB]\//.test(key))
}

export async function textOf(message: Queued | undefined): Promise<string> {
  if (message === undefined) return 'no message'
  const chunks: Uint8Array[] = []
  for await (const chunk of message.open()) chunks.push(chunk.slice())
  return Buffer.concat(chunks).toString()
}
