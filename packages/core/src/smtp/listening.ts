// One listening socket: opened once, kept over reloads. Who handles what it accepts can be changed at any time.

import { unlink } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { ListenAddress } from '../config/contract.ts'
import { PosthornError } from '../errors.ts'

/** Names an address: equal keys are the same socket. */
export function addressKey(address: ListenAddress): string {
  switch (address.kind) {
    case 'tcp':
      return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
    case 'unix':
      return `unix:${address.path}`
    case 'fd':
      return `fd:${address.fd}`
  }
}

export class ListeningSocket {
  readonly key: string
  readonly address: ListenAddress
  /** Takes the next connections. */
  handler: (socket: Socket) => void
  readonly #server: Server

  private constructor(address: ListenAddress, handler: (socket: Socket) => void) {
    this.key = addressKey(address)
    this.address = address
    this.handler = handler
    // Half open: a client that sends everything and closes its side still gets its replies.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, socket => this.handler(socket))
  }

  /** Throws POSTHORN_LISTEN_FAILED, naming the address; `at` is the option that it is of. A stale unix socket is removed where nobody answers on it. */
  static async open(address: ListenAddress, handler: (socket: Socket) => void, at?: string): Promise<ListeningSocket> {
    const socket = new ListeningSocket(address, handler)
    try {
      await socket.#listen()
    } catch (error) {
      const cause = error as NodeJS.ErrnoException
      if (cause.code !== 'EADDRINUSE' || address.kind !== 'unix' || (await answers(address.path))) {
        throw failure(address, cause, at)
      }
      await unlink(address.path)
      await socket.#listen().catch(again => {
        throw failure(address, again as NodeJS.ErrnoException, at)
      })
    }
    return socket
  }

  /** The port, where the system chose it. */
  get port(): number | undefined {
    const bound = this.#server.address()
    return bound !== null && typeof bound === 'object' ? bound.port : undefined
  }

  close(): void {
    this.#server.close()
  }

  #listen(): Promise<void> {
    const { address } = this
    const backlog = 1024
    return new Promise((resolve, reject) => {
      const server = this.#server
      const ready = () => {
        server.off('error', reject)
        // EMFILE while accepting: the next one may fare better, and the process must not die of it.
        server.on('error', () => {})
        resolve()
      }
      server.once('error', reject)
      if (address.kind === 'tcp') server.listen({ host: address.host, port: address.port, backlog }, ready)
      else if (address.kind === 'unix') server.listen({ path: address.path, backlog }, ready)
      else server.listen({ fd: address.fd }, ready)
    })
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', error => resolve((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED'))
  })
}

function failure(address: ListenAddress, cause: NodeJS.ErrnoException, at: string | undefined): PosthornError {
  const fixes: Record<string, string> = {
    EADDRINUSE: 'Another process listens there: stop it, or choose another port.',
    EACCES:
      'Ports below 1024 need CAP_NET_BIND_SERVICE or a socket handed over by systemd (listen: fd:3); never run as root.',
    EADDRNOTAVAIL: 'The address is not one of this machine.',
  }
  const fix = cause.code === undefined ? undefined : fixes[cause.code]
  return new PosthornError(
    'POSTHORN_LISTEN_FAILED',
    `cannot listen on ${addressKey(address)}: ${cause.code ?? cause.message}`,
    {
      cause,
      ...(at === undefined ? {} : { at }),
      ...(fix === undefined ? {} : { fix }),
    },
  )
}
