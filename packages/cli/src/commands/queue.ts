import {
  formatSize,
  parseDuration,
  type QueueFilter,
  type QueueListing,
  type QueueMessage,
} from '@posthorn/core/control'
import { exit, usageError } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { type Where, withServer } from '../remote.ts'
import { printable, span, table, when } from '../table.ts'
import { messageId } from './explain.ts'

export interface ListOptions extends Common, Where {
  readonly lane?: string
  readonly state?: string
  readonly sender?: string
  readonly recipient?: string
  readonly older?: string
  readonly limit: string
}

const states = ['due', 'sending', 'deferred', 'held'] as const

export async function queueList(io: Io, options: ListOptions): Promise<number> {
  const filter = filterOf(options)
  const listing = await withServer(io, options, client => client.call<QueueListing>('queue.list', filter))
  if (options.json) {
    io.out(JSON.stringify(listing))
    return exit.ok
  }
  const now = Date.now()
  if (listing.messages.length > 0) {
    const rows = listing.messages.map(m => [
      m.id,
      span(now - m.received),
      formatSize(m.size),
      m.state + (m.next !== undefined && m.state === 'deferred' ? ` ${span(m.next - now)}` : ''),
      m.lane,
      m.recipients,
      m.from === '' ? '<>' : m.from,
      m.reason ?? '',
    ])
    for (const line of table([['id', 'age', 'size', 'state', 'lane', 'rcpts', 'from', 'last reply'], ...rows]))
      io.out(line)
  }
  const { messages, recipients } = listing.totals
  const total = `${messages} queued: ${recipients.due} recipients due, ${recipients.deferred} deferred, ${recipients.held} held, ${recipients.unrouted} without route`
  io.out(listing.more ? `… and more. ${total}` : messages === 0 ? 'The queue is empty.' : total)
  return exit.ok
}

/** The filter of `queue list` and its like, from the options of a command. */
export function filterOf({ lane, state, sender, recipient, older, limit }: ListOptions): QueueFilter {
  const count = Number(limit)
  if (!Number.isInteger(count) || count < 1 || count > 100_000)
    throw usageError('--limit wants a number from 1 to 100000')
  const known = states.find(name => name === state)
  if (state !== undefined && known === undefined) throw usageError(`--state wants one of ${states.join(', ')}`)
  const olderThan = older === undefined ? undefined : parseDuration(older)
  if (older !== undefined && olderThan === undefined) throw usageError('--older wants a duration: 30m, 2h')
  return {
    limit: count,
    ...(lane === undefined ? {} : { lane }),
    ...(known === undefined ? {} : { state: known }),
    ...(sender === undefined ? {} : { sender }),
    ...(recipient === undefined ? {} : { recipient }),
    ...(olderThan === undefined ? {} : { olderThan }),
  }
}

export async function queueShow(io: Io, options: Common & Where, id: string): Promise<number> {
  const params = { id: messageId(id) }
  const message = await withServer(io, options, client => client.call<QueueMessage>('queue.show', params))
  if (options.json) io.out(JSON.stringify(message))
  else for (const line of show(message, Date.now())) io.out(line)
  return exit.ok
}

function show(m: QueueMessage, now: number): string[] {
  const facts: [string, string][] = [
    ['id', m.id],
    ['received', `${when(m.received)} (${span(now - m.received)} ago)`],
    ['from', m.from === '' ? '<>' : m.from],
    ['size', formatSize(m.size)],
  ]
  for (const name of ['client', 'user', 'envid', 'cause', 'junk', 'hold'] as const) {
    const value = m[name]
    if (value !== undefined) facts.push([name, value])
  }
  const lines = table(facts)
  for (const r of m.recipients) {
    const next = r.next === undefined ? '' : `, next in ${span(r.next - now)}`
    const original = r.original === undefined ? '' : ` (was ${r.original})`
    lines.push('', printable(`${r.address}${original}: ${r.state}${next}, by ${r.lane}`))
    lines.push(
      ...table(
        r.attempts.map(a => [when(a.at), a.remote ?? '', a.result]),
        '  ',
      ),
    )
  }
  if (m.header !== undefined) lines.push('', ...m.header.split(/\r?\n/).map(printable))
  return lines
}
