import { connect, type Socket } from 'node:net'
import { PosthornError } from '../errors.ts'
import { findSocket } from './address.ts'
import type { ControlFault, ControlReply } from './contract.ts'
import { fromFault } from './fault.ts'
import { readLines } from './lines.ts'

const maxReply = 64 * 2 ** 20

interface Pending {
  readonly event: ((event: unknown) => void) | undefined
  readonly done: (result: unknown) => void
  readonly fail: (error: Error) => void
}

/** A connection to the control socket of a running server. */
export class ControlClient {
  readonly #socket: Socket
  readonly #calls = new Map<number, Pending>()
  #last = 0
  #closed: Error | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => {})
    socket.once('close', () => this.#fail(lost()))
    readLines(
      socket,
      maxReply,
      value => this.#reply(value as ControlReply),
      why => {
        this.#fail(new PosthornError('POSTHORN_CONTROL_BROKEN', `the server's answer makes no sense: ${why}`))
        socket.destroy()
      },
    )
  }

  /**
   * Connects to the socket of a configuration.
   * @throws PosthornError POSTHORN_NOT_RUNNING where nobody listens, POSTHORN_CONTROL_DENIED where we may not ask
   */
  static async connect(configured: string): Promise<ControlClient> {
    const path = await findSocket(configured)
    const socket = connect(path)
    await new Promise<void>((done, fail) => {
      socket.once('connect', done)
      socket.once('error', error => fail(unreachable(path, error)))
    })
    socket.removeAllListeners('error')
    return new ControlClient(socket)
  }

  /** Calls a method; `event` is told what it streams. Rejects with the server's error, or POSTHORN_CONTROL_LOST. */
  call<T>(method: string, params: unknown = {}, event?: (event: unknown) => void): Promise<T> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const id = ++this.#last
    return new Promise<T>((done, fail) => {
      this.#calls.set(id, { event, done: done as (result: unknown) => void, fail })
      this.#socket.write(`${JSON.stringify({ id, method, params })}\n`)
    })
  }

  close(): void {
    this.#fail(lost())
    this.#socket.destroy()
  }

  #reply(reply: ControlReply): void {
    if (reply.id === null) {
      this.#fail(fromFault((reply as { error: ControlFault }).error))
      return
    }
    const call = this.#calls.get(reply.id)
    if (call === undefined) return
    if ('event' in reply) {
      call.event?.(reply.event)
      return
    }
    this.#calls.delete(reply.id)
    if ('error' in reply) call.fail(fromFault(reply.error))
    else call.done(reply.result)
  }

  #fail(error: Error): void {
    this.#closed ??= error
    for (const call of this.#calls.values()) call.fail(error)
    this.#calls.clear()
  }
}

const lost = () =>
  new PosthornError('POSTHORN_CONTROL_LOST', 'the server closed the connection', {
    fix: 'See its log; it may have stopped.',
  })

function unreachable(path: string, error: NodeJS.ErrnoException): PosthornError {
  if (error.code === 'EACCES') {
    return new PosthornError('POSTHORN_CONTROL_DENIED', `may not open ${path}`, {
      fix: 'Run this as the user that runs Posthorn.',
    })
  }
  return new PosthornError('POSTHORN_NOT_RUNNING', `no server answers at ${path}`, {
    fix: 'Start it with `posthorn start`, or name its configuration with --config.',
    cause: error,
  })
}
