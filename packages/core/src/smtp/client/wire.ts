// The octets of one connection: commands out, replies in, in step. Knows when the peer is silent, gone, or talks out
// of turn; what replies mean is the callers' business.
import type { Socket } from 'node:net'
import { type PeerReply, type RemoteReply, ReplyParser } from '@posthorn/mail'
import type { Clock } from '../../clock.ts'
import { type FailureKind, type Phase, SmtpFailure } from './failure.ts'
import { wrote } from './room.ts'

/** Told every line: `C` ours (secrets and bodies left out), `S` the peer's, `*` what happened besides. */
export type Dialogue = (who: 'C' | 'S' | '*', line: string) => void

interface Waiter {
  readonly phase: Phase
  readonly resolve: (reply: RemoteReply) => void
  readonly reject: (failure: SmtpFailure) => void
}

interface Down {
  readonly kind: FailureKind
  readonly message: string
  readonly cause?: unknown
}

/** Milliseconds that a peer that refused us gets to answer QUIT. */
const leaving = 5_000
const never = Number.POSITIVE_INFINITY

export class Wire {
  readonly host: string
  /** Called once when the connection is no longer good for a command, also while nobody waits. */
  onDown: (() => void) | undefined
  readonly #clock: Clock
  readonly #dialogue: Dialogue | undefined
  #socket: Socket
  #parser = new ReplyParser()
  /** Replies that nobody has read yet, each to a command. */
  readonly #replies: PeerReply[] = []
  /** Replies that commands on the wire still owe us. */
  #owed = 0
  #early: PeerReply | undefined
  /** The last 421: why the connection will end. */
  #goodbye: RemoteReply | undefined
  #waiter: Waiter | undefined
  #drained: (() => void) | undefined
  #deadline = never
  #alarm: { readonly at: number; readonly cancel: () => void } | undefined
  #down: Down | undefined
  /** A final dot is out, its reply is not in. */
  #sealed = false

  constructor(socket: Socket, host: string, clock: Clock, dialogue?: Dialogue) {
    this.#socket = socket
    this.host = host
    this.#clock = clock
    this.#dialogue = dialogue
    this.#listen(socket)
  }

  get socket(): Socket {
    return this.#socket
  }

  get dialogue(): Dialogue | undefined {
    return this.#dialogue
  }

  /** In step and connected: nothing owed, nothing unread, nothing said out of turn. */
  get idle(): boolean {
    return this.usable && this.#owed === 0 && this.#replies.length === 0 && !this.#parser.pending
  }

  get usable(): boolean {
    return this.#down === undefined && this.#early === undefined && this.#goodbye === undefined
  }

  /** Body octets should stop: the connection is down, or the peer spoke before its turn. */
  get interrupted(): boolean {
    return this.#down !== undefined || this.#early !== undefined
  }

  /** Octets of a reply that nobody asked for came with the last one: after STARTTLS, an injection (RFC 3207 §6). */
  get injected(): boolean {
    return this.#parser.pending || this.#replies.length > 0 || this.#early !== undefined
  }

  /** The greeting is owed without a command. */
  expect(replies: number): void {
    this.#owed += replies
  }

  /**
   * Writes commands that `replies` replies will answer; false when the caller should await {@link drained}. `final`:
   * the end of a message is in it. Writes nothing when the connection is down: the next read says why.
   */
  send(data: string | Uint8Array, replies: number, final = false): boolean {
    if (this.#down !== undefined) return true
    this.#owed += replies
    if (final) this.#sealed = true
    if (typeof data === 'string') return this.#socket.write(data, 'utf8')
    const room = this.#socket.write(data)
    wrote(data, this.#socket.writableLength)
    return room
  }

  /** For the dialogue: what was sent, or `shown` in its place. */
  told(lines: string): void {
    if (this.#dialogue === undefined) return
    for (const line of lines.split('\r\n')) if (line !== '') this.#dialogue('C', line)
  }

  /** The next reply if it is there already. */
  take(phase: Phase): RemoteReply | undefined {
    const reply = this.#replies.shift()
    return reply === undefined ? undefined : this.#remote(reply, phase)
  }

  /** The next reply. Rejects with SmtpFailure when none comes. */
  read(phase: Phase, timeout: number): Promise<RemoteReply> {
    const reply = this.take(phase)
    if (reply !== undefined) return Promise.resolve(reply)
    if (this.#down !== undefined) return Promise.reject(this.#failure(phase))
    this.#expireIn(timeout)
    return new Promise((resolve, reject) => {
      this.#waiter = { phase, resolve, reject }
    })
  }

  /** The final reply came: a cut is only a cut again. */
  settled(): void {
    this.#sealed = false
  }

  /** A reply that came while a body was being sent. */
  early(phase: Phase): RemoteReply | undefined {
    return this.#early === undefined ? undefined : this.#remote(this.#early, phase)
  }

  /** Resolves when the written octets have left, or the connection is {@link interrupted}, after `timeout` at the latest. */
  drained(timeout: number): Promise<void> {
    if (this.interrupted || !this.#socket.writableNeedDrain) return Promise.resolve()
    this.#expireIn(timeout)
    return new Promise(resolve => {
      this.#drained = resolve
    })
  }

  /** Ends the connection at once; whoever waits learns why. */
  fail(kind: FailureKind, message: string, cause?: unknown): void {
    if (this.#down !== undefined) return
    this.#down = { kind, message, ...(cause === undefined ? {} : { cause }) }
    this.#dialogue?.('*', message)
    // RFC 5321 §3.1: a client that is refused says QUIT. In the middle of a body it would be text.
    if (kind === 'refused' && this.#early === undefined) this.#leave(leaving)
    else this.#socket.destroy()
    this.#alarm?.cancel()
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.reject(this.#failure(waiter.phase))
    this.#undrain()
    this.#onDown()
  }

  /** The failure that a reply of the peer makes: it refused, with a 421 or in an early phase. The connection is over. */
  refused(reply: RemoteReply, message?: string): SmtpFailure {
    const text = message ?? `${reply.code} ${reply.enhanced ?? ''} ${reply.lines[0] ?? ''}`.replace(/\s+/g, ' ').trim()
    const unknown = this.#sealed
    this.fail('refused', text)
    const enhanced = reply.enhanced?.startsWith('4') ? { enhanced: reply.enhanced } : {}
    return new SmtpFailure('refused', reply.phase, this.host, text, { reply, unknown, ...enhanced })
  }

  /** The peer says what nobody asked for. The connection is over. */
  outOfStep(phase: Phase, message = 'the peer talks out of turn'): SmtpFailure {
    this.fail('garbage', message)
    return this.#failure(phase)
  }

  /** QUIT, politely: the peer gets `timeout` to answer, nobody waits for it. */
  quit(timeout: number): void {
    if (this.#down !== undefined) return
    this.#down = { kind: 'closed', message: 'closed' }
    this.#alarm?.cancel()
    this.#leave(timeout)
    this.#onDown()
  }

  #leave(timeout: number): void {
    this.told('QUIT')
    const socket = this.#socket
    socket.end('QUIT\r\n')
    const cancel = this.#clock.after(timeout, () => socket.destroy())
    socket.once('close', cancel)
  }

  /** Lets go of the plain socket while TLS is being set up on it, then goes on with what `upgrade` gives. */
  async handOver<T extends { readonly socket: Socket }>(upgrade: () => Promise<T>): Promise<T> {
    const plain = this.#socket
    for (const [event, listener] of this.#listeners) plain.off(event, listener)
    plain.on('error', () => {})
    const result = await upgrade()
    if (this.#down !== undefined) {
      result.socket.destroy()
      throw this.#failure('hello')
    }
    this.#socket = result.socket
    this.#parser = new ReplyParser()
    this.#listen(result.socket)
    return result
  }

  // Kept to be taken off one by one: TLS adds listeners of its own to the plain socket.
  readonly #listeners: readonly (readonly [event: string, listener: (...given: any[]) => void])[] = [
    ['data', (chunk: Uint8Array) => this.heard(chunk)],
    ['drain', () => this.#undrain()],
    ['end', () => this.#lost()],
    ['error', (error: Error) => this.#lost(error)],
    ['close', () => this.#lost()],
  ]

  #listen(socket: Socket): void {
    for (const [event, listener] of this.#listeners) socket.on(event, listener)
  }

  /** Octets of the peer's, lent for this call. */
  heard(chunk: Uint8Array): void {
    if (this.#down !== undefined) return
    for (const reply of this.#parser.push(chunk)) this.#got(reply)
    if (this.#parser.fault !== undefined) this.fail('garbage', `the peer does not speak SMTP: ${this.#parser.fault}`)
  }

  #got(reply: PeerReply): void {
    if (this.#dialogue !== undefined) {
      const code = reply.enhanced === undefined ? `${reply.code}` : `${reply.code} ${reply.enhanced}`
      for (const line of reply.lines) this.#dialogue('S', `${code} ${line}`)
    }
    if (this.#owed === 0) {
      if (this.#early !== undefined) return void this.fail('garbage', 'the peer talks out of turn')
      this.#early = reply
      this.#undrain()
      this.#onDown()
      return
    }
    this.#owed--
    const waiter = this.#waiter
    if (waiter === undefined) {
      this.#replies.push(reply)
      return
    }
    this.#waiter = undefined
    this.#deadline = never
    waiter.resolve(this.#remote(reply, waiter.phase))
  }

  #lost(error?: Error): void {
    if (this.#down !== undefined) return
    const text = error === undefined ? 'the peer closed the connection' : `the connection broke: ${error.message}`
    this.fail('cut', text, error)
  }

  #remote(reply: PeerReply, phase: Phase): RemoteReply {
    const { code, enhanced, lines } = reply
    const remote: RemoteReply =
      enhanced === undefined
        ? { host: this.host, phase, code, lines }
        : { host: this.host, phase, code, enhanced, lines }
    if (code === 421) this.#goodbye = remote
    return remote
  }

  #failure(phase: Phase): SmtpFailure {
    const { kind, message, cause } = this.#down as Down
    const reply = this.#goodbye ?? (this.#early?.code === 421 ? this.#remote(this.#early, phase) : undefined)
    const unknown = this.#sealed
    return new SmtpFailure(kind, phase, this.host, message, { reply, unknown, cause })
  }

  /**
   * Nobody waits longer than this. An alarm that was set stays set and looks at the deadline when it rings: with two
   * waits for each message, setting and clearing a timer would cost as much as reading the replies.
   */
  #expireIn(timeout: number): void {
    const now = this.#clock.monotonic()
    this.#deadline = now + timeout
    if (this.#alarm !== undefined && this.#alarm.at <= this.#deadline) return
    this.#alarm?.cancel()
    this.#setAlarm(now)
  }

  #setAlarm(now: number): void {
    const cancel = this.#clock.after(this.#deadline - now, () => this.#ring())
    this.#alarm = { at: this.#deadline, cancel }
  }

  #ring(): void {
    this.#alarm = undefined
    if (this.#deadline === never) return
    const now = this.#clock.monotonic()
    // A timer may ring a little early.
    if (now + 1 < this.#deadline) this.#setAlarm(now)
    else
      this.fail('timeout', this.#waiter === undefined ? 'the peer takes nothing any more' : 'the peer does not answer')
  }

  #undrain(): void {
    const drained = this.#drained
    if (drained === undefined) return
    this.#drained = undefined
    this.#deadline = never
    drained()
  }

  #onDown(): void {
    const fn = this.onDown
    this.onDown = undefined
    fn?.()
  }
}
