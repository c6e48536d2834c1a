// All SMTP and LMTP listeners of the process: opened once, changed by reload, stopped in good order.
import type { Socket } from 'node:net'
import { type Clock, systemClock } from '../clock.ts'
import type { Config, ListenAddress } from '../config/contract.ts'
import { PosthornError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Pipeline } from '../pipeline/contract.ts'
import { Admission } from './admission.ts'
import type { Connection } from './connection.ts'
import { Front, type Shared } from './front.ts'
import { Inflight } from './inflight.ts'
import { addressKey, ListeningSocket } from './listening.ts'
import { shuttingDown } from './replies.ts'
import { CertificateFiles, type Certificates } from './tls.ts'

/** The part of the configuration that listeners live by. */
export type FrontConfig = Pick<Config, 'listeners' | 'tls' | 'trust' | 'limits' | 'body'>

export interface ListenerSetOptions {
  readonly pipeline: Pipeline
  readonly log: Log
  readonly clock?: Clock
  /** Asked for a certificate before the files of the configuration, with the generation of the moment. */
  readonly certificates?: Certificates
  /** Offer REQUIRETLS: only where something outbound can keep the promise. Asked at each EHLO and MAIL. */
  readonly requireTls?: () => boolean
}

const tick = 1000

/** What makes a socket the same over a reload: its address, or its place where the system chooses the port. */
function socketKey(listener: string, index: number, address: ListenAddress): string {
  const key = addressKey(address)
  return address.kind === 'tcp' && address.port === 0 ? `${listener}[${index}] ${key}` : key
}

export class ListenerSet {
  readonly #options: ListenerSetOptions
  readonly #shared: Shared
  #sockets = new Map<string, { readonly socket: ListeningSocket; readonly listener: string }>()
  /** Every front that may still have sockets before their session. */
  #fronts: Front[] = []
  #stopTicking: (() => void) | undefined
  #lastTick = 0
  #onEmpty: (() => void) | undefined
  #stopped = false

  constructor(options: ListenerSetOptions) {
    this.#options = options
    const connections = new Set<Connection>()
    this.#shared = {
      pipeline: options.pipeline,
      log: options.log,
      clock: options.clock ?? systemClock,
      inflight: new Inflight(0),
      admission: new Admission(0),
      requireTls: options.requireTls ?? (() => false),
      bodyMemory: 0,
      draining: false,
      connections,
      forget: connection => {
        connections.delete(connection)
        if (connections.size === 0) this.#onEmpty?.()
      },
    }
  }

  /** Connections alive now. */
  get connections(): number {
    return this.#shared.connections.size
  }

  /** Sockets before their session: a PROXY header or a handshake is awaited. */
  get waiting(): number {
    return this.#fronts.reduce((sum, front) => sum + front.pending.size, 0)
  }

  /** Connections alive now on one listener. */
  connectionsOf(listener: string): number {
    return this.#shared.admission.count(listener)
  }

  /** Octets of messages under way in memory. */
  get inflight(): number {
    return this.#shared.inflight.held
  }

  /** Where we listen: the port is the real one where the configuration said 0. */
  addresses(): readonly { readonly listener: string; readonly address: ListenAddress }[] {
    return [...this.#sockets.values()].map(({ socket, listener }) => ({
      listener,
      address:
        socket.address.kind === 'tcp'
          ? { ...socket.address, port: socket.port ?? socket.address.port }
          : socket.address,
    }))
  }

  /** Opens every listener. Throws POSTHORN_LISTEN_FAILED, POSTHORN_TLS_* or POSTHORN_CONFIG_NETWORK, and then nothing is open. */
  async open(config: FrontConfig): Promise<void> {
    await this.apply(config)
    this.#lastTick = this.#shared.clock.monotonic()
    this.#schedule()
  }

  /**
   * Reload: certificates are read again, sockets whose address is unchanged are kept, new ones opened, removed ones
   * closed. Connections under way keep the settings that they began with. On any error everything stays as it was.
   */
  async apply(config: FrontConfig): Promise<void> {
    const files = await CertificateFiles.load(config.tls)
    const settings = {
      tls: config.tls,
      trust: config.trust,
      certificates: this.#options.certificates === undefined ? [files] : [this.#options.certificates, files],
      fallback: files.contextFor(undefined),
    }
    const fronts = config.listeners.map(listener => new Front(listener, settings, this.#shared))
    const sockets = new Map<string, { socket: ListeningSocket; listener: string }>()
    const opened: ListeningSocket[] = []
    const handlers = new Map<ListeningSocket, (socket: Socket) => void>()
    try {
      for (const front of fronts) {
        for (const [index, address] of front.listener.listen.entries()) {
          const key = socketKey(front.listener.name, index, address)
          if (sockets.has(key)) {
            throw new PosthornError('POSTHORN_LISTEN_TWICE', `two listeners want ${addressKey(address)}`, {
              at: `listeners.${front.listener.name}.listen`,
              fix: 'Give each listener an address or port of its own.',
            })
          }
          const handler = (socket: Socket) => front.accept(socket)
          let socket = this.#sockets.get(key)?.socket
          if (socket === undefined) {
            socket = await ListeningSocket.open(address, handler, `listeners.${front.listener.name}.listen`)
            opened.push(socket)
          }
          handlers.set(socket, handler)
          sockets.set(key, { socket, listener: front.listener.name })
        }
      }
    } catch (error) {
      for (const socket of opened) socket.close()
      throw error
    }
    // From here on nothing can fail.
    for (const [socket, handler] of handlers) socket.handler = handler
    for (const { socket } of this.#sockets.values()) if (!handlers.has(socket)) socket.close()
    this.#sockets = sockets
    this.#fronts = [...this.#fronts.filter(front => front.pending.size > 0), ...fronts]
    this.#shared.admission.limit = config.limits.connections
    this.#shared.inflight.limit = config.body.inflight
    this.#shared.bodyMemory = config.body.memory
  }

  /** No new connections; those there are go on. */
  stopListening(): void {
    for (const { socket } of this.#sockets.values()) socket.close()
    this.#sockets = new Map()
  }

  /**
   * Ends every session in good order: running transactions get their reply, then and when idle 421 4.3.2. What is left
   * after `within` milliseconds gets 421 too and is cut. Settles when no connection is left.
   */
  async drain(within: number): Promise<void> {
    this.stopListening()
    this.#shared.draining = true
    for (const front of this.#fronts) for (const top of front.pending.values()) top.destroy()
    for (const connection of this.#shared.connections) this.#guarded(connection, () => connection.paused())
    if (this.connections > 0) {
      await new Promise<void>(resolve => {
        const cancel = this.#shared.clock.after(within, () => this.#cut())
        this.#onEmpty = () => {
          cancel()
          resolve()
        }
      })
    }
    this.#stopped = true
    this.#stopTicking?.()
  }

  #cut(): void {
    for (const connection of [...this.#shared.connections]) {
      this.#guarded(connection, () => {
        if (!connection.closing) connection.reply(shuttingDown)
      })
    }
    // Whoever does not even read that.
    this.#shared.clock.after(tick, () => {
      for (const connection of [...this.#shared.connections]) connection.destroy()
    })
  }

  #schedule(): void {
    if (this.#stopped) return
    this.#stopTicking = this.#shared.clock.after(tick, () => {
      const now = this.#shared.clock.monotonic()
      const elapsed = now - this.#lastTick
      this.#lastTick = now
      this.#shared.inflight.nudge()
      for (const connection of this.#shared.connections) {
        this.#guarded(connection, () => connection.watch.tick(elapsed))
      }
      this.#schedule()
    })
  }

  /** A fault in one connection is its end and nobody else's. */
  #guarded(connection: Connection, act: () => void): void {
    try {
      act()
    } catch (error) {
      try {
        connection.failed(error)
      } catch {
        connection.destroy()
      }
    }
  }
}
