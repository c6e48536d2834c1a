import { formatSize, type Status } from '@posthorn/core/control'
import { exit } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { type Where, withServer } from '../remote.ts'
import { printable, span, table } from '../table.ts'

export async function status(io: Io, options: Common & Where): Promise<number> {
  const now = await withServer(io, options, client => client.call<Status>('status'))
  if (options.json) io.out(JSON.stringify(now))
  else for (const line of lines(now, Date.now())) io.out(line)
  return exit.ok
}

function lines(now: Status, time: number): string[] {
  const { queue } = now
  const { due, deferred, held, unrouted } = queue.recipients
  const oldest = queue.oldest === undefined ? '' : `, oldest ${span(time - queue.oldest)}`
  const reloaded = now.reloaded === undefined ? '' : `, reloaded ${span(time - now.reloaded)} ago`
  return [
    ...table([
      ['server', `${now.hostname}, posthorn ${now.version}, node ${now.node}, pid ${now.pid}`],
      ['running', `${span(time - now.started)}, configuration ${now.generation}${reloaded}`],
      ['config', now.file ?? '(built in)'],
      ['data', now.data],
      ['memory', `${formatSize(now.memory.rss)}, heap ${formatSize(now.memory.heap)}`],
      [
        'queue',
        `${queue.messages} messages${oldest}: ${due} due, ${deferred} deferred, ${held} held, ${unrouted} without route`,
      ],
    ]),
    '',
    ...table([
      ['listener', 'role', 'tls', 'connections', 'address'],
      ...now.listeners.map(l => [l.name, l.role, l.tls, l.connections, l.addresses.join(' ')]),
    ]),
    '',
    ...table([
      ['plugin', 'from'],
      ...now.plugins.map(p => [p.name === p.use ? p.name : `${p.name} (${p.use})`, p.from]),
    ]),
    ...(Object.keys(now.counts).length > 0 ? ['', ...table(Object.entries(now.counts))] : []),
    ...now.alarms.map(alarm => `ALARM  ${printable(alarm)}`),
  ]
}
