// Plugins in the real runtime - order, waves, timeouts, isolation of faults - with no socket, no disk and a clock that
// stands still. What plugin authors test with, and what we test our own with.
import { tmpdir } from 'node:os'
import {
  type AnyPlugin,
  Blobs,
  type Credentials,
  type Defer,
  type DeliveryTarget,
  Dns,
  DnsAdvice,
  type Id,
  type Log,
  type Mailbox,
  Meter,
  MeterToken,
  type Outcome,
  Place,
  type Plugin,
  type Queued,
  type Reject,
  type Role,
  type StateKey,
  Storage,
  Submission,
  silentLog,
  type Token,
} from '@posthorn/core'
import {
  Aborter,
  type Accepted,
  type Arrival,
  configOf,
  createSubmission,
  deliveryTarget,
  Generations,
  Observers,
  SessionCore,
  type TraceEntry,
} from '@posthorn/core/runtime'
import { isMalformed, type MailParams, parsePath, type Reply } from '@posthorn/mail'
import { type FakeClock, fakeClock } from './fake-clock.ts'
import { fakeDns } from './fake-dns.ts'
import { feed, queuedOf, type Result, result } from './harness-message.ts'
import { memoryBlobs } from './memory-blobs.ts'
import { memoryStorage } from './memory-storage.ts'

type Config = Parameters<typeof configOf>[0]
type InputOf<S> = S extends { readonly '~standard': { readonly types?: { readonly input: infer I } | undefined } }
  ? I
  : never

/** Who is talking, and what was said before: everything has a default. */
export interface Given {
  readonly ip?: string
  readonly role?: Role
  readonly helo?: string
  /** Logged in as. */
  readonly user?: string
  /** `''`: the null reverse-path. */
  readonly from?: string
  readonly to?: readonly string[]
  readonly params?: Partial<MailParams>
  /** Session state that other plugins would have written. */
  readonly state?: readonly (readonly [StateKey<any, any>, unknown])[]
  readonly pendingInput?: boolean
}

export interface Harness extends AsyncDisposable {
  readonly clock: FakeClock
  readonly meter: Meter
  /** What plugins and core logged. */
  readonly log: readonly { readonly level: string; readonly fields: object; readonly message?: string }[]
  /** Runs one stage; those before it run too, and are expected to let it through. `undefined`: no objection. */
  gate(stage: 'connect' | 'helo' | 'mail' | 'rcpt' | 'data', given?: Given): Promise<Reply | undefined>
  /** The targets of a recipient. */
  resolve(to: string, given?: Given): Promise<readonly Mailbox[]>
  auth(credentials: Credentials, given?: Given): Promise<{ readonly user: string } | Reply>
  /** A whole message; an array is fed chunk by chunk, the first holding the header. */
  message(eml: string | Uint8Array | readonly Uint8Array[], given?: Given): Promise<Result>
  /** Accepts a message and hands it to the delivery agents: outcomes by address. */
  deliver(eml: string | Uint8Array, given?: Given): Promise<ReadonlyMap<string, Outcome | 'unrouted'>>
  /** Keys that delivery agents asked slots for, oldest first; those still held. */
  readonly throttled: readonly string[]
  readonly slots: ReadonlySet<string>
  /** Every message that was committed, oldest first. */
  readonly accepted: readonly Accepted[]
  /** A session as listeners hold it, for what the calls above do not reach. */
  session(given?: Given): SessionCore
  /** Replaces the plugins, as a reload does. */
  reload(plugins: readonly AnyPlugin[], options?: readonly unknown[]): Promise<void>
}

export interface HarnessSetup<P extends readonly AnyPlugin[]> {
  readonly options?: { readonly [K in keyof P]: P[K] extends Plugin<any, infer S> ? InputOf<S> : never }
  readonly services?: readonly (readonly [Token<any>, unknown])[]
  /** The rest of the configuration: `{ mixed: 'discard' }`. */
  readonly config?: Partial<Config>
  /** Operator overrides by place in the list. */
  readonly entries?: readonly (
    | {
        readonly as?: string
        readonly on?: readonly Role[]
        readonly onError?: 'fail' | 'ignore'
        readonly objection?: 'keep' | 'junk' | 'ignore'
        readonly timeout?: number
        readonly unless?: object
      }
    | undefined
  )[]
}

/** A harness around plugins, in the order of a config. Rejects as a boot would: a missing service, a bad option, a cycle. */
export async function harness<const P extends readonly AnyPlugin[]>(
  plugins: P,
  setup: HarnessSetup<P> = {},
): Promise<Harness> {
  const clock = fakeClock()
  const meter = new Meter()
  const lines: { level: string; fields: object; message?: string }[] = []
  const log = recordingLog(lines)
  const storage = memoryStorage()
  const blobs = memoryBlobs(storage)
  const base = await configOf(
    { hostname: 'mx.test', listeners: { mx: { listen: '127.0.0.1:0' } }, ...setup.config },
    tmpdir(),
  )
  const submission = { submit: (...args: Parameters<Submission['submit']>) => submitter.submit(...args) }
  const given = new Map<Token<any>, unknown>([
    [Storage, storage],
    [Blobs, blobs],
    [Place, { data: tmpdir() }],
    [MeterToken, meter],
    [Dns, fakeDns()],
    [DnsAdvice, { add: () => () => {} }],
    [Submission, submission],
    ...(setup.services ?? []),
  ])
  for (const plugin of plugins) for (const provided of plugin.provides ?? []) given.delete(provided)
  const generations = new Generations({ services: given, clock, log })
  const load = (list: readonly AnyPlugin[], options: readonly unknown[]) => ({
    config: {
      ...base,
      plugins: list.map((plugin, i) => ({
        use: plugin.name,
        onError: 'fail' as const,
        objection: 'keep' as const,
        options: options[i] ?? {},
        at: `plugins[${i}]`,
        ...setup.entries?.[i],
      })),
    },
    plugins: list.map(plugin => ({ plugin, from: 'test' })),
  })
  await generations.start(load(plugins, (setup.options as readonly unknown[] | undefined) ?? []))

  const accepted: Accepted[] = []
  const throttled: string[] = []
  const slots = new Set<string>()
  const traced: TraceEntry[] = []
  const observers = new Observers(generations.runtime, log)
  const parts = {
    generation: () => generations.current,
    blobs: generations.current.get(Blobs) ?? blobs,
    queue: {
      async commit(message: Accepted, options: { readonly with?: readonly unknown[] } = {}) {
        await storage.write([...message.body.ops, ...((options.with as typeof message.body.ops) ?? [])])
        accepted.push(message)
      },
      knows: async (id: string) => accepted.some(m => m.id === id),
    },
    traces: { append: (_id: string, entries: readonly TraceEntry[]) => void traced.push(...entries) },
    clock,
    log,
    runtime: generations.runtime,
    observers,
    observed() {},
    background(work: Promise<unknown>, what: string) {
      work.catch(error => log.error({ err: error }, what))
    },
  }
  const submitter = createSubmission(parts, () => base.hostname)

  const open = (who: Given = {}): SessionCore => {
    const session = new SessionCore(parts, arrivalOf(who, base.hostname))
    // What other plugins would have said of the session is put where they would put it.
    for (const [key, value] of who.state ?? []) session.state.set(key.name, value)
    return session
  }

  /** Runs the stages up to and including `last`; the first refusal ends it. */
  const upTo = async (session: SessionCore, last: string, who: Given): Promise<Reply | undefined> => {
    const greeted = await session.connect()
    if (greeted !== undefined || last === 'connect') return greeted
    const lmtp = who.role === 'lmtp'
    const helo = await session.helo(lmtp ? 'LHLO' : 'EHLO', who.helo ?? 'client.test')
    if (helo !== undefined || last === 'helo') return helo
    if (who.user !== undefined) {
      session.origin = { ...session.origin, auth: { user: who.user, mechanism: 'PLAIN', scopes: [] } }
    }
    const params = { smtputf8: false, requireTls: false, other: {}, ...who.params }
    const mail = await session.mail(reversePath(who.from ?? 'sender@client.test'), params)
    if (mail.code >= 400) return mail
    if (last === 'mail') return undefined
    let refused: Reply | undefined
    for (const to of who.to ?? ['anna@example.test']) {
      const reply = await session.rcpt(mailbox(to), { other: {} })
      if (reply.code >= 400) refused ??= reply
    }
    return last === 'rcpt' || session.tx === undefined || session.tx.envelope.accepted.length === 0
      ? refused
      : undefined
  }

  const message: Harness['message'] = async (eml, who = {}) => {
    const session = open(who)
    const before = accepted.length
    traced.length = 0
    try {
      const refused = await upTo(session, 'data', who)
      const replies = refused === undefined ? await feed(session, eml) : [refused]
      await observers.idle()
      return result(replies, accepted.slice(before), [...traced], parts.blobs)
    } finally {
      session.close()
    }
  }

  return {
    clock,
    meter,
    log: lines,
    throttled,
    slots,
    accepted,
    message,
    session: open,
    async gate(stage, who = {}) {
      const session = open(who)
      try {
        const reply = await upTo(session, stage, who)
        if (reply !== undefined || stage !== 'data') return reply
        const sink = await session.data('data')
        return 'code' in sink ? sink : undefined
      } finally {
        session.close()
      }
    },
    async resolve(to, who = {}) {
      const session = open(who)
      try {
        const refused = await upTo(session, 'rcpt', { ...who, to: [to] })
        if (refused !== undefined) throw new Error(`${to} was refused: ${refused.code} ${refused.lines[0]}`)
        return session.tx?.envelope.targets.map(t => t.address) ?? []
      } finally {
        session.close()
      }
    },
    async auth(credentials, who = {}) {
      const session = open(who)
      try {
        await upTo(session, 'helo', who)
        return await session.auth(credentials)
      } finally {
        session.close()
      }
    },
    async deliver(eml, who = {}) {
      const { replies } = await message(eml, who)
      const [reply] = replies
      if (reply === undefined || reply.code >= 400) throw new Error(`refused: ${reply?.code} ${reply?.lines[0]}`)
      const outcomes = new Map<string, Outcome | 'unrouted'>()
      const one = accepted.at(-1)
      if (one === undefined) return outcomes
      for (const variant of one.variants) {
        const queued = queuedOf(one, variant, parts.blobs)
        for (const target of variant.targets.filter(({ ended }) => ended === undefined))
          outcomes.set(target.address.raw, await send(queued, deliveryTarget(target)))
      }
      return outcomes
    },
    async reload(list, options = []) {
      await generations.reload(load(list, options))
    },
    async [Symbol.asyncDispose]() {
      await observers.idle()
      const closed = generations.close(0, 0)
      await clock.settle()
      await closed
    },
  }

  /** Routes one target as the queue would, and sends it at once. */
  async function send(queued: Queued, target: DeliveryTarget): Promise<Outcome | 'unrouted'> {
    const aborter = new Aborter()
    const call = {
      get signal() {
        return aborter.signal
      },
      log,
      now: () => clock.now(),
    }
    for (const { agent } of generations.current.plan.agents) {
      const route = await agent.route(target, queued, call)
      if (route === undefined) continue
      if ('kind' in route && (route.kind === 'hold' || route.kind === 'discard')) return route
      if ('kind' in route) return { ...(route as Defer | Reject), scope: 'recipient' }
      let outcome: Outcome = { kind: 'defer', code: 451, enhanced: '4.3.0', text: 'Not reported', scope: 'message' }
      const report = (id: Id, said: Outcome) => {
        if (id === target.id) outcome = said
      }
      const throttle = async (key: string) => {
        throttled.push(key)
        slots.add(key)
        return { [Symbol.dispose]: () => void slots.delete(key) }
      }
      await agent.send(
        queued,
        [target],
        route,
        Object.assign(Object.create(call), {
          log,
          now: call.now,
          report,
          throttle,
          onAbort: (fn: (reason: Error) => void) => aborter.onAbort(fn),
        }),
      )
      return outcome
    }
    return 'unrouted'
  }
}

function arrivalOf(who: Given, hostname: string): Arrival {
  const role = who.role ?? 'mx'
  return {
    protocol: role === 'lmtp' ? 'lmtp' : role === 'internal' ? 'internal' : 'smtp',
    listener: { name: role, role },
    local: { ip: '127.0.0.1', port: 25, hostname },
    client: { ip: who.ip ?? '192.0.2.1', port: 50_000, via: 'direct', trusted: false },
    pendingInput: () => who.pendingInput ?? false,
  }
}

function reversePath(from: string): Mailbox | null {
  return from === '' ? null : mailbox(from)
}

function mailbox(text: string): Mailbox {
  const found = parsePath(`<${text}>`, { smtputf8: true, as: 'recipient' })
  if (isMalformed(found) || found.mailbox === null) throw new Error(`${text} is not an address`)
  return found.mailbox
}

function recordingLog(lines: { level: string; fields: object; message?: string }[]): Log {
  const at = (level: string) => (fields: object, message?: string) => {
    lines.push({ level, fields, ...(message === undefined ? {} : { message }) })
  }
  return { ...silentLog, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
