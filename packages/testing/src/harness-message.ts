// One message in the harness: fed to the pipeline as a listener would, and looked at afterwards.
import type { Blobs, Json, Queued } from '@posthorn/core'
import {
  type Accepted,
  type AcceptedVariant,
  type SessionCore,
  storedMessage,
  type TraceEntry,
} from '@posthorn/core/runtime'
import type { Reply } from '@posthorn/mail'

/** What became of a message. */
export interface Result {
  /** What the client was told: one reply, or in LMTP one for each accepted RCPT. */
  readonly replies: readonly Reply[]
  /** The refusal, where there was one reply and it was one. */
  readonly refused: Reply | undefined
  /** What we write before the received header, of the first variant. */
  readonly head: string
  /** Reasons to junk or hold it, of the first variant. */
  readonly junk: string | undefined
  readonly hold: string | undefined
  readonly variants: readonly AcceptedVariant[]
  /** The whole of a variant as it would be delivered, the first by default; `text` reads it as UTF-8. */
  bytes(variant?: number): Promise<Buffer>
  text(variant?: number): Promise<string>
  readonly state: Readonly<Record<string, Json>>
  readonly trace: readonly TraceEntry[]
}

/** A committed variant as delivery sees it. */
export function queuedOf(message: Accepted, variant: AcceptedVariant, blobs: Blobs): Queued {
  const { body } = message
  const { bytes } = body
  return storedMessage(
    { ...message, ...variant, bodySize: body.size, ...(body.content && { content: body.content }) },
    {
      header: body.header,
      open: range => blobs.open(body.ref, range),
      ...(bytes === undefined ? {} : { bytes }),
    },
  )
}

/** The body, chunk by chunk; the replies at the dot, or the one that refused it. */
export async function feed(
  session: SessionCore,
  eml: string | Uint8Array | readonly Uint8Array[],
): Promise<readonly Reply[]> {
  const sink = await session.data('data')
  if ('code' in sink) return [sink]
  const chunks = typeof eml === 'string' ? [Buffer.from(eml)] : eml instanceof Uint8Array ? [eml] : eml
  for (const chunk of chunks) {
    // Lent for the call, as a socket's octets are: what was not copied is spoiled while taps still look at it.
    const lent = Buffer.from(chunk)
    const written = sink.write(lent)
    lent.fill(0x58)
    await written
  }
  const reply = await sink.end()
  return Array.isArray(reply) ? reply : [reply as Reply]
}

/** What tests look at. */
export function result(
  replies: readonly Reply[],
  messages: readonly Accepted[],
  trace: readonly TraceEntry[],
  blobs: Blobs,
): Result {
  const [message] = messages
  const variants = message?.variants ?? []
  const [first] = variants
  const [reply] = replies
  const bytes = async (variant = 0) => {
    const own = variants[variant]
    const chunks: Uint8Array[] = []
    if (message !== undefined && own !== undefined) {
      for await (const chunk of queuedOf(message, own, blobs).open()) chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  }
  return {
    replies,
    refused: replies.length === 1 && reply !== undefined && reply.code >= 400 ? reply : undefined,
    head: first === undefined ? '' : Buffer.from(first.head).toString(),
    junk: first?.junk,
    hold: first?.hold,
    variants,
    state: message?.state ?? {},
    trace,
    bytes,
    text: async variant => (await bytes(variant)).toString(),
  }
}
