// The lanes: what each destination is doing, and why it is not doing more.
import type { LaneState } from '@posthorn/core/runtime'
import { exit } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { type Where, withServer } from '../remote.ts'
import { span, table } from '../table.ts'

type Options = Common & Where

export async function queueLanes(io: Io, options: Options): Promise<number> {
  const lanes = await withServer(io, options, client => client.call<LaneState[]>('queue.lanes'))
  if (options.json) {
    io.out(JSON.stringify(lanes))
    return exit.ok
  }
  const now = Date.now()
  const rows = lanes.map(l => [
    l.lane,
    l.state,
    l.until === undefined ? '' : span(l.until - now),
    l.sending,
    l.recipients,
    l.concurrency === undefined ? l.slots : `${l.slots}/${l.concurrency}`,
    l.failures,
    l.reason ?? '',
  ])
  const head = ['lane', 'state', 'for', 'sending', 'queued', 'slots', 'failures', 'reason']
  if (lanes.length === 0) io.out('No lane has anything to do.')
  else for (const line of table([head, ...rows])) io.out(line)
  return exit.ok
}

export async function queuePause(io: Io, options: Options & { reason?: string }, lane: string): Promise<number> {
  const { reason } = options
  await withServer(io, options, client =>
    client.call('lane.pause', { lane, ...(reason === undefined ? {} : { reason }) }),
  )
  return done(io, options, lane, 'paused')
}

export async function queueResume(io: Io, options: Options, lane: string): Promise<number> {
  await withServer(io, options, client => client.call('lane.resume', { lane }))
  return done(io, options, lane, 'resumed')
}

function done(io: Io, { json }: Options, lane: string, state: string): number {
  io.out(json ? JSON.stringify({ lane, state }) : `${lane}: ${state}`)
  return exit.ok
}
