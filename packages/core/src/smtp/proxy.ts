// The PROXY protocol, versions 1 and 2: who the client of a proxy is. Strict: the header is from a trusted neighbour,
// so whatever is no header there is a misconfiguration or an attack. (haproxy.org, proxy-protocol.txt)
import { isIPv4, isIPv6, type Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { PosthornError } from '../errors.ts'
import { plainAddress } from './networks.ts'

export interface Endpoint {
  readonly ip: string
  readonly port: number
}
/** `local`: the proxy speaks for itself (health checks), or for somebody without an address. */
export type ProxyHeader = 'local' | { readonly source: Endpoint; readonly destination: Endpoint }

/** §2.1: 107 octets, CRLF included. */
const maxVersion1 = 107
const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const fixedLength = 16
/** Addresses of unix sockets take 216 octets, TLVs the rest. */
const maxVersion2 = 4096

/**
 * Parses the head of a stream. `undefined`: more octets are needed. Throws POSTHORN_SMTP_PROXY for what cannot become
 * a header, at the first octet that shows it.
 */
export function parseProxyHeader(head: Buffer): { readonly header: ProxyHeader; readonly length: number } | undefined {
  if (head.length === 0) return undefined
  if (head[0] === signature[0]) return parseVersion2(head)
  return parseVersion1(head)
}

function malformed(what: string): PosthornError {
  return new PosthornError('POSTHORN_SMTP_PROXY', `malformed PROXY header: ${what}`, {
    fix: 'Check that the proxy sends PROXY v1 or v2, and that trust.proxy names only proxies.',
  })
}

function parseVersion1(head: Buffer): { header: ProxyHeader; length: number } | undefined {
  const begin = head.toString('latin1', 0, Math.min(6, head.length))
  if (!'PROXY '.startsWith(begin)) throw malformed('no signature')
  const end = head.subarray(0, maxVersion1).indexOf('\r\n')
  if (end < 0) {
    if (head.length >= maxVersion1) throw malformed('line too long')
    return undefined
  }
  const length = end + 2
  const line = head.toString('latin1', 0, end)
  if (line === 'PROXY UNKNOWN' || line.startsWith('PROXY UNKNOWN ')) return { header: 'local', length }
  const [, family, source = '', destination = '', sourcePort = '', destinationPort = ''] =
    /^PROXY (TCP4|TCP6) (\S+) (\S+) (\d{1,5}) (\d{1,5})$/.exec(line) ?? []
  const fits = family === 'TCP4' ? isIPv4 : isIPv6
  if (family === undefined || !fits(source) || !fits(destination)) throw malformed('bad address')
  const ports = [Number(sourcePort), Number(destinationPort)] as const
  if (ports[0] > 65_535 || ports[1] > 65_535) throw malformed('bad port')
  return {
    header: {
      source: { ip: plainAddress(source), port: ports[0] },
      destination: { ip: plainAddress(destination), port: ports[1] },
    },
    length,
  }
}

function parseVersion2(head: Buffer): { header: ProxyHeader; length: number } | undefined {
  const known = Math.min(head.length, signature.length)
  if (head.compare(signature, 0, known, 0, known) !== 0) throw malformed('no signature')
  if (head.length < fixedLength) return undefined
  const versionAndCommand = head[12] as number
  const command = versionAndCommand & 0xf
  if (versionAndCommand >> 4 !== 2 || command > 1) throw malformed('unknown version or command')
  const rest = head.readUInt16BE(14)
  if (rest > maxVersion2 - fixedLength) throw malformed('too long')
  const length = fixedLength + rest
  if (head.length < length) return undefined
  // §2.2: LOCAL takes whatever addresses there are as unsaid.
  if (command === 0) return { header: 'local', length }
  const family = head[13] as number
  switch (family) {
    case 0x11:
      if (rest < 12) throw malformed('too short')
      return { header: addresses(head, 4), length }
    case 0x21:
      if (rest < 36) throw malformed('too short')
      return { header: addresses(head, 16), length }
    case 0x31:
      if (rest < 216) throw malformed('too short')
      return { header: 'local', length }
    case 0x00:
      return { header: 'local', length }
    default:
      throw malformed('not a stream')
  }
}

function addresses(head: Buffer, size: 4 | 16): ProxyHeader {
  const ports = fixedLength + size * 2
  return {
    source: { ip: printed(head.subarray(fixedLength, fixedLength + size)), port: head.readUInt16BE(ports) },
    destination: { ip: printed(head.subarray(fixedLength + size, ports)), port: head.readUInt16BE(ports + 2) },
  }
}

function printed(octets: Buffer): string {
  if (octets.length === 4) return octets.join('.')
  const groups: string[] = []
  for (let i = 0; i < 16; i += 2) groups.push(octets.readUInt16BE(i).toString(16))
  return mapped(octets) ?? plainAddress(groups.join(':'))
}

function mapped(octets: Buffer): string | undefined {
  const isMapped = octets.subarray(0, 10).every(octet => octet === 0) && octets.readUInt16BE(10) === 0xffff
  return isMapped ? octets.subarray(12).join('.') : undefined
}

/** Takes the header off a socket; what came behind it is put back. Rejects at the first wrong octet, at the end of the stream, and after `within` milliseconds. */
export function readProxyHeader(socket: Socket, within: number, clock: Clock): Promise<ProxyHeader> {
  return new Promise((resolve, reject) => {
    let head: Buffer = Buffer.alloc(0)
    const settle = (outcome: () => void) => {
      cancel()
      socket.off('readable', read)
      socket.off('end', gone)
      socket.off('close', gone)
      outcome()
    }
    const read = () => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        head = head.length === 0 ? chunk : Buffer.concat([head, chunk])
        try {
          const found = parseProxyHeader(head)
          if (found === undefined) continue
          const rest = head.subarray(found.length)
          settle(() => {
            if (rest.length > 0) socket.unshift(rest)
            resolve(found.header)
          })
        } catch (error) {
          settle(() => reject(error as Error))
        }
        return
      }
    }
    const gone = () => settle(() => reject(malformed('the connection ended')))
    const cancel = clock.after(within, () => settle(() => reject(malformed('it did not come in time'))))
    socket.on('readable', read)
    socket.once('end', gone)
    socket.once('close', gone)
    read()
  })
}
