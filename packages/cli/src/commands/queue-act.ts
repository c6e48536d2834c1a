// What an operator does to queued mail: to one message by its id, or to all that match a filter.
import type { QueueAction, QueueApplied, QueueProgress } from '@posthorn/core/runtime'
import { exit, usageError } from '../failure.ts'
import type { Io } from '../io.ts'
import { withServer } from '../remote.ts'
import { messageId } from './explain.ts'
import { filterOf, type ListOptions } from './queue.ts'

export interface ActOptions extends Omit<ListOptions, 'limit'> {
  readonly reason?: string
  readonly to?: string
  readonly all?: boolean
}

const past = {
  retry: 'due now',
  hold: 'held',
  release: 'released',
  bounce: 'bounced',
  delete: 'deleted',
  reroute: 'routed anew',
} as const

/** The action of a command: `queue hold <id> --reason …`. */
export const queueAct =
  (kind: keyof typeof past) =>
  async (io: Io, options: ActOptions, id?: string): Promise<number> => {
    const action = actionOf(kind, options)
    const target = id === undefined ? { filter: chosen(options) } : { id: messageId(id) }
    const applied = await withServer(io, options, client =>
      client.call<QueueApplied>('queue.apply', { action, ...target }, event => {
        if (!options.json) io.err(progressOf(event as QueueProgress))
      }),
    )
    if (options.json) io.out(JSON.stringify(applied))
    else io.out(`${past[kind]}: ${applied.recipients} recipients of ${applied.messages} messages`)
    return exit.ok
  }

const progressOf = ({ recipients, seen, of }: QueueProgress): string =>
  `… ${recipients} recipients; ${of === undefined ? seen : `${seen} of ${of}`} looked at`

/** A filter must be said: a bare `queue delete` would empty the queue. */
function chosen(options: ActOptions) {
  const { limit: _, ...filter } = filterOf({ ...options, limit: '1' })
  if (Object.keys(filter).length === 0 && options.all !== true) {
    throw usageError(
      'which messages?',
      'Give an id, a filter (--lane, --sender, --recipient, --state, --older), or --all.',
    )
  }
  return filter
}

function actionOf(kind: keyof typeof past, { reason, to }: ActOptions): QueueAction {
  if (kind === 'reroute') return { kind, ...(to === undefined ? {} : { to: pinOf(to) }) }
  if (kind === 'hold' || kind === 'bounce') return { kind, ...(reason === undefined ? {} : { reason }) }
  return { kind }
}

/** `relay-2`, or one lane of it: `relay-2/mx.example.org:25`. */
function pinOf(to: string) {
  const slash = to.indexOf('/')
  return slash < 0 ? { plugin: to } : { plugin: to.slice(0, slash), lane: to.slice(slash + 1) }
}
