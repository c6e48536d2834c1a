// TLS towards a peer: the handshake, and whether its certificate is one that the policy takes.
import { isIP, type Socket } from 'node:net'
import { checkServerIdentity, connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import type { Clock } from '../../clock.ts'
import { SmtpFailure } from './failure.ts'
import { hostName, type NextHop, type TlsPolicy } from './next-hop.ts'

/** How a connection is secured. `verified`: by chain and name, or by pin; only asked for, never for `opportunistic`. */
export interface Secured {
  readonly protocol: string
  readonly cipher: string
  readonly verified: boolean
}

const contexts = new WeakMap<TlsPolicy, SecureContext>()

/** Made once for each policy: reading the system's roots costs milliseconds. Throws what node:tls does for a bad PEM. */
export function secureContext(policy: TlsPolicy): SecureContext {
  let context = contexts.get(policy)
  if (context === undefined) {
    const { ca, cert, key } = policy
    context = createSecureContext({ minVersion: 'TLSv1.2', ca, cert, key })
    contexts.set(policy, context)
  }
  return context
}

/**
 * The handshake over a connected socket. Rejects with SmtpFailure `tls`: nothing of it was verified, or not enough.
 * The certificate is judged for `verify` alone; else only noted in `verified`.
 */
export function handshake(
  socket: Socket,
  hop: NextHop,
  clock: Clock,
  timeout: number,
): Promise<{ readonly socket: TLSSocket; readonly secured: Secured }> {
  const { tls } = hop
  const host = hostName(hop.endpoint)
  const name = tls.servername ?? host
  const fail = (message: string, cause?: unknown) => new SmtpFailure('tls', 'hello', host, message, { cause })
  return new Promise((resolve, reject) => {
    let secure: TLSSocket
    try {
      secure = connect({
        socket,
        secureContext: secureContext(tls),
        // RFC 6066 §3: an address is no server name.
        ...(isIP(name) === 0 ? { servername: name } : {}),
        host: name,
        rejectUnauthorized: false,
        checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
      })
    } catch (error) {
      return reject(fail(`TLS cannot start: ${(error as Error).message}`, error))
    }
    const end = (failure: SmtpFailure) => {
      cancel()
      secure.destroy()
      reject(failure)
    }
    const broken = (error: Error) => end(fail(`TLS handshake failed: ${error.message}`, error))
    const gone = () => end(fail('TLS handshake failed: the peer closed the connection'))
    const cancel = clock.after(timeout, () => end(fail(`TLS handshake took more than ${timeout / 1000} s`)))
    secure.once('error', broken)
    secure.once('close', gone)
    secure.once('secureConnect', () => {
      cancel()
      secure.removeListener('error', broken)
      secure.removeListener('close', gone)
      const { verified, why } = judge(secure, tls)
      if (tls.mode === 'verify' && !verified) return end(fail(`the certificate of ${name} is not trusted: ${why}`))
      resolve({
        socket: secure,
        secured: { protocol: secure.getProtocol() ?? 'TLS', cipher: secure.getCipher().name, verified },
      })
    })
  })
}

function judge(socket: TLSSocket, { pins }: TlsPolicy): { verified: boolean; why?: string } {
  if (pins === undefined || pins.length === 0) {
    // The name of an OpenSSL or Node error: CERT_HAS_EXPIRED, ERR_TLS_CERT_ALTNAME_INVALID.
    return socket.authorized ? { verified: true } : { verified: false, why: String(socket.authorizationError) }
  }
  const seen = fingerprint(socket.getPeerX509Certificate()?.fingerprint256 ?? '')
  return pins.some(pin => fingerprint(pin) === seen) && seen !== ''
    ? { verified: true }
    : { verified: false, why: `its SHA-256 ${seen} is none of the pinned ones` }
}

function fingerprint(hex: string): string {
  return hex.replaceAll(':', '').toLowerCase()
}
