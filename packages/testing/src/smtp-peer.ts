// A scripted SMTP or LMTP server on loopback: accepts everything unless the script says otherwise, breaks in every way
// a real one does, and remembers what it got. It judges nothing about the client but what `strict` framing tells.
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import { goodCertificate, type TestCertificate, testCa } from './certificates.ts'
import { PeerSession } from './smtp-peer-session.ts'

/** What the peer was told to do, at one step. Numbers count from 1. */
export interface PeerStep {
  /** How often this step came, over all connections. */
  readonly nth: number
  /** Which connection. */
  readonly session: number
  /** The command line; '' for `connect` and `dot`. */
  readonly line: string
  /** At an LMTP `dot`: whose reply this is. */
  readonly recipient?: string
}

/**
 * What to do instead of the usual. A string is the reply, its lines parted by `\n`, codes included. `cut` closes the
 * connection, `reset` with a RST; `stall` never answers again. An object: waits for `after`, sends `reply` or the raw
 * octets, then `end`.
 */
export type PeerAct =
  | string
  | 'cut'
  | 'reset'
  | 'stall'
  | {
      readonly after?: Promise<unknown>
      readonly reply?: string
      readonly raw?: string | Uint8Array
      readonly end?: 'cut' | 'reset' | 'stall'
      /** At `dot`: whether the message counts as accepted; default: where the reply is 250. */
      readonly taken?: boolean
    }

export type PeerSteps =
  | 'connect'
  | 'hello'
  | 'starttls'
  | 'auth'
  | 'xclient'
  | 'mail'
  | 'rcpt'
  | 'data'
  | 'bdat'
  | 'dot'
  | 'rset'
  | 'quit'

/** One act for every time, or a function that chooses; `undefined` is the usual reply. */
export type PeerScript = {
  readonly [S in PeerSteps]?: PeerAct | ((step: PeerStep) => PeerAct | undefined)
}

export interface PeerOptions {
  readonly lmtp?: boolean
  /** EHLO lines. Default: PIPELINING, SIZE, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES, DSN, CHUNKING; STARTTLS and AUTH are added where `tls` and `users` ask for them. */
  readonly offer?: readonly string[]
  readonly tls?: 'starttls' | 'implicit'
  /** Default {@link goodCertificate}. */
  readonly certificate?: TestCertificate
  /** Ask clients for a certificate signed by the test CA; without one the handshake fails. */
  readonly clientCertificate?: true
  /** Passwords, or access tokens of XOAUTH2, by user. */
  readonly users?: Readonly<Record<string, string>>
  /** What to keep of each message; `count` keeps nothing and records no dialogue. Default `bytes`. */
  readonly keep?: 'bytes' | 'sha256' | 'count'
  /** `lenient`: ends DATA at a dot between any line ends, as servers do that can be smuggled to. */
  readonly endOfData?: 'strict' | 'lenient'
  /** Where to listen; default a free port of 127.0.0.1. Several hosts on one port: 127.0.0.2 and on. */
  readonly host?: string
  readonly port?: number
  /** Listens on a unix socket in a folder of its own. */
  readonly unix?: boolean
  /** Sends every octet of every reply in its own write. */
  readonly bytewise?: boolean
  /** Cuts each connection after that many octets from, or to, the client. */
  readonly cutAfterInput?: number
  readonly cutAfterOutput?: number
  /** Reads no further after that many octets of each connection: the client's writes pile up. */
  readonly readAtMost?: number
  readonly on?: PeerScript
}

/** A message that the peer answered with 250 (in LMTP: for at least one recipient). */
export interface PeerMessage {
  readonly session: number
  readonly from: string
  /** Those whose reply at the dot was 250. */
  readonly to: readonly string[]
  /** The command lines, parameters and all; of all recipients that RCPT accepted. */
  readonly mailLine: string
  readonly rcptLines: readonly string[]
  readonly via: 'data' | 'bdat'
  readonly size: number
  /** Hex, unless only counting. */
  readonly sha256?: string
  readonly bytes?: Buffer
  readonly tls: boolean
  readonly user?: string
  /** What XCLIENT last said, by attribute. */
  readonly xclient?: Readonly<Record<string, string>>
}

const usual = ['PIPELINING', 'SIZE 104857600', '8BITMIME', 'SMTPUTF8', 'ENHANCEDSTATUSCODES', 'DSN', 'CHUNKING']

/**
 * Starts on a free port of 127.0.0.1, another address, or a unix socket. `await using peer = await SmtpPeer.start({ … })` closes it.
 * The script may be changed while it runs: `peer.on = { mail: '451 4.3.0 later' }`.
 */
export class SmtpPeer {
  readonly options: PeerOptions
  readonly offer: readonly string[]
  readonly messages: PeerMessage[] = []
  /** Messages answered with 250, kept or not. */
  count = 0
  /** Connections so far, and those open now. */
  connections = 0
  /** The dialogue of each connection, `C: …` and `S: …`; bodies as `C: (512 octets)`. */
  readonly dialogues: string[][] = []
  on: PeerScript
  host: string
  port: number
  /** The unix socket. */
  path = ''
  readonly #open = new Set<PeerSession>()
  readonly #times = new Map<PeerSteps, number>()
  readonly #waiting = new Set<{ ready: () => boolean; resolve: () => void }>()
  #server: Server | undefined

  private constructor(options: PeerOptions) {
    this.options = options
    this.on = options.on ?? {}
    this.host = options.host ?? '127.0.0.1'
    this.port = options.port ?? 0
    this.offer = [
      ...(options.offer ?? usual),
      ...(options.users === undefined ? [] : ['AUTH PLAIN LOGIN XOAUTH2']),
      ...(options.tls === 'starttls' ? ['STARTTLS'] : []),
    ]
  }

  static async start(options: PeerOptions = {}): Promise<SmtpPeer> {
    const peer = new SmtpPeer(options)
    await peer.#listen()
    return peer
  }

  /** Where to connect: `127.0.0.1:4711` or `unix:/path`. */
  get address(): string {
    return this.path === '' ? `${this.host}:${this.port}` : `unix:${this.path}`
  }

  /** Connections open now. */
  get open(): number {
    return this.#open.size
  }

  /** Every command line so far, in order of connections. */
  get commands(): readonly string[] {
    return this.dialogues.flatMap(lines => lines.filter(line => line.startsWith('C: ')).map(line => line.slice(3)))
  }

  /** TLS options of this peer, for the session. */
  get tls() {
    const { cert, key } = this.options.certificate ?? goodCertificate
    return this.options.clientCertificate ? { cert, key, ca: testCa, requestCert: true } : { cert, key }
  }

  /** The act for a step, and counts it. */
  act(step: PeerSteps, given: Omit<PeerStep, 'nth'>): PeerAct | undefined {
    const nth = (this.#times.get(step) ?? 0) + 1
    this.#times.set(step, nth)
    const scripted = this.on[step]
    return typeof scripted === 'function' ? scripted({ ...given, nth }) : scripted
  }

  /** Called by a session for a message that it answered. */
  took(message: PeerMessage): void {
    this.count++
    if (this.options.keep !== 'count') this.messages.push(message)
    this.changed()
  }

  changed(): void {
    for (const waiter of this.#waiting) {
      if (!waiter.ready()) continue
      this.#waiting.delete(waiter)
      waiter.resolve()
    }
  }

  /** Resolves once `ready` holds: looked at after each command, message and hang-up. */
  until(ready: (peer: this) => boolean): Promise<void> {
    return new Promise(resolve => {
      this.#waiting.add({ ready: () => ready(this), resolve })
      this.changed()
    })
  }

  /** Resolves when `count` messages have been answered with 250. */
  received(count: number): Promise<void> {
    return this.until(peer => peer.count >= count)
  }

  /** Cuts every open connection; goes on listening. */
  cut(how: 'cut' | 'reset' = 'cut'): void {
    for (const session of this.#open) session.hangUp(how)
  }

  /** Says something on every open connection that nobody asked for. */
  say(reply: string): void {
    for (const session of this.#open) session.say(reply)
  }

  /** Stops listening, so that connecting is refused; open connections stay. `listen` starts again on the same port. */
  stopListening(): Promise<void> {
    return new Promise(resolve => {
      // The callback waits for open connections, the refusing does not.
      this.#server?.close()
      this.#server = undefined
      setImmediate(resolve)
    })
  }

  listen(): Promise<void> {
    return this.#listen()
  }

  async close(): Promise<void> {
    await this.stopListening()
    this.cut('reset')
    if (this.path !== '') rmSync(join(this.path, '..'), { recursive: true, force: true })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #listen(): Promise<void> {
    const accept = (socket: Socket) => {
      const session = new PeerSession(this, socket, ++this.connections, this.options.tls === 'implicit')
      this.#open.add(session)
      const gone = () => {
        this.#open.delete(session)
        this.changed()
      }
      socket.once('close', gone)
      // Node emits no `close` where a RST comes too late, behind the FIN.
      socket.on('error', (error: NodeJS.ErrnoException) => error.syscall === 'reset' && gone())
      session.greet()
      this.changed()
    }
    const server =
      this.options.tls === 'implicit'
        ? createTlsServer({ ...this.tls, rejectUnauthorized: this.options.clientCertificate ?? false }, accept)
        : createServer({ noDelay: true }, accept)
    server.on('tlsClientError', () => {})
    this.#server = server
    if (this.options.unix && this.path === '') this.path = join(mkdtempSync(join(tmpdir(), 'peer-')), 'smtp')
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      const ready = () => {
        const address = server.address()
        if (this.path === '') this.port = (address as AddressInfo).port
        resolve()
      }
      if (this.path === '') server.listen(this.port, this.host, ready)
      else server.listen(this.path, ready)
    })
  }
}
