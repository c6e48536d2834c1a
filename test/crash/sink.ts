// The next hops: SMTP servers that take mail as their temper says, and know of each delivery whether the client showed
// that it had read the final reply.
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { arrived } from './letters.ts'

/** What one does with a recipient, or with a message at its end. `cut`: takes it, and hangs up instead of a reply. */
export type Mood = 'take' | 'defer' | 'refuse' | 'cut' | 'farewell'

export interface Temper {
  readonly dsn: boolean
  readonly chunking: boolean
  /** Milliseconds until the final reply. */
  delay(): number
  rcpt(address: string): Mood
  dot(n: number | undefined): Mood
}

export interface Took {
  readonly message: Buffer
  readonly to: readonly { readonly address: string; readonly notify: string }[]
}

export interface SinkEvents {
  /** Gives names of the deliveries, for `unread`. */
  took(what: Took, now: number): readonly string[]
  refused(n: number, address: string): void
  unread(items: readonly string[], replied: number, now: number): void
}

const end = Buffer.from('\r\n.\r\n')

export class Sink {
  readonly #temper: Temper
  readonly #events: SinkEvents
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  port = 0
  /** Nothing but permanent refusals is refused any more. */
  calm = false

  constructor(temper: Temper, events: SinkEvents) {
    this.#temper = temper
    this.#events = events
    this.#server = createServer(socket => new Session(socket, this, this.#temper, this.#events))
    this.#server.on('connection', socket => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
  }

  async open(): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen({ host: '127.0.0.1', port: this.port }, resolve))
    this.port = (this.#server.address() as AddressInfo).port
  }

  /** Nobody listens any more; connections end. */
  async close(): Promise<void> {
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  get listening(): boolean {
    return this.#server.listening
  }
}

class Session {
  readonly #socket: Socket
  readonly #sink: Sink
  readonly #temper: Temper
  readonly #events: SinkEvents
  #rest: Buffer = Buffer.alloc(0)
  #to: { address: string; notify: string }[] = []
  /** Octets of the message so far, and how many are to come by BDAT. */
  #parts: Buffer[] | undefined
  #count: number | undefined
  #last = false
  /** The chunks so far of a message whose last is still to come. */
  #chunks: Buffer[] = []
  /** The ENVID of the transaction: the number of its message. */
  #envelope: number | undefined
  /** The delivery whose reply is not known to be read, and when that was sent. */
  #unread: { items: readonly string[]; replied: number } | undefined
  /** Octets wait until the reply before is out. */
  #busy = false
  #ended = false

  constructor(socket: Socket, sink: Sink, temper: Temper, events: SinkEvents) {
    this.#socket = socket
    this.#sink = sink
    this.#temper = temper
    this.#events = events
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.on('data', chunk => {
      // Who goes on has read what came before; what comes while the reply is held back was sent without it.
      if (this.#unread !== undefined && this.#unread.replied !== Infinity) this.#unread = undefined
      this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
      this.#read()
    })
    socket.once('close', () => {
      this.#ended = true
      if (this.#unread === undefined) return
      const now = Date.now()
      const { items, replied } = this.#unread
      this.#events.unread(items, Math.min(replied, now), now)
    })
    this.#say('220 sink.test ESMTP')
  }

  #say(line: string): void {
    if (!this.#ended) this.#socket.write(`${line}\r\n`)
  }

  #read(): void {
    while (!this.#busy && !this.#ended) {
      if (this.#count !== undefined) {
        if (!this.#chunk()) return
      } else if (this.#parts !== undefined) {
        const at = this.#rest.indexOf(end)
        if (at === -1) return
        const message = this.#rest.subarray(2, at + 2)
        this.#rest = this.#rest.subarray(at + end.length)
        this.#message(Buffer.from(message))
      } else {
        const at = this.#rest.indexOf('\r\n')
        if (at === -1) return
        const line = this.#rest.toString('latin1', 0, at)
        this.#rest = this.#rest.subarray(at + 2)
        this.#command(line)
      }
    }
  }

  #chunk(): boolean {
    const count = this.#count as number
    if (this.#rest.length < count) return false
    this.#parts = [...(this.#parts ?? []), this.#rest.subarray(0, count)]
    this.#rest = this.#rest.subarray(count)
    this.#count = undefined
    if (this.#last) this.#message(Buffer.concat(this.#parts))
    else {
      // The next chunk, or command, follows.
      this.#chunks = this.#parts
      this.#parts = undefined
      this.#say('250 2.0.0 Go on')
    }
    return true
  }

  #command(line: string): void {
    const verb = line.slice(0, 4).toUpperCase()
    if (verb === 'EHLO') {
      const { dsn, chunking } = this.#temper
      const offers = ['PIPELINING', '8BITMIME', 'ENHANCEDSTATUSCODES', ...(dsn ? ['DSN'] : [])]
      for (const offer of ['sink.test', ...offers]) this.#say(`250-${offer}`)
      this.#say(`250 ${chunking ? 'CHUNKING' : 'HELP'}`)
    } else if (verb === 'MAIL' || verb === 'RSET') {
      const envelope = /ENVID=(\d+)/.exec(line)?.[1]
      this.#envelope = envelope === undefined ? undefined : Number(envelope)
      this.#to = []
      this.#chunks = []
      this.#say('250 2.0.0 Ok')
    } else if (verb === 'RCPT') this.#rcpt(line)
    else if (verb === 'DATA' || verb === 'BDAT') this.#data(verb, line)
    else if (verb === 'QUIT') this.#socket.end('221 2.0.0 Bye\r\n')
    else this.#say('250 2.0.0 Ok')
  }

  #rcpt(line: string): void {
    const address = /<([^>]*)>/.exec(line)?.[1] ?? ''
    const mood = this.#temper.rcpt(address)
    if (mood === 'refuse') {
      if (this.#envelope !== undefined) this.#events.refused(this.#envelope, address)
      this.#say('550 5.1.1 No such user')
    } else if (this.#sink.calm || mood === 'take') {
      this.#to.push({ address, notify: /NOTIFY=(\S+)/.exec(line)?.[1] ?? '' })
      this.#say('250 2.1.5 Ok')
    } else if (mood === 'farewell') {
      this.#socket.end('421 4.3.2 Closing\r\n')
      this.#ended = true
    } else this.#say('451 4.7.1 Come again')
  }

  #data(verb: string, line: string): void {
    if (verb === 'BDAT') {
      const [, count, last] = line.split(' ')
      this.#count = Number(count)
      this.#last = last?.toUpperCase() === 'LAST'
      this.#parts = this.#chunks
      return
    }
    if (this.#to.length === 0) {
      this.#say('554 5.5.1 No valid recipients')
      return
    }
    this.#parts = []
    // The line end before a lone dot may be the command's own (RFC 5321 §4.1.1.4).
    this.#rest = Buffer.concat([Buffer.from('\r\n'), this.#rest])
    this.#say('354 Go on')
  }

  #message(message: Buffer): void {
    this.#parts = undefined
    this.#chunks = []
    const to = this.#to
    this.#to = []
    const { n } = arrived(message)
    const mood = this.#temper.dot(n)
    if (to.length === 0) this.#say('554 5.5.1 No valid recipients')
    else if (mood === 'refuse' && n !== undefined) {
      for (const { address } of to) this.#events.refused(n, address)
      this.#say('554 5.7.1 Not wanted')
    } else if (mood === 'defer' && !this.#sink.calm) this.#say('451 4.3.0 Come again')
    else this.#take(message, to, mood === 'cut' && !this.#sink.calm)
  }

  #take(message: Buffer, to: Took['to'], cut: boolean): void {
    const unread = { items: this.#events.took({ message, to }, Date.now()), replied: Infinity }
    this.#unread = unread
    if (cut) {
      this.#socket.destroy()
      return
    }
    const reply = () => {
      this.#busy = false
      unread.replied = Date.now()
      this.#say('250 2.0.0 Taken')
      this.#read()
    }
    const delay = this.#temper.delay()
    if (delay < 1) reply()
    else {
      this.#busy = true
      setTimeout(reply, delay)
    }
  }
}
