// One connection to a next hop, from the dial to QUIT: greeting, EHLO, STARTTLS, XCLIENT, AUTH, then one message after
// another. Who may use it again is the pool's business.

import { connect as dial, type Socket } from 'node:net'
import { encodeXtext, type RemoteReply } from '@posthorn/mail'
import { type Clock, systemClock } from '../../clock.ts'
import { lendingReads } from '../reading.ts'
import { authenticate } from './auth.ts'
import type { Mail, MailRecipient } from './envelope.ts'
import { defaultTimeouts, SmtpFailure, type Timeouts } from './failure.ts'
import { hostName, type NextHop } from './next-hop.ts'
import { onStop, type Stopping, stopped } from './stop.ts'
import { handshake, type Secured } from './tls.ts'
import { type Report, transact } from './transaction.ts'
import { type Dialogue, Wire } from './wire.ts'

export interface ConnectOptions {
  readonly clock?: Clock
  readonly stop?: Stopping
  readonly timeouts?: Partial<Timeouts>
  readonly dialogue?: Dialogue
}

/** Pipelined chunks go out at once on a connection that was in use less than this many milliseconds ago. */
const hot = 1_000

/**
 * Connects and says hello, as the hop asks. Rejects with SmtpFailure, phase `connect` (no connection, a greeting that
 * is not 220) or `hello` (EHLO, TLS, AUTH). Opportunistic TLS that fails is given up for a second connection without.
 */
export async function connect(hop: NextHop, options: ConnectOptions = {}): Promise<SmtpConnection> {
  try {
    return await attempt(hop, hop.tls.mode !== 'none', options)
  } catch (error) {
    const { mode, implicit } = hop.tls
    if (!(error instanceof SmtpFailure && error.kind === 'tls') || mode !== 'opportunistic' || implicit) throw error
    options.dialogue?.('*', `${error.message}; once more without TLS`)
    return attempt(hop, false, options)
  }
}

async function attempt(hop: NextHop, tls: boolean, options: ConnectOptions): Promise<SmtpConnection> {
  const { clock = systemClock, stop, dialogue } = options
  const timeouts = options.timeouts === undefined ? defaultTimeouts : { ...defaultTimeouts, ...options.timeouts }
  const socket = await open(hop, clock, timeouts.connect, stop, chunk => wire.heard(chunk))
  const wire = new Wire(socket, hostName(hop.endpoint), clock, dialogue)
  const connection = new SmtpConnection(hop, wire, clock, timeouts)
  const release = onStop(stop, reason => wire.fail('aborted', 'stopped while connecting', reason))
  try {
    await connection.begin(tls)
    return connection
  } catch (error) {
    wire.fail('aborted', 'gave up')
    throw error
  } finally {
    release()
  }
}

/**
 * Servers slow down whoever names many that are not there, and hang up in the end: Postfix from ten on, by a second for
 * each command. Whoever asks next over the connection must not pay for it.
 */
const mostRefused = 5

export class SmtpConnection {
  readonly hop: NextHop
  readonly wire: Wire
  readonly timeouts: Timeouts
  /** EHLO keywords, upper case, with what followed them. */
  offers: ReadonlyMap<string, string> = new Map()
  /** The keywords alone. */
  keywords: ReadonlySet<string> = new Set()
  /** RFC 9422: recipients that the peer takes in one transaction, and transactions. */
  recipientMax = Number.POSITIVE_INFINITY
  mailMax = Number.POSITIVE_INFINITY
  /** Recipients that were asked about, and refused. */
  refused = 0
  secured: Secured | undefined
  /** The last transaction may still be open at the peer: RSET before the next. */
  dirty = false
  /** Messages that were begun. */
  uses = 0
  /** When it was made, and last used; on the monotonic clock. */
  readonly since: number
  last: number
  readonly #clock: Clock

  constructor(hop: NextHop, wire: Wire, clock: Clock, timeouts: Timeouts) {
    this.hop = hop
    this.wire = wire
    this.timeouts = timeouts
    this.#clock = clock
    this.since = clock.monotonic()
    this.last = this.since
  }

  get lmtp(): boolean {
    return this.hop.protocol === 'lmtp'
  }

  /** Ready for a message. */
  get usable(): boolean {
    return this.wire.idle && this.uses < this.mailMax && this.refused < mostRefused
  }

  /** Used so lately that the peer has hardly closed it since. */
  get hot(): boolean {
    return this.#clock.monotonic() - this.last < hot
  }

  /** The dialogue up to the first MAIL; called once, by {@link connect}. */
  async begin(tls: boolean): Promise<void> {
    const { wire, hop, timeouts } = this
    if (hop.proxy !== undefined) {
      wire.told(hop.proxy)
      wire.send(`${hop.proxy}\r\n`, 0)
    }
    if (hop.tls.implicit) await this.#startTls()
    wire.expect(1)
    const greeting = await wire.read('connect', timeouts.greeting)
    if (greeting.code !== 220) throw wire.refused(greeting)
    await this.#hello()
    if (tls && !hop.tls.implicit) await this.#upgrade()
    if (hop.xclient !== undefined) await this.#xclient(hop.xclient)
    if (hop.auth !== undefined) {
      await authenticate(wire, hop.auth, this.offers.get('AUTH'), this.secured !== undefined, timeouts.hello)
    }
    if (hop.xforward !== undefined) await this.#xforward(hop.xforward)
    if (!wire.idle) throw wire.outOfStep('hello')
  }

  /**
   * One message to some recipients; reports each by its index as soon as its fate is known. Resolves with undefined
   * when all have been reported; with the failure that ended the connection when some have not: it is theirs.
   */
  async send(
    mail: Mail,
    to: readonly MailRecipient[],
    report: Report,
    stop?: Stopping,
  ): Promise<SmtpFailure | undefined> {
    const release = onStop(stop, reason => this.wire.fail('aborted', 'stopped while sending', reason))
    try {
      await transact(this, mail, to, report)
      return undefined
    } catch (error) {
      if (error instanceof SmtpFailure) return error
      this.wire.fail('aborted', 'gave up')
      throw error
    } finally {
      release()
      this.uses++
      this.last = this.#clock.monotonic()
    }
  }

  /** Says QUIT and lets go. */
  close(): void {
    this.wire.quit(this.timeouts.quit)
  }

  destroy(): void {
    this.wire.fail('closed', 'closed')
  }

  async #ask(line: string): Promise<RemoteReply> {
    this.wire.send(`${line}\r\n`, 1)
    this.wire.told(line)
    const reply = await this.wire.read('hello', this.timeouts.hello)
    if (reply.code === 421) throw this.wire.refused(reply)
    return reply
  }

  async #hello(): Promise<void> {
    const { hop, wire } = this
    const reply = await this.#ask(`${this.lmtp ? 'LHLO' : 'EHLO'} ${hop.helo}`)
    if (reply.code === 250) return this.#learn(reply.lines.slice(1))
    // RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO.
    if (reply.code < 500 || this.lmtp) throw wire.refused(reply)
    const plain = await this.#ask(`HELO ${hop.helo}`)
    if (plain.code !== 250) throw wire.refused(plain)
    this.#learn([])
  }

  #learn(lines: readonly string[]): void {
    const offers = new Map<string, string>()
    for (const line of lines) {
      // `AUTH=LOGIN`, beside `AUTH …`, is how very old servers say it.
      const [, keyword, rest = ''] = /^([^\s=]+)[ =]?(.*)$/.exec(line) ?? []
      if (keyword !== undefined && !offers.has(keyword.toUpperCase())) offers.set(keyword.toUpperCase(), rest.trim())
    }
    this.offers = offers
    this.keywords = new Set(offers.keys())
    const limit = (name: string) => {
      const found = new RegExp(`\\b${name}=(\\d{1,9})\\b`, 'i').exec(offers.get('LIMITS') ?? '')?.[1]
      return found === undefined || Number(found) === 0 ? Number.POSITIVE_INFINITY : Number(found)
    }
    this.recipientMax = limit('RCPTMAX')
    this.mailMax = limit('MAILMAX')
  }

  /** STARTTLS, as far as the policy wants it. */
  async #upgrade(): Promise<void> {
    const { wire, hop } = this
    const must = hop.tls.mode !== 'opportunistic'
    const lacks = (message: string, reply?: RemoteReply) => {
      wire.fail('tls', message)
      return new SmtpFailure('tls', 'hello', wire.host, message, { reply, enhanced: '4.7.4' })
    }
    if (!this.keywords.has('STARTTLS')) {
      if (must) throw lacks('TLS is required, and the peer does not offer it')
      return
    }
    const reply = await this.#ask('STARTTLS')
    if (reply.code !== 220) {
      if (must) throw lacks('TLS is required, and the peer refused STARTTLS', reply)
      return
    }
    if (wire.injected) {
      wire.fail('garbage', 'the peer sent more than its reply to STARTTLS: somebody speaks in its name')
      throw new SmtpFailure('garbage', 'hello', wire.host, 'plaintext after the reply to STARTTLS')
    }
    await this.#startTls()
    // RFC 3207 §4.2: what was learned before is forgotten.
    await this.#hello()
  }

  async #startTls(): Promise<void> {
    const { wire, hop, timeouts } = this
    const plain = wire.socket
    const { secured } = await wire.handOver(() => handshake(plain, hop, this.#clock, timeouts.hello))
    this.secured = secured
    wire.dialogue?.('*', `${secured.protocol} ${secured.cipher}${secured.verified ? ', verified' : ''}`)
  }

  async #xclient(identity: NonNullable<NextHop['xclient']>): Promise<void> {
    const line = this.#identity('XCLIENT', identity)
    if (line === undefined) return
    const reply = await this.#ask(line)
    if (reply.code !== 220) throw this.wire.refused(reply)
    await this.#hello()
  }

  async #xforward(identity: NonNullable<NextHop['xforward']>): Promise<void> {
    const line = this.#identity('XFORWARD', identity)
    if (line === undefined) return
    const reply = await this.#ask(line)
    if (reply.code !== 250) throw this.wire.refused(reply)
    // What it says is over with the next transaction.
    this.mailMax = 1
  }

  /** The command, with the attributes that the peer lists; undefined where it lists none. */
  #identity(verb: 'XCLIENT' | 'XFORWARD', identity: NonNullable<NextHop['xclient']>): string | undefined {
    const allowed = new Set((this.offers.get(verb) ?? '').toUpperCase().split(' '))
    const words = Object.entries(identity)
      .filter(([name]) => allowed.has(name))
      .map(([name, value]) => `${name}=${encodeXtext(value)}`)
    return words.length === 0 ? undefined : `${verb} ${words.join(' ')}`
  }
}

/** `heard`: gets what the peer says, lent for the call. */
function open(
  hop: NextHop,
  clock: Clock,
  timeout: number,
  stop: Stopping | undefined,
  heard: (chunk: Buffer) => void,
): Promise<Socket> {
  const { endpoint, source } = hop
  const host = hostName(endpoint)
  return new Promise((resolve, reject) => {
    const over = stopped(stop)
    if (over !== undefined) {
      return reject(new SmtpFailure('aborted', 'connect', host, 'stopped before connecting', { cause: over.reason }))
    }
    const onread = lendingReads(chunk => {
      heard(chunk)
      return true
    })
    const socket =
      'path' in endpoint
        ? dial({ path: endpoint.path, onread })
        : dial({
            onread,
            host: endpoint.host,
            port: endpoint.port,
            noDelay: true,
            ...(source === undefined ? {} : { localAddress: source }),
          })
    let release = () => {}
    const done = () => {
      cancel()
      release()
      socket.removeListener('error', failed)
      socket.removeListener('connect', connected)
    }
    const give = (kind: 'unreachable' | 'timeout' | 'aborted', message: string, cause?: unknown) => {
      done()
      socket.on('error', () => {})
      socket.destroy()
      const extra = kind === 'timeout' ? { enhanced: '4.4.1' } : { cause }
      reject(new SmtpFailure(kind, 'connect', host, message, extra))
    }
    const failed = (error: NodeJS.ErrnoException) => {
      const why = error.code ?? error.message
      give('unreachable', `cannot connect: ${why}`, error)
    }
    const connected = () => {
      done()
      resolve(socket)
    }
    const cancel = clock.after(timeout, () => give('timeout', `no connection in ${timeout / 1000} s`))
    socket.once('error', failed)
    socket.once('connect', connected)
    release = onStop(stop, reason => give('aborted', 'stopped while connecting', reason))
  })
}
