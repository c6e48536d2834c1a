import { createHash, createPrivateKey, generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { CertificateConfig } from '../config/contract.ts'
import { bitString, boolean, context, integer, objectId, octetString, sequence, set, time, utf8String } from './der.ts'

const day = 86_400_000
const lifetime = 730 * day
/** Replaced when less than this is left. */
const margin = 30 * day

/**
 * The self-signed certificate of the data folder, for servers that were given none: made at first use, used again
 * while it is valid for `hostname` for another 30 days. The key is created with mode 0600.
 */
export async function selfSigned(folder: string, hostname: string, now: number): Promise<CertificateConfig> {
  const files = { cert: join(folder, 'self-signed-cert.pem'), key: join(folder, 'self-signed-key.pem') }
  if (await usable(files, hostname, now)) return files
  const made = generateSelfSigned(hostname, now)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  // The key first: a certificate without its key must not look usable.
  await replace(files.key, made.key, 0o600)
  await replace(files.cert, made.cert, 0o644)
  return files
}

async function usable(files: CertificateConfig, hostname: string, now: number): Promise<boolean> {
  try {
    const cert = new X509Certificate(await readFile(files.cert))
    const key = createPrivateKey(await readFile(files.key))
    return (
      Date.parse(cert.validTo) > now + margin &&
      Date.parse(cert.validFrom) <= now &&
      cert.checkHost(hostname) !== undefined &&
      cert.checkPrivateKey(key)
    )
  } catch {
    return false
  }
}

async function replace(file: string, text: string, mode: number): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}`
  const handle = await open(temporary, 'wx', mode)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
}

/** A new EC P-256 key and a certificate by itself for `hostname`, localhost, 127.0.0.1 and ::1, in PEM; valid two years from `now`. */
export function generateSelfSigned(hostname: string, now: number): { readonly cert: string; readonly key: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const algorithm = sequence(objectId('1.2.840.10045.4.3.2')) // ecdsa-with-SHA256, RFC 5758
  const name = sequence(set(sequence(objectId('2.5.4.3'), utf8String(hostname.slice(0, 64)))))
  const names = [...new Set([hostname, 'localhost'])].map(host => context(2, false, Buffer.from(host, 'latin1')))
  const addresses = [Uint8Array.of(127, 0, 0, 1), Uint8Array.of(...Array(15).fill(0), 1)].map(ip =>
    context(7, false, ip),
  )
  // RFC 5280 §4.2.1
  const extensions = sequence(
    extension('2.5.29.17', sequence(...names, ...addresses)),
    extension('2.5.29.19', sequence(), true), // basicConstraints: no CA
    extension('2.5.29.15', bitString(Uint8Array.of(0x80), 7), true), // keyUsage: digitalSignature
    extension('2.5.29.37', sequence(objectId('1.3.6.1.5.5.7.3.1'))), // extKeyUsage: serverAuth
    extension('2.5.29.14', octetString(createHash('sha1').update(spki).digest())), // subjectKeyIdentifier
  )
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 1
  const body = sequence(
    context(0, true, integer(Uint8Array.of(2))), // version 3
    integer(serial),
    algorithm,
    name,
    // An hour ago, for clients whose clocks are behind.
    sequence(time(now - 3_600_000), time(now + lifetime)),
    name,
    spki,
    context(3, true, extensions),
  )
  const signature = sign('sha256', body, { key: privateKey, dsaEncoding: 'der' })
  const cert = sequence(body, algorithm, bitString(signature))
  const lines = cert.toString('base64').match(/.{1,64}/g) ?? []
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  }
}

function extension(id: string, value: Uint8Array, critical = false): Buffer {
  return sequence(objectId(id), ...(critical ? [boolean(true)] : []), octetString(value))
}
