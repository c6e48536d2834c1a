// One listener's settings at work: accepts sockets, reads PROXY headers, does implicit TLS, makes connections. Reload
// makes a new one; connections keep the one they began with. smtp-server's SMTPServer, but its own socket never listens.
import type { Socket } from 'node:net'
import type { SecureContext, TLSSocket } from 'node:tls'
import { SMTPServer } from 'smtp-server'
import type { Clock } from '../clock.ts'
import type { ListenerConfig, TlsConfig, TrustConfig } from '../config/contract.ts'
import type { Log } from '../log.ts'
import type { Arrival, Pipeline } from '../pipeline/contract.ts'
import type { Admission } from './admission.ts'
import { Connection } from './connection.ts'
import type { Inflight } from './inflight.ts'
import { Networks, plainAddress } from './networks.ts'
import { readProxyHeader } from './proxy.ts'
import type { Certificates } from './tls.ts'

/** What all connections of the process share, over reloads. */
export interface Shared {
  readonly pipeline: Pipeline
  readonly log: Log
  readonly clock: Clock
  readonly inflight: Inflight
  readonly admission: Admission
  /** REQUIRETLS can be honoured (RFC 8689): there is an outbound side that keeps it. */
  readonly requireTls: () => boolean
  /** Octets of one message in memory at most. */
  bodyMemory: number
  /** The process is ending: no new transactions. */
  draining: boolean
  readonly connections: Set<Connection>
  forget(connection: Connection): void
}

/** Milliseconds for a PROXY header or a TLS handshake. */
const prelude = 30_000

export class Front extends SMTPServer {
  readonly listener: ListenerConfig
  readonly shared: Shared
  readonly asksForCertificates: boolean
  readonly offersStartTls: boolean
  readonly #certificates: readonly Certificates[]
  readonly #proxies: Networks
  readonly #xclients: Networks

  /** `certificates` are asked in order. Throws POSTHORN_CONFIG_NETWORK for a bad network. */
  constructor(
    listener: ListenerConfig,
    settings: {
      readonly tls: TlsConfig
      readonly trust: TrustConfig
      readonly certificates: readonly Certificates[]
      readonly fallback: SecureContext | undefined
    },
    shared: Shared,
  ) {
    super({
      logger: false,
      secure: listener.tls === 'implicit',
      name: listener.hostname,
      lmtp: listener.role === 'lmtp',
      disableReverseLookup: true,
      authOptional: true,
      socketTimeout: prelude,
      requestCert: settings.tls.clients.request,
      // Who may do what without a valid certificate is a plugin's question.
      rejectUnauthorized: false,
    })
    this.listener = listener
    this.shared = shared
    this.asksForCertificates = settings.tls.clients.request
    this.offersStartTls = listener.tls === 'starttls' && settings.fallback !== undefined
    this.#certificates = settings.certificates
    this.#proxies = new Networks(listener.proxy ? settings.trust.proxy : [], 'trust.proxy')
    this.#xclients = new Networks(settings.trust.xclient, 'trust.xclient')
    if (settings.fallback !== undefined) this.secureContext.set('*', settings.fallback)
  }

  /** smtp-server would fill in its own test certificate, whose key is public, and TLS 1.0. */
  override updateSecureContext(): void {
    this.secureContext = new Map()
  }

  override _resolveSNI(servername: string, answer: (error: Error | null, context?: SecureContext) => void): void {
    this.#choose(servername.toLowerCase()).then(
      context => answer(null, context),
      error => {
        this.shared.log.error({ err: error, servername }, 'no certificate for a name, using the default one')
        answer(null, this.secureContext.get('*'))
      },
    )
  }

  async #choose(servername: string): Promise<SecureContext | undefined> {
    for (const certificates of this.#certificates) {
      const context = await certificates.contextFor(servername, this.listener.name)
      if (context !== undefined) return context
    }
    return this.secureContext.get('*')
  }

  /** Failed handshakes and broken sockets: the client's business, and nothing to wake anybody for. */
  override _onError(error: Error): void {
    this.shared.log.debug({ err: error, listener: this.listener.name }, 'connection lost')
  }

  trustsXclient(ip: string): boolean {
    return this.#xclients.has(ip)
  }

  /** A socket of a listening server: from here to a connection or to its end. */
  accept(socket: Socket): void {
    const ip = plainAddress(socket.remoteAddress)
    socket.on('error', ignored)
    const release = this.#hold(socket)
    if (!this.#proxies.has(ip)) {
      this.#secure(socket, this.#direct(socket, ip), release)
      return
    }
    readProxyHeader(socket, prelude, this.shared.clock).then(
      header => {
        const direct = this.#direct(socket, ip)
        if (header === 'local') {
          this.#secure(socket, direct, release)
          return
        }
        const { source, destination } = header
        this.#secure(
          socket,
          {
            ...direct,
            client: { ip: source.ip, port: source.port, via: 'proxy', trusted: this.#xclients.has(source.ip) },
            local: { ...direct.local, ip: destination.ip, port: destination.port },
          },
          release,
        )
      },
      (error: Error) => {
        this.shared.log.warn({ client: ip, listener: this.listener.name, err: error }, 'no valid PROXY header')
        release()
        socket.destroy()
      },
    )
  }

  /**
   * Sockets that are no connections yet, and the topmost socket over each: smtp-server puts the TLS socket there.
   * Destroying a raw socket under a handshake crashes the process (SIGSEGV in Node 24), so only that one is destroyed.
   */
  get pending(): ReadonlyMap<Socket, Socket> {
    return this._pendingSockets
  }

  #hold(socket: Socket): () => void {
    this._pendingSockets.set(socket, socket)
    const release = () => {
      socket.off('close', release)
      this._pendingSockets.delete(socket)
    }
    socket.once('close', release)
    return release
  }

  #direct(socket: Socket, ip: string): Omit<Arrival, 'pendingInput' | 'tls'> {
    const { listener } = this
    const protocol = listener.role === 'lmtp' ? 'lmtp' : 'smtp'
    return {
      protocol,
      listener: { name: listener.name, role: listener.role },
      local: { ip: plainAddress(socket.localAddress), port: socket.localPort ?? 0, hostname: listener.hostname },
      // A unix socket has no address that a network could hold.
      ...(ip === ''
        ? {}
        : { client: { ip, port: socket.remotePort ?? 0, via: 'direct', trusted: this.#xclients.has(ip) } as const }),
    }
  }

  #secure(socket: Socket, arrival: Omit<Arrival, 'pendingInput' | 'tls'>, release: () => void): void {
    const { admission } = this.shared
    const ip = arrival.client?.ip ?? ''
    // Gone behind its PROXY header: its `close` is past, and would never be counted.
    if (socket.destroyed) {
      release()
      return
    }
    const refusal = admission.enter(this.listener, ip)
    if (refusal !== undefined) {
      release()
      // Before a handshake nothing that we say could be read.
      if (this.listener.tls === 'implicit') socket.destroy()
      else endWith(socket, refusal)
      return
    }
    let inside = true
    // Called by the socket or by the connection, whoever notices: STARTTLS takes every listener off the socket.
    const leave = () => {
      if (inside) admission.leave(this.listener, ip)
      inside = false
    }
    socket.once('close', leave)
    if (this.listener.tls !== 'implicit') {
      release()
      this.#begin(socket, arrival, leave)
      return
    }
    this._upgrade(socket, (error, secured) => {
      const top = this.pending.get(socket)
      top?.off('end', hangUp)
      release()
      if (error !== null || secured === undefined) {
        if (error !== null) this._onError(error)
        top?.destroy()
        return
      }
      this.#begin(secured, arrival, leave)
    })
    // Our sockets may be half open; half a handshake is none.
    const hangUp = () => this.pending.get(socket)?.destroy()
    this.pending.get(socket)?.once('end', hangUp)
  }

  #begin(socket: Socket | TLSSocket, arrival: Omit<Arrival, 'pendingInput' | 'tls'>, leave: () => void): void {
    if (this.shared.draining) {
      endWith(socket, '421 4.3.2 Service shutting down, try again\r\n')
      return
    }
    try {
      const connection = new Connection(this, socket, arrival, leave)
      this.shared.connections.add(connection)
      connection.on('error', error => this._onError(error))
      connection.init()
    } catch (error) {
      this.shared.log.error({ err: error, listener: this.listener.name }, 'cannot begin a session')
      endWith(socket, '421 4.3.0 Internal error, closing\r\n')
    }
  }
}

const ignored = () => {}

/** Last words to a socket without a connection: it goes when they are out, read or not. */
function endWith(socket: Socket, words: string): void {
  socket.on('error', ignored)
  socket.end(words, () => socket.destroySoon())
  socket.resume()
}
