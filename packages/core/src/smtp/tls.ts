// Certificates: read from PEM files, chosen by SNI name, and what a TLS connection says of itself. A new set is made at
// reload; connections keep what they were opened with.
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import type { CertificateConfig, TlsConfig } from '../config/contract.ts'
import { PosthornError } from '../errors.ts'
import type { Origin, Peer } from '../session.ts'
import { token } from '../token.ts'
import type { Awaitable } from '../transaction.ts'

/**
 * Who chooses the certificate of a TLS connection. A plugin that provides it (ACME) is asked first; where it answers
 * `undefined` the certificates of the configuration are used. `servername` is lower case, absent without SNI.
 */
export interface Certificates {
  contextFor(servername: string | undefined, listener: string): Awaitable<SecureContext | undefined>
}
export const Certificates = token<Certificates>('core/certificates')

/** The certificates of one configuration, read and checked. */
export class CertificateFiles implements Certificates {
  readonly #default: SecureContext | undefined
  readonly #names: ReadonlyMap<string, SecureContext>

  private constructor(fallback: SecureContext | undefined, names: ReadonlyMap<string, SecureContext>) {
    this.#default = fallback
    this.#names = names
  }

  /** Reads every file. Throws POSTHORN_TLS_FILE, POSTHORN_TLS_PEM or POSTHORN_TLS_KEY, naming the file. */
  static async load(config: TlsConfig): Promise<CertificateFiles> {
    const ca = config.clients.ca === undefined ? undefined : await read(config.clients.ca, 'tls.clients.ca')
    if (ca !== undefined) checkCertificate(ca, config.clients.ca as string, 'tls.clients.ca')
    const context = (files: CertificateConfig, at: string) => loadContext(files, at, config, ca)
    const fallback = config.default === undefined ? undefined : await context(config.default, 'tls.default')
    const names = new Map<string, SecureContext>()
    for (const [name, files] of Object.entries(config.names)) {
      names.set(name.toLowerCase(), await context(files, `tls.names.${name}`))
    }
    return new CertificateFiles(fallback, names)
  }

  contextFor(servername: string | undefined): SecureContext | undefined {
    if (servername === undefined || this.#names.size === 0) return this.#default
    const dot = servername.indexOf('.')
    // RFC 9525 §6.3: a wildcard stands for one whole label, the first.
    const wildcard = dot > 0 ? this.#names.get(`*${servername.slice(dot)}`) : undefined
    return this.#names.get(servername) ?? wildcard ?? this.#default
  }
}

async function read(file: string, at: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    throw new PosthornError('POSTHORN_TLS_FILE', `cannot read ${file}: ${(cause as NodeJS.ErrnoException).code}`, {
      at,
      cause,
      fix: 'Check that the file exists and that the user Posthorn runs as may read it.',
    })
  }
}

function checkCertificate(pem: Buffer, file: string, at: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new PosthornError('POSTHORN_TLS_PEM', `${file} holds no certificate in PEM form`, {
      at,
      cause,
      fix: 'The file must begin with -----BEGIN CERTIFICATE-----, the chain after it.',
    })
  }
}

async function loadContext(
  files: CertificateConfig,
  at: string,
  { minVersion, clients }: TlsConfig,
  ca: Buffer | undefined,
): Promise<SecureContext> {
  const [cert, key] = await Promise.all([read(files.cert, `${at}.cert`), read(files.key, `${at}.key`)])
  checkCertificate(cert, files.cert, `${at}.cert`)
  try {
    createSecureContext({ key })
  } catch (cause) {
    throw new PosthornError('POSTHORN_TLS_PEM', `${files.key} holds no private key in PEM form`, {
      at: `${at}.key`,
      cause,
      fix: 'The file must hold an unencrypted private key: -----BEGIN PRIVATE KEY-----.',
    })
  }
  try {
    return createSecureContext({
      cert,
      key,
      minVersion,
      // Without it a client that resumes a session is cut off where client certificates are asked for.
      ...(clients.request ? { sessionIdContext: 'posthorn' } : {}),
      ...(ca === undefined ? {} : { ca }),
    })
  } catch (cause) {
    throw new PosthornError(
      'POSTHORN_TLS_KEY',
      `the key ${files.key} does not belong to the certificate ${files.cert}`,
      {
        at,
        cause,
        fix: 'Give the key that the certificate was issued for; its chain comes after it in the same file.',
      },
    )
  }
}

/** What the rest of us may know of a TLS connection whose handshake is done. `asked`: for a client certificate. */
export function describeTls(socket: TLSSocket, asked: boolean): NonNullable<Origin['tls']> {
  const servername = (socket as TLSSocket & { servername?: string | false }).servername
  const client = asked ? describePeer(socket) : undefined
  return {
    protocol: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher()?.standardName ?? 'unknown',
    ...(servername ? { servername } : {}),
    ...(client === undefined ? {} : { client }),
  }
}

function describePeer(socket: TLSSocket): Peer | undefined {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return undefined
  return {
    authorized: socket.authorized,
    subject: certificate.subject?.replaceAll('\n', ', ') ?? '',
    names: (certificate.subjectAltName ?? '').split(', ').flatMap(name => {
      const found = /^(?:DNS|email|IP Address):(.+)$/.exec(name)
      return found?.[1] === undefined ? [] : [found[1]]
    }),
    sha256: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
  }
}
