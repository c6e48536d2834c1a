// What the running server answers on its control socket: status, reload, the queue, traces.
import * as z from 'zod'
import { formatListen } from '../config/listeners.ts'
import type { DnsFound, FollowEnd, QueueFilter, Reloaded, Status, Trace } from '../control/contract.ts'
import type { ControlMethod } from '../control/server.ts'
import { dnsFacts } from '../dns/facts.ts'
import { presentRecord } from '../dns/present.ts'
import { PosthornError } from '../errors.ts'
import type { TraceEntry } from '../queue/contract.ts'
import type { QueueAction } from '../queue/operations.ts'
import { Maintenance } from '../storage/maintenance.ts'
import type { Posthorn } from './posthorn.ts'

const id = z.object({ id: z.string().min(1).max(64) })
const filter = z.strictObject({
  lane: z.string().optional(),
  state: z.enum(['due', 'sending', 'deferred', 'held']).optional(),
  sender: z.string().optional(),
  recipient: z.string().optional(),
  olderThan: z.number().nonnegative().optional(),
  limit: z.int().positive().optional(),
})
const action = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('retry') }),
  z.strictObject({ kind: z.literal('hold'), reason: z.string().optional() }),
  z.strictObject({ kind: z.literal('release') }),
  z.strictObject({ kind: z.literal('bounce'), reason: z.string().optional() }),
  z.strictObject({ kind: z.literal('delete') }),
  z.strictObject({ kind: z.literal('reroute'), to: z.object({ plugin: z.string() }).loose().optional() }),
])
const apply = z.strictObject({ action, id: z.string().optional(), filter: filter.optional() })
const backup = z.strictObject({ target: z.string().startsWith('/') })
const domains = z.strictObject({ domains: z.array(z.string().max(255)).max(1_000).optional() })
const question = z.strictObject({
  name: z.string().max(255),
  type: z.enum(['A', 'AAAA', 'MX', 'TXT', 'PTR', 'CNAME', 'NS', 'SOA', 'SRV', 'TLSA', 'CAA']),
})
const lane = z.strictObject({ lane: z.string().min(1), reason: z.string().default('by an operator') })

/** How often a follower looks whether the message is still under way. */
const followEvery = 100

/** The methods of the control socket, over a server that may still be starting. */
export function controlMethods(server: Posthorn): Readonly<Record<string, ControlMethod>> {
  return {
    status: () => status(server),
    async reload(): Promise<Reloaded> {
      const { generation, warnings } = await server.reload()
      return { generation: generation.number, warnings }
    },
    'queue.list': params => server.queue.operations.list(read(filter, params ?? {}) as QueueFilter),
    'queue.show': params => server.queue.operations.show(read(id, params).id),
    'queue.lanes': async () => server.queue.operations.lanes(),
    async 'queue.apply'(params, emit) {
      const asked = read(apply, params)
      const { operations } = server.queue
      if (asked.id !== undefined) return operations.apply(asked.action as QueueAction, asked.id)
      if (asked.filter === undefined) throw badParams('neither an id nor a filter')
      return operations.applyAll(asked.action as QueueAction, asked.filter as QueueFilter, emit)
    },
    async 'lane.pause'(params) {
      const { lane: name, reason } = read(lane, params)
      await server.queue.operations.pauseLane(name, reason)
    },
    async 'lane.resume'(params) {
      await server.queue.operations.resumeLane(read(lane, params).lane)
    },
    async backup(params, emit) {
      const { target } = read(backup, params)
      const maintenance = server.generation.get(Maintenance)
      if (maintenance !== undefined) return maintenance.backup(target, emit)
      throw new PosthornError('POSTHORN_NO_BACKUP', 'the store of this server has no backup of its own', {
        fix: 'Use what the store comes with.',
      })
    },
    async explain(params): Promise<Trace> {
      const { id: asked } = read(id, params)
      const entries = await server.traces.read(asked)
      if (entries.length > 0) return { id: asked, entries }
      throw new PosthornError('POSTHORN_TRACE_UNKNOWN', `no trace of ${asked}`, {
        fix: 'Traces are kept as long as `trace.keep` says; ids stand in the log and in the reply to the message.',
      })
    },
    async dns(params) {
      const { generation, advice } = server
      const names = generation.plugins.map(({ name }) => name)
      return dnsFacts(generation.config, advice.of(names), read(domains, params ?? {}).domains)
    },
    async 'dns.resolve'(params, _emit, signal): Promise<DnsFound> {
      const { name, type } = read(question, params)
      const { records, ...answer } = await server.dns.resolve(name, type, signal)
      return { ...answer, records: records.map(record => presentRecord(type, record)) }
    },
    follow: (params, emit, signal) => follow(server, read(id, params).id, emit, signal),
  }
}

function read<T>(schema: z.ZodType<T>, params: unknown): T {
  const result = schema.safeParse(params)
  if (result.success) return result.data
  throw badParams(z.prettifyError(result.error))
}

const badParams = (what: string) => new PosthornError('POSTHORN_CONTROL_PARAMS', `bad parameters: ${what}`)

async function status(server: Posthorn): Promise<Status> {
  const { generation, queue, listeners, facts } = server
  const { config } = generation
  const totals = await queue.operations.totals()
  const { rss, heapUsed } = process.memoryUsage()
  const bound = listeners.addresses()
  const alarms: string[] = []
  const { unrouted, held } = totals.recipients
  if (unrouted > 0) alarms.push(`${unrouted} recipients wait without a route: add a plugin that delivers to them`)
  if (held > 0) alarms.push(`${held} recipients are held: see \`posthorn queue list --state held\``)
  if (queue.stats.blocked) alarms.push('the store cannot be written: see the log')
  return {
    version: facts.version,
    pid: process.pid,
    node: process.version,
    hostname: config.hostname,
    started: facts.started,
    ...(facts.file === undefined ? {} : { file: facts.file }),
    data: config.data,
    generation: generation.number,
    ...(facts.reloaded === undefined ? {} : { reloaded: facts.reloaded }),
    listeners: config.listeners.map(({ name, role, tls }) => ({
      name,
      role,
      tls,
      addresses: bound.filter(one => one.listener === name).map(one => formatListen(one.address)),
      connections: listeners.connectionsOf(name),
    })),
    plugins: generation.plugins,
    queue: totals,
    counts: facts.counts,
    memory: { rss, heap: heapUsed },
    alarms,
  }
}

/** The trace so far, then each new line, until nothing of the message is under way. */
async function follow(
  server: Posthorn,
  message: string,
  emit: (event: TraceEntry) => void,
  signal: AbortSignal,
): Promise<FollowEnd> {
  // What is appended while the store is read would be told twice: it is held back and told after.
  let early: TraceEntry[] | undefined = []
  const stop = server.followers.listen(message, entries => {
    if (early === undefined) for (const entry of entries) emit(entry)
    else early.push(...entries)
  })
  try {
    const known = await server.traces.read(message)
    for (const entry of known) emit(entry)
    for (const entry of early) if (!known.some(k => JSON.stringify(k) === JSON.stringify(entry))) emit(entry)
    early = undefined
    for (;;) {
      const state = await stateOf(server, message)
      if (state !== undefined) return { id: message, state: state === 'gone' && known.length === 0 ? 'unknown' : state }
      if (signal.aborted) return { id: message, state: 'deferred' }
      await new Promise<void>(resolve => server.clock.after(followEvery, resolve))
    }
  } finally {
    stop()
  }
}

/** `undefined`: under way. */
async function stateOf(server: Posthorn, message: string): Promise<FollowEnd['state'] | undefined> {
  try {
    const { recipients } = await server.queue.operations.show(message)
    const open = recipients.filter(r => r.state !== 'done')
    if (open.some(r => r.state === 'sending' || r.state === 'due')) return undefined
    if (open.some(r => r.state === 'deferred')) return 'deferred'
    return open.length > 0 ? 'held' : undefined
  } catch (error) {
    if (error instanceof PosthornError && error.code === 'POSTHORN_QUEUE_UNKNOWN') return 'gone'
    throw error
  }
}
