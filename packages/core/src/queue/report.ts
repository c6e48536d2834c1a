// The text of one report: which recipients it tells of, and what of the original it returns (RFC 3461 §6, RFC 3464).
import { type FormattedReport, formatReport, type Mailbox, type ReportedRecipient } from '@posthorn/mail'
import type { Queued } from '../delivery.ts'
import type { MessageRecord, RecipientRecord } from './records.ts'

/** Recipients named in one report; the rest are counted. */
export const maxReported = 100
/** A message larger than this is returned as its header only. */
const maxReturned = 50 * 1024

/** What is told of one recipient. `willRetryUntil` makes it a delay. */
export interface Told {
  readonly recipient: RecipientRecord
  readonly willRetryUntil?: number
}

export interface ReportDraft {
  readonly id: string
  readonly hostname: string
  readonly now: number
  readonly record: MessageRecord
  readonly variant: number
  readonly message: Queued
  readonly to: Mailbox
  readonly told: readonly Told[]
  /** Recipients beyond those in `told`. */
  readonly more: number
}

export async function writeReport(draft: ReportDraft): Promise<FormattedReport> {
  const { record, message, told } = draft
  const { params, origin } = record
  const failed = told.some(
    ({ recipient, willRetryUntil }) => willRetryUntil === undefined && recipient.action === 'failed',
  )
  // RFC 3461 §4.3: RET=FULL returns the message with failures only. RFC 8689 §5: with REQUIRETLS never.
  const full = failed && params.ret === 'full' && !params.requireTls && message.size <= maxReturned
  let end = record.body.headerSize
  const variant = record.variants[draft.variant]
  if (variant !== undefined) {
    end += variant.head.length
    for (const [start, stop] of variant.skip) end -= stop - start
  }
  const bytes = await collect(message.open(full ? undefined : { start: 0, end }))
  const client = origin.helo?.name ?? origin.client?.name
  return formatReport({
    id: draft.id,
    reportingMta: draft.hostname,
    to: draft.to,
    date: draft.now,
    arrival: record.received,
    ...(client !== undefined && { receivedFrom: client }),
    ...(origin.client !== undefined && { receivedFromIp: origin.client.ip }),
    ...(params.envid !== undefined && { envid: params.envid }),
    recipients: told.slice(0, maxReported).map(one => reported(one, record)),
    more: draft.more + Math.max(0, told.length - maxReported),
    original: { bytes, what: full ? 'full' : 'headers' },
    smtputf8: params.smtputf8,
  })
}

function reported({ recipient, willRetryUntil }: Told, record: MessageRecord): ReportedRecipient {
  const last = recipient.attempts.at(-1)
  const common = {
    address: recipient.original ?? recipient.to,
    ...(recipient.orcpt !== undefined && { orcpt: recipient.orcpt }),
    ...(last?.remote !== undefined && { remote: last.remote }),
    ...(last?.remote === undefined && last?.text !== undefined && { diagnostic: last.text }),
    ...(last !== undefined && { lastAttempt: last.at }),
    logId: record.id,
  }
  if (willRetryUntil !== undefined) {
    return { ...common, action: 'delayed', status: last?.enhanced ?? '4.0.0', willRetryUntil }
  }
  const { dsnText } = recipient
  const action = recipient.action ?? 'failed'
  const status = action === 'failed' ? failedStatus(recipient) : '2.0.0'
  return { ...common, action, status, ...(dsnText !== undefined && { text: dsnText }) }
}

/** RFC 3463 §3.5: what was deferred until its time was over failed by X.4.7, or by X.4.4 where it never had a route. */
function failedStatus(recipient: RecipientRecord): string {
  const last = recipient.attempts.at(-1)
  if (last?.kind !== 'defer') return last?.enhanced ?? '5.0.0'
  return last.enhanced === '4.4.4' ? '5.4.4' : '5.4.7'
}

async function collect(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk.slice())
  return Buffer.concat(chunks)
}
