import { createServer, type Server, type Socket } from 'node:net'
import { type Clock, systemClock } from '../clock.ts'
import { PosthornError } from '../errors.ts'
import { type Log, silentLog } from '../log.ts'
import { claimSocket, releaseSocket } from './address.ts'
import type { ControlReply, ControlRequest } from './contract.ts'
import { toFault } from './fault.ts'
import { readLines } from './lines.ts'

/** One method: `emit` streams an event to the caller, `signal` aborts when the caller has gone. Throws PosthornError for what the caller may read. */
export type ControlMethod = (params: unknown, emit: (event: unknown) => void, signal: AbortSignal) => Promise<unknown>

const maxRequest = 1 * 2 ** 20
const maxResult = 32 * 2 ** 20
const maxCalls = 16
const maxClients = 64
/** Octets that a caller of a stream may lag behind. */
const maxLag = 4 * 2 ** 20
/** Milliseconds in which a caller must take something of what waits for it. */
const stall = 30_000

/**
 * Serves commands over a unix socket that only its owner can open: requests and replies are one JSON object a line.
 * A caller that sends too much, or reads too slowly, is cut off; it never slows the server.
 */
export class ControlServer {
  readonly #methods: Readonly<Record<string, ControlMethod>>
  readonly #clock: Clock
  readonly #log: Log
  readonly #callers = new Set<Caller>()
  #server: Server | undefined
  #configured = ''
  #path = ''

  constructor(methods: Readonly<Record<string, ControlMethod>>, options: { clock?: Clock; log?: Log } = {}) {
    this.#methods = methods
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
  }

  /** Where it listens: as configured, or a shorter path (see {@link claimSocket}). */
  get path(): string {
    return this.#path
  }

  /**
   * Listens at a path; mode 0600 from the first moment.
   * @throws PosthornError POSTHORN_CONTROL_BUSY, POSTHORN_CONTROL_PATH
   */
  async listen(configured: string): Promise<void> {
    const path = await claimSocket(configured)
    const server = createServer(socket => this.#accept(socket))
    server.maxConnections = maxClients
    await new Promise<void>((done, fail) => {
      server.once('error', fail)
      // bind(2) happens inside listen(), so nobody can open the socket before its mode is right.
      const mask = process.umask(0o177)
      try {
        server.listen(path, () => {
          server.off('error', fail)
          done()
        })
      } finally {
        process.umask(mask)
      }
    })
    server.on('error', error => this.#log.error({ err: error }, 'the control socket failed'))
    this.#server = server
    this.#configured = configured
    this.#path = path
  }

  /** Stops listening and ends every call. */
  async close(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    const closed = new Promise<void>(done => server.close(() => done()))
    for (const caller of this.#callers) caller.end()
    await closed
    await releaseSocket(this.#configured, this.#path)
  }

  #accept(socket: Socket): void {
    const caller = new Caller(socket, this.#methods, this.#clock, this.#log)
    this.#callers.add(caller)
    socket.once('close', () => this.#callers.delete(caller))
  }
}

/** One connection. */
class Caller {
  readonly #socket: Socket
  readonly #methods: Readonly<Record<string, ControlMethod>>
  readonly #clock: Clock
  readonly #log: Log
  readonly #calls = new Map<number, AbortController>()
  #watching: (() => void) | undefined
  #ending = false

  constructor(socket: Socket, methods: Readonly<Record<string, ControlMethod>>, clock: Clock, log: Log) {
    this.#socket = socket
    this.#methods = methods
    this.#clock = clock
    this.#log = log
    socket.on('error', () => {})
    socket.once('close', () => this.#gone())
    readLines(
      socket,
      maxRequest,
      value => this.#request(value),
      why => this.#refuse(why),
    )
  }

  end(): void {
    this.#gone()
    this.#ending = true
    this.#socket.end()
    this.#socket.destroySoon()
  }

  #gone(): void {
    this.#watching?.()
    this.#watching = undefined
    for (const call of this.#calls.values()) call.abort(gone)
    this.#calls.clear()
  }

  #refuse(why: string): void {
    this.#send({ id: null, error: { code: 'POSTHORN_CONTROL_BAD_REQUEST', message: why } })
    this.end()
  }

  #request(value: unknown): void {
    const { id, method, params } = (typeof value === 'object' && value !== null ? value : {}) as Partial<ControlRequest>
    if (id === undefined || !Number.isSafeInteger(id) || typeof method !== 'string' || this.#calls.has(id)) {
      this.#refuse('not a request: { id, method, params }')
      return
    }
    if (this.#calls.size >= maxCalls) {
      this.#refuse(`more than ${maxCalls} calls at once`)
      return
    }
    const call = new AbortController()
    this.#calls.set(id, call)
    this.#run(id, method, params, call).catch(error => this.#log.error({ err: error, method }, 'control call failed'))
  }

  async #run(id: number, method: string, params: unknown, call: AbortController): Promise<void> {
    let reply: ControlReply
    try {
      const handler = Object.hasOwn(this.#methods, method) ? this.#methods[method] : undefined
      if (handler === undefined) {
        throw new PosthornError(
          'POSTHORN_CONTROL_UNKNOWN',
          `the server knows no method ${JSON.stringify(method.slice(0, 60))}`,
          {
            fix: 'Command and server may be of different versions: restart the server.',
          },
        )
      }
      const emit = (event: unknown) => {
        if (!call.signal.aborted) this.#event(id, event)
      }
      const result = await handler(params, emit, call.signal)
      reply = { id, result: result ?? null }
    } catch (error) {
      if (!(error instanceof PosthornError) && !call.signal.aborted)
        this.#log.error({ err: error, method }, 'control call failed')
      reply = { id, error: toFault(error) }
    }
    if (call.signal.aborted) return
    this.#calls.delete(id)
    this.#send(reply)
  }

  #event(id: number, event: unknown): void {
    // What lags is cut: memory is bounded, and the caller can ask again.
    if (this.#socket.writableLength > maxLag) {
      this.#log.warn({ lag: this.#socket.writableLength }, 'a control client reads too slowly: cut off')
      this.#socket.destroy()
      return
    }
    this.#send({ id, event })
  }

  #send(reply: ControlReply): void {
    if (this.#ending || this.#socket.destroyed) return
    let text = JSON.stringify(reply)
    if (text.length > maxResult && reply.id !== null) {
      const message = `the answer is larger than ${maxResult} octets`
      text = JSON.stringify({
        id: reply.id,
        error: { code: 'POSTHORN_CONTROL_TOO_LARGE', message, fix: 'Ask for less, with --limit.' },
      })
    }
    if (!this.#socket.write(`${text}\n`)) this.#watch()
  }

  /** Cuts the connection unless what waits for the caller gets less within `stall`. */
  #watch(): void {
    if (this.#watching !== undefined) return
    const before = this.#socket.bytesWritten - this.#socket.writableLength
    this.#watching = this.#clock.after(stall, () => {
      this.#watching = undefined
      if (this.#socket.destroyed || this.#socket.writableLength === 0) return
      if (this.#socket.bytesWritten - this.#socket.writableLength > before) this.#watch()
      else this.#socket.destroy()
    })
  }
}

const gone = new Error('the caller has gone')
