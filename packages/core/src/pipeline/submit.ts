// The other door: what we make ourselves goes the same way as what came over a wire, as role `internal`.
import { scanHeader } from '@posthorn/mail'
import { PosthornError } from '../errors.ts'
import { StorageError } from '../storage/contract.ts'
import type { Arrival, BodySink } from './contract.ts'
import type { PipelineParts } from './pipeline.ts'
import { SessionCore } from './session.ts'
import type { Submission } from './submission.ts'

/** `hostname`: what we call ourselves in the Received field. */
export function createSubmission(parts: PipelineParts, hostname: () => string): Submission {
  /** Ids being submitted: two at once of the same id are one. */
  const underWay = new Map<string, Promise<'queued' | 'held' | 'exists'>>()
  const submit: Submission['submit'] = async (draft, options = {}) => {
    if (await parts.queue.knows(draft.id)) return 'exists'
    const arrival: Arrival = {
      protocol: 'internal',
      listener: { name: 'internal', role: 'internal' },
      local: { ip: '127.0.0.1', port: 0, hostname: hostname() },
      pendingInput: () => false,
    }
    const { id, cause } = draft
    const session = new SessionCore(parts, arrival, {
      id,
      ...(cause === undefined ? {} : { cause }),
      ...(options.with === undefined ? {} : { with: options.with }),
    })
    try {
      await session.mail(draft.from, {
        smtputf8: draft.smtputf8 ?? false,
        requireTls: false,
        ...(draft.eightBit ? { body: '8bitmime' as const } : {}),
        other: {},
      })
      const { tx } = session
      if (tx === undefined) throw refused(id)
      for (const to of draft.to) await session.rcpt(to, draft.dsn ?? { other: {} })
      const sink = await session.data('data')
      if (!('write' in sink)) throw refused(id, sink.lines[0])
      await pour(draft.body, sink)
      const reply = await sink.end()
      const [only] = Array.isArray(reply) ? reply : [reply]
      if (only?.code === 452) throw new StorageError('failed', only.lines[0] ?? 'not committed')
      if (only?.code !== 250) throw refused(id, only?.lines[0])
      return tx.edits.some(e => e.change.kind === 'hold') ? 'held' : 'queued'
    } finally {
      session.close()
    }
  }
  return {
    submit(draft, options) {
      const known = underWay.get(draft.id)
      if (known !== undefined) return known.then(() => 'exists')
      const work = submit(draft, options).finally(() => underWay.delete(draft.id))
      underWay.set(draft.id, work)
      return work
    },
  }
}

/** The first write of a sink holds the whole header, however the caller cut its chunks. */
async function pour(body: AsyncIterable<Uint8Array>, sink: BodySink): Promise<void> {
  let head: Uint8Array[] | undefined = []
  for await (const chunk of body) {
    if (head === undefined) {
      await sink.write(chunk)
      continue
    }
    head.push(chunk)
    const joined = Buffer.concat(head)
    const header = scanHeader(joined)
    if (header.body === header.end && header.end === joined.length) continue
    head = undefined
    await sink.write(joined)
  }
  if (head !== undefined) await sink.write(Buffer.concat(head))
}

function refused(id: string, text = 'refused'): PosthornError {
  return new PosthornError('POSTHORN_SUBMISSION_REFUSED', `submission ${id} was not committed: ${text}`)
}
