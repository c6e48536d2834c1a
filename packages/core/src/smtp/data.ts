// DATA and BDAT: how a body begins, where it goes, and the reply or replies at its end.
import type { Reply } from '@posthorn/mail'
import { andThen } from '../awaitable.ts'
import { PosthornError } from '../errors.ts'
import type { BodySink } from '../pipeline/contract.ts'
import type { Awaitable } from '../transaction.ts'
import { type BodyDecoder, type BodyMode, ChunkDecoder, DotDecoder } from './body.ts'
import type { Connection, OpenTransaction, Receiving } from './connection.ts'
import { cutOff, Incoming } from './incoming.ts'
import * as replies from './replies.ts'

const isReply = (answer: BodySink | Reply): answer is Reply => 'code' in answer

function newIncoming(connection: Connection, sink: BodySink): Incoming {
  const { listener, shared } = connection.front
  return new Incoming(sink, { limits: listener.limits, memory: shared.bodyMemory, inflight: shared.inflight })
}

/** Octets to an incoming message; a client far beyond every limit is cut off. */
function receive(connection: Connection, incoming: Incoming, decoder: BodyDecoder, end: Receiving['end']): Receiving {
  return {
    incoming,
    take(octets) {
      const taken = incoming.write(octets, decoder.fault)
      if (incoming.hopeless) connection.reply(replies.farTooLarge)
      return taken
    },
    end,
  }
}

export function data(connection: Connection, argument: string): Awaitable<Reply> {
  if (argument !== '') return replies.noArgument
  const { transaction } = connection
  if (transaction === undefined) return replies.mailFirst
  // RFC 3030 §2, §3
  if (transaction.chunks !== undefined) return replies.mixedData
  if (transaction.params.body === 'binarymime') return replies.binaryNeedsBdat
  // RFC 2033 §4.2, RFC 2920 §3.1: a client that pipelines sends DATA after recipients that were all refused.
  if (transaction.accepted === 0) return replies.noRecipients
  return andThen(connection.pipeline.data('data'), sink => {
    if (isReply(sink)) {
      connection.resetTransaction()
      return sink
    }
    const incoming = newIncoming(connection, sink)
    if (connection.closing) {
      incoming.refuse(undefined)
      return replies.goAhead
    }
    const decoder = new DotDecoder(connection.front.listener.bareNewlines)
    connection.receiving = receive(connection, incoming, decoder, () => incoming.end(decoder.fault))
    connection.stream?.receive(decoder)
    return replies.goAhead
  })
}

/** The last octets are in: ask for the reply, give it, and close the transaction where it is over. */
export function bodyReceived(connection: Connection, receiving: Receiving, taken: Awaitable<void>): Awaitable<void> {
  return andThen(taken, () =>
    andThen(receiving.end(), answer => {
      connection.receiving = undefined
      if (answer !== undefined) finish(connection, answer, receiving.incoming !== undefined)
    }),
  )
}

/** The replies at the end of a message; `wanted`: it belonged to a transaction, which is over now. */
function finish(connection: Connection, answer: Reply | readonly Reply[], wanted: boolean): void {
  if (connection.closing) return
  const { transaction } = connection
  if (!wanted || transaction === undefined) {
    for (const reply of many(answer)) connection.reply(reply)
    return
  }
  const all = perRecipient(connection, transaction, answer)
  for (const reply of all) {
    connection.reply(reply)
    if (connection.closing) return
  }
  if (all.some(reply => reply.code < 400)) connection.delivered()
  connection.transaction = undefined
}

const many = (answer: Reply | readonly Reply[]): readonly Reply[] => ('code' in answer ? [answer] : answer)

/** RFC 2033 §4.2: in LMTP a reply for each accepted RCPT, in their order. */
function perRecipient(
  connection: Connection,
  { accepted }: OpenTransaction,
  answer: Reply | readonly Reply[],
): readonly Reply[] {
  if ('code' in answer) return connection.lmtp ? new Array<Reply>(accepted).fill(answer) : [answer]
  if (answer.length === (connection.lmtp ? accepted : 1)) return answer
  throw new PosthornError('POSTHORN_SMTP_REPLIES', `${answer.length} replies for ${accepted} recipients at the dot`, {
    fix: 'This is a fault in Posthorn: please report it.',
  })
}

export function bdat(connection: Connection, argument: string): Awaitable<Reply | undefined> {
  const found = /^(\d{1,15})(?: +(LAST))?$/i.exec(argument)
  // How many octets follow is not known, so what they are cannot be known either: go.
  if (found === null) return { ...replies.syntax('BDAT size [LAST]'), close: true }
  const size = Number(found[1])
  const last = found[2] !== undefined
  const { transaction } = connection
  if (transaction === undefined) return swallow(connection, size, replies.mailFirst)
  if (transaction.accepted === 0) return swallow(connection, size, replies.noRecipients)
  const { chunks } = transaction
  if (chunks !== undefined) return chunk(connection, chunks, size, last)
  return andThen(connection.pipeline.data('bdat'), sink => {
    if (isReply(sink)) {
      connection.resetTransaction()
      return swallow(connection, size, sink)
    }
    const mode: BodyMode = transaction.params.body === 'binarymime' ? 'binary' : connection.front.listener.bareNewlines
    const started = { decoder: new ChunkDecoder(mode), incoming: newIncoming(connection, sink) }
    if (connection.closing) {
      started.incoming.refuse(undefined)
      return undefined
    }
    transaction.chunks = started
    return chunk(connection, started, size, last)
  })
}

/** RFC 3030 §2: the octets come whether we want them or not, also those of chunks already in the pipeline. */
function swallow(connection: Connection, size: number, reply: Reply): Reply | undefined {
  if (size > cutOff(connection.front.listener.limits)) return replies.farTooLarge
  if (size === 0) return reply
  const decoder = new ChunkDecoder('binary')
  decoder.begin(size)
  connection.receiving = { take() {}, end: () => reply }
  connection.stream?.receive(decoder)
  return undefined
}

function chunk(
  connection: Connection,
  { decoder, incoming }: NonNullable<OpenTransaction['chunks']>,
  size: number,
  last: boolean,
): Awaitable<Reply | undefined> {
  if (incoming.size + size > cutOff(connection.front.listener.limits)) return replies.farTooLarge
  decoder.begin(size)
  const receiving = receive(connection, incoming, decoder, () => {
    if (last) return lastChunk(decoder, incoming)
    if (incoming.refusal === undefined) {
      connection.reply(replies.chunkTaken(size))
      return undefined
    }
    // The transaction has failed with this chunk; those behind it find none and get 503.
    connection.transaction = undefined
    return incoming.refusal
  })
  connection.receiving = receiving
  if (size > 0) {
    connection.stream?.receive(decoder)
    return undefined
  }
  return andThen(bodyReceived(connection, receiving, undefined), () => undefined)
}

function lastChunk(decoder: ChunkDecoder, incoming: Incoming): Awaitable<Reply | readonly Reply[]> {
  const rest = decoder.finish()
  const written = rest.length === 0 ? undefined : incoming.write(rest, decoder.fault)
  return andThen(written, () => incoming.end(decoder.fault))
}
