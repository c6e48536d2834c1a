// One SMTP or LMTP connection: what is said when, in which order, and how it ends. smtp-server's SMTPConnection gives
// the life of the socket and the change to TLS; commands, replies, timeouts and bodies are ours.
import { isAscii, isUtf8 } from 'node:buffer'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { formatReply, type MailParams, type Reply } from '@posthorn/mail'
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js'
import type { SMTPStream } from 'smtp-server/lib/smtp-stream.js'
import { isPending } from '../awaitable.ts'
import type { Arrival, PipelineSession } from '../pipeline/contract.ts'
import type { Awaitable } from '../transaction.ts'
import type { ChunkDecoder } from './body.ts'
import { commands, idleCommands } from './commands.ts'
import { bodyReceived } from './data.ts'
import { flushAtEndOfTurn } from './end-of-turn.ts'
import type { Front } from './front.ts'
import type { Incoming } from './incoming.ts'
import { lendReads } from './reading.ts'
import * as replies from './replies.ts'
import { type LineFault, SmtpStream, type Wire } from './stream.ts'
import { describeTls } from './tls.ts'
import { Watch } from './watch.ts'

/** A mail transaction as the front sees it: enough to keep the order of commands. */
export interface OpenTransaction {
  readonly params: MailParams
  /** Recipients accepted, repeats included: LMTP owes a reply to each (RFC 2033 §4.2). */
  accepted: number
  /** Where a BDAT sequence stands. */
  chunks?: { readonly decoder: ChunkDecoder; readonly incoming: Incoming }
}

/** What the octets being received belong to, and who answers at their end. */
export interface Receiving {
  /** Absent: octets that nobody wants, as after a BDAT out of sequence. */
  readonly incoming?: Incoming
  take(octets: Buffer): Awaitable<void>
  end(): Awaitable<Reply | readonly Reply[] | undefined>
}

/** Characters of replies that wait for the end of a tick. */
const maxQueued = 16_384

const HTTP = /^(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|TRACE|CONNECT|PATCH) .* HTTP\/\d(?:\.\d)?$/i

export class Connection extends SMTPConnection implements Wire {
  readonly front: Front
  pipeline: PipelineSession
  arrival: Arrival
  readonly watch: Watch
  hello: 'HELO' | 'EHLO' | 'LHLO' | undefined
  user: string | undefined
  transaction: OpenTransaction | undefined
  receiving: Receiving | undefined
  /** Takes the next line instead of a command: an AUTH exchange. */
  continuation: ((line: string) => Awaitable<Reply | undefined>) | undefined
  /** Refused at connect: only QUIT is left (RFC 5321 §3.1). */
  refused = false
  authFailures = 0
  messages = 0
  #errors = 0
  #idleCommands = 0
  #out = ''
  /** The TLS socket over `_socket` while a handshake is under way. */
  #handshaking: Socket | undefined
  #connecting = true
  #ended = false
  readonly #leave: () => void

  /** `leave` is called when it has closed. */
  constructor(
    front: Front,
    socket: Socket | TLSSocket,
    arrival: Omit<Arrival, 'pendingInput' | 'tls'>,
    leave: () => void,
  ) {
    // The id goes to smtp-server's own log, which is off.
    super(front, socket, { id: '-' })
    this.front = front
    this.#leave = leave
    const tls = this.secure ? { tls: describeTls(socket as TLSSocket, front.asksForCertificates) } : {}
    this.arrival = { ...arrival, ...tls, pendingInput: () => this.stream?.pending === true }
    this.pipeline = front.shared.pipeline.open(this.arrival)
    this.watch = new Watch(this)
  }

  /** `undefined` once closed. */
  get stream(): SmtpStream | undefined {
    return (this._parser || undefined) as SmtpStream | undefined
  }

  get lmtp(): boolean {
    return this.front.listener.role === 'lmtp'
  }

  /** Between commands: nothing runs, nothing is owed. */
  get idle(): boolean {
    return !this.#connecting && this.stream?.busy === false && this.receiving === undefined && !this._upgrading
  }

  /** We owe the client something: its clock stands still. */
  get owing(): boolean {
    return this.#connecting || (this.stream?.busy === true && !this.watch.unread)
  }

  get closing(): boolean {
    return this.#ended || this._closing || this._closed
  }

  /** No 100 ms of waiting, no name lookup: who wants that is a plugin. */
  override init(): void {
    if (!this.secure) this.#listen()
    this._setListeners(() => this.#start())
  }

  /** Past `pipe`, which then moves TLS's octets, and those that came before. */
  #listen(): void {
    const { stream, _socket: socket } = this
    if (stream === undefined) return
    // After STARTTLS this stream is closed, and the socket is TLS's: to read it is no business of ours any more.
    if (lendReads(socket, chunk => stream.isClosed || stream.lend(chunk))) {
      stream.on('drain', () => stream.isClosed || socket.resume())
    }
  }

  /** Timeouts are one ticker's for all connections. `upgrade` calls it with the TLS socket, and tells nobody else of it. */
  override _armTimeout(socket?: Socket): void {
    if (!this._upgrading) return
    this.#handshaking = socket
    // Our sockets may be half open; half a handshake is none.
    socket?.once('end', () => {
      if (this._upgrading) this.destroy()
    })
  }

  // Called by smtp-server's constructor, and again when TLS begins: only `_server` is there for sure.
  override _createParser(): SMTPStream {
    const { listener } = this._server as Front
    const stream = new SmtpStream(this, {
      lineLimit: listener.limits.commandLine,
      lenient: listener.bareNewlines === 'normalise',
      hold: this.front === undefined,
    })
    // smtp-server pipes into it, sets `isClosed` and unpipes it, and asks nothing else of it.
    return stream as unknown as SMTPStream
  }

  #start(): void {
    try {
      const answer = this.pipeline.connect()
      if (isPending(answer))
        answer.then(
          refusal => this.#greet(refusal),
          error => this.failed(error),
        )
      else this.#greet(answer)
    } catch (error) {
      this.failed(error)
    }
  }

  #greet(refusal: Reply | undefined): void {
    if (this.closing) return
    this.#connecting = false
    this.reply(refusal ?? this.greeting())
    if (this.closing) return
    this.refused = refusal !== undefined
    this.flush()
    this.stream?.release()
  }

  /** RFC 5321 §4.2: "220 " Domain SP text. No enhanced code (RFC 2034 §3). */
  greeting(): Reply {
    const { hostname, banner } = this.front.listener
    return {
      code: 220,
      lines: [`${hostname} ${this.lmtp ? 'LMTP' : 'ESMTP'}${banner === undefined ? '' : ` ${banner}`}`],
    }
  }

  command(octets: Buffer): Awaitable<void> {
    if (this.closing) return
    const { continuation } = this
    if (continuation !== undefined) {
      this.continuation = undefined
      return this.#answer(continuation(octets.toString('latin1')))
    }
    const stop = this.stopReply()
    if (stop !== undefined) return this.reply(stop)
    if (!isAscii(octets) && !isUtf8(octets)) return this.reply(replies.notUtf8)
    const line = octets.toString('utf8')
    const space = line.indexOf(' ')
    const verb = (space < 0 ? line : line.slice(0, space)).toUpperCase()
    // RFC 5321 §4.1.1: trailing white space is tolerated.
    const argument = space < 0 ? '' : line.slice(space + 1).trimEnd()
    if (this.refused && verb !== 'QUIT') return this.reply(replies.refusedSession)
    const command = commands.get(verb)
    if (command === undefined) return this.reply(HTTP.test(line) ? replies.notHttp : replies.unknownCommand)
    if (idleCommands.has(verb) && ++this.#idleCommands > this.front.listener.limits.idleCommands) {
      return this.reply(replies.tooManyIdleCommands)
    }
    return this.#answer(command(this, argument, verb))
  }

  #answer(answer: Awaitable<Reply | undefined>): Awaitable<void> {
    if (!isPending(answer)) {
      if (answer !== undefined) this.reply(answer)
      return this.#drained()
    }
    return answer.then(reply => {
      if (reply !== undefined && !this.closing) this.reply(reply)
      return this.#drained()
    })
  }

  malformed(fault: LineFault): void {
    if (this.closing) return
    if (this.continuation !== undefined) {
      // RFC 4954 §4: the exchange fails, the session goes on.
      this.endContinuation()
      this.reply(fault === 'too long' ? replies.authTooLong : replies.authMalformed)
    } else this.reply(replies.lineFaults[fault])
  }

  /** The next line is a command again. */
  endContinuation(): void {
    this.continuation = undefined
    if (this.stream !== undefined) this.stream.lineLimit = this.front.listener.limits.commandLine
  }

  body(octets: Buffer, over: boolean): Awaitable<void> {
    const { receiving } = this
    if (receiving === undefined) return
    const taken = octets.length === 0 ? undefined : receiving.take(octets)
    if (!over) return taken
    return bodyReceived(this, receiving, taken)
  }

  paused(): void {
    if (this.#out !== '') flushAtEndOfTurn(this)
    if (this.idle && this.transaction === undefined && this.continuation === undefined) this.#stopIfTold()
  }

  #stopIfTold(): void {
    const stop = this.closing ? undefined : this.stopReply()
    if (stop !== undefined) this.reply(stop)
  }

  /** 421 when this session's time is up: the process stops, or its generation is retired (between commands). */
  stopReply(): Reply | undefined {
    if (this.pipeline.retired || (this.front.shared.draining && this.transaction === undefined)) {
      return replies.shuttingDown
    }
    return undefined
  }

  /** The client has closed its side: what it sent has been answered. */
  ended(): void {
    this.close()
  }

  /** A fault of ours ends this connection, never the process. */
  failed(error: unknown): void {
    this.#logFault(error)
    if (!this.closing) this.reply(replies.fault)
  }

  #logFault(error: unknown): void {
    this.front.shared.log.error({ err: error, session: this.pipeline.session.id }, 'fault in an SMTP session')
  }

  /** Queues a reply; it goes out when nothing more can be done in this tick. 421 and `close` hang up. */
  reply(reply: Reply): void {
    const last = this.#isOneErrorTooMany(reply) ? replies.tooManyErrors : reply
    this.#out += formatReply(last, { utf8: this.transaction?.params.smtputf8 === true })
    if (last.code === 421 || last.close === true) this.close()
    else if (this.#out.length > maxQueued) this.flush()
  }

  /** An LMTP client is a mail server of ours, and owes us nothing for recipients that are over quota. */
  #isOneErrorTooMany({ code, close }: Reply): boolean {
    if (code < 500 || close === true || this.lmtp) return false
    return ++this.#errors >= this.front.listener.limits.errors
  }

  flush(): void {
    const out = this.#out
    // During a handshake `_socket` is the raw one: what is written there would be plain text among TLS records.
    if (out === '' || this._upgrading) return
    this.#out = ''
    if (!this._socket.destroyed && this._socket.writable) this._socket.write(out)
  }

  /** A client that sends commands and does not read replies is not read either. */
  #drained(): Awaitable<void> {
    if (this.#out.length <= maxQueued && !this._socket.writableNeedDrain) return
    this.flush()
    const socket = this._socket
    if (!socket.writableNeedDrain || socket.destroyed) return
    return new Promise(resolve => {
      this.watch.unread = true
      const done = () => {
        this.watch.unread = false
        socket.off('drain', done)
        socket.off('close', done)
        resolve()
      }
      socket.once('drain', done)
      socket.once('close', done)
    })
  }

  /** Mail was taken: what a client may waste is counted anew. */
  delivered(): void {
    this.messages++
    this.#errors = 0
    this.#idleCommands = 0
  }

  /** RSET, EHLO, STARTTLS: the transaction, if any, is over. */
  resetTransaction(): void {
    const { transaction } = this
    this.transaction = undefined
    if (transaction === undefined) return
    transaction.chunks?.incoming.refuse(undefined)
    this.pipeline.reset()
  }

  /** XCLIENT: the session that was is over, one for another client begins. Its gates are asked by the caller. */
  restart(arrival: Arrival): void {
    this.pipeline.close()
    this.arrival = arrival
    this.hello = undefined
    this.user = arrival.auth?.user
    this.authFailures = 0
    this.pipeline = this.front.shared.pipeline.open(arrival)
  }

  override upgrade(callback: (() => void) | (() => boolean), secured?: () => void): void {
    this.flush()
    super.upgrade(callback as () => void, () => {
      this.#handshaking = undefined
      this.hello = undefined
      this.user = undefined
      const tls = describeTls(this._socket as TLSSocket, this.front.asksForCertificates)
      this.arrival = { ...this.arrival, tls }
      this.pipeline.secured(tls)
      secured?.()
    })
  }

  override close(): void {
    if (this._upgrading) this.destroy()
    else {
      this.flush()
      super.close()
    }
    this.#end()
  }

  /** Away with the socket at once: the topmost one, since taking a raw socket from under a handshake crashes Node. */
  destroy(): void {
    const { _socket: socket } = this
    ;(this._upgrading ? (this.#handshaking ?? socket) : socket).destroy()
  }

  override _onClose(): void {
    super._onClose()
    this.#leave()
    this.front.shared.forget(this)
    this.#end()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.continuation = undefined
    const incoming = this.receiving?.incoming ?? this.transaction?.chunks?.incoming
    this.receiving = undefined
    this.transaction = undefined
    // Called from the socket's own events, where a throw would be the end of the process.
    for (const act of [() => incoming?.refuse(undefined), () => this.pipeline.close()]) {
      try {
        act()
      } catch (error) {
        this.#logFault(error)
      }
    }
  }
}
