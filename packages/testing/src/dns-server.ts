// A name server on loopback, UDP and TCP on one port, over the same tables as `fakeDns`: what resolvers are tested with.
// It knows no EDNS beyond the size of answers and no DNSSEC: AD is set where the table says secure.

import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import type { DnsType } from '@posthorn/core'
import * as packet from 'dns-packet'
import { negativeTtl, type ZoneRecord, type Zones, ZoneTable } from './zone.ts'

/** One question as it came. */
export interface DnsQuery {
  readonly name: string
  readonly type: DnsType
  readonly transport: 'udp' | 'tcp'
  /** The client's port. */
  readonly port: number
  readonly id: number
  /** AD was set, as by who wants to see it in the answer. */
  readonly ad: boolean
  /** What the client's EDNS says it takes by UDP; absent without EDNS. */
  readonly size?: number
}

/** What to do with a question other than answer it from the table. All that is given is done. */
export interface DnsAct {
  /** The answer waits for this. */
  readonly wait?: Promise<unknown>
  /** No answer; by TCP the connection is closed. */
  readonly drop?: boolean
  /** Sent before the answer: packets made of the right one, or octets. */
  readonly before?: readonly ('wrong-id' | 'wrong-name' | 'wrong-type' | 'a-query' | 'garbage' | Uint8Array)[]
  /** By UDP: an empty answer with TC set. */
  readonly truncate?: boolean
  /** Instead of an answer: 1 FORMERR, 2 SERVFAIL, 5 REFUSED … */
  readonly rcode?: number
  /** Instead of the table's answer: these octets, length and id ours. */
  readonly raw?: (query: Buffer) => Uint8Array
  /** The answer is changed before it is sent. */
  readonly change?: (answer: packet.Packet) => void
}

export interface DnsServerOptions {
  /** What answers say of names that do not say themselves: AD. Default false. */
  readonly secure?: boolean
  /** Asked for each question; `n` counts from 0. */
  readonly act?: (query: DnsQuery, n: number) => DnsAct | undefined
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Default: any that is free. */
  readonly port?: number
}

export interface DnsServer extends AsyncDisposable {
  readonly host: string
  readonly port: number
  /** `127.0.0.1:5353`, as `dns.servers` of a configuration wants it. */
  readonly address: string
  readonly queries: readonly DnsQuery[]
  replace(zones: Zones): void
}

/** Starts it; rejects where no port is free for both. Faults of a table: servfail, refused; others are silence. */
export async function dnsServer(zones: Zones = {}, options: DnsServerOptions = {}): Promise<DnsServer> {
  const host = options.host ?? '127.0.0.1'
  let table = new ZoneTable(zones)
  const queries: DnsQuery[] = []
  const open = new Set<Socket>()

  const answer = async (
    message: Buffer,
    transport: 'udp' | 'tcp',
    port: number,
    send: (octets: Uint8Array) => void,
  ): Promise<void> => {
    const asked = packet.decode(message)
    const [question] = asked.questions ?? []
    if (question === undefined) return
    const edns = asked.additionals?.find(record => record.type === 'OPT')
    const query: DnsQuery = {
      name: question.name.toLowerCase(),
      type: question.type as DnsType,
      transport,
      port,
      id: asked.id ?? 0,
      ad: ((asked.flags ?? 0) & packet.AUTHENTIC_DATA) !== 0,
      ...(edns === undefined ? {} : { size: (edns as packet.OptAnswer).udpPayloadSize }),
    }
    queries.push(query)
    const act = options.act?.(query, queries.length - 1) ?? {}
    await act.wait
    const found = table.ask(query.name, query.type, options.secure)
    const silent = typeof found === 'string' && found !== 'servfail' && found !== 'refused'
    if (act.drop || (silent && act.rcode === undefined && act.raw === undefined)) return
    const reply: packet.Packet = {
      type: 'response',
      id: query.id,
      flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE,
      questions: [question],
      answers: [],
      authorities: [],
      additionals: edns === undefined ? [] : [opt],
    }
    if (act.rcode !== undefined) setRcode(reply, act.rcode)
    else if (typeof found === 'string') setRcode(reply, found === 'refused' ? 5 : 2)
    else {
      if (found.secure && query.ad) reply.flags = (reply.flags ?? 0) | packet.AUTHENTIC_DATA
      if (found.status === 'nxdomain') setRcode(reply, 3)
      reply.answers = found.records.map(wireRecord)
      if (found.status !== 'ok') reply.authorities = [soaOf(found.name)]
    }
    act.change?.(reply)
    for (const kind of act.before ?? []) send(typeof kind === 'string' ? wrong(reply, kind) : kind)
    let octets: Uint8Array = act.raw?.(message) ?? packet.encode(reply)
    if (transport === 'udp' && (act.truncate || octets.length > (query.size ?? 512))) {
      octets = packet.encode({
        ...reply,
        flags: (reply.flags ?? 0) | packet.TRUNCATED_RESPONSE,
        answers: [],
        authorities: [],
      })
    }
    send(octets)
  }

  const { udp, tcp } = await bind(host, options.port ?? 0)
  udp.on('message', (message, from) => {
    void answer(message, 'udp', from.port, octets => udp.send(octets, from.port, from.address, () => {})).catch(
      () => {},
    )
  })
  tcp.on('connection', socket => {
    open.add(socket)
    socket.on('error', () => {}).on('close', () => open.delete(socket))
    let rest = Buffer.alloc(0)
    socket.on('data', chunk => {
      rest = Buffer.concat([rest, chunk])
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
        const end = 2 + rest.readUInt16BE(0)
        const message = rest.subarray(2, end)
        rest = rest.subarray(end)
        let sent = false
        const send = (octets: Uint8Array) => {
          sent = true
          const length = Buffer.alloc(2)
          length.writeUInt16BE(octets.length)
          socket.write(Buffer.concat([length, octets]))
        }
        void answer(message, 'tcp', socket.remotePort ?? 0, send)
          .catch(() => {})
          .then(() => {
            if (!sent) socket.destroy()
          })
      }
    })
  })

  const { port } = udp.address()
  return {
    host,
    port,
    address: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
    queries,
    replace(next) {
      table = new ZoneTable(next)
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await Promise.all([new Promise<void>(done => udp.close(done)), new Promise(done => tcp.close(done))])
    },
  }
}

const opt = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: 1_232,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
} as packet.OptAnswer

function setRcode(reply: packet.Packet, rcode: number): void {
  reply.flags = ((reply.flags ?? 0) & ~0xf) | rcode
}

function wrong(reply: packet.Packet, kind: string): Uint8Array {
  const [question] = reply.questions ?? []
  const asked = question as packet.Question
  switch (kind) {
    case 'wrong-id':
      return packet.encode({ ...reply, id: ((reply.id ?? 0) + 1) & 0xffff })
    case 'wrong-name':
      return packet.encode({ ...reply, questions: [{ ...asked, name: `not-${asked.name}` }] })
    case 'wrong-type':
      return packet.encode({ ...reply, questions: [{ ...asked, type: asked.type === 'NS' ? 'A' : 'NS' }] })
    case 'a-query':
      return packet.encode({ ...reply, type: 'query' })
    default: {
      // The right header, and then nothing that makes sense.
      const octets = Buffer.from(packet.encode(reply))
      return Buffer.concat([octets.subarray(0, 12), Buffer.alloc(40, 0xff)])
    }
  }
}

function soaOf(name: string): packet.Answer {
  const data = {
    mname: 'ns.test',
    rname: 'hostmaster.test',
    serial: 1,
    refresh: 7_200,
    retry: 900,
    expire: 1_209_600,
    minimum: negativeTtl,
  }
  return { type: 'SOA', name: name === '' ? '.' : name, ttl: 3_600, data }
}

const dot = (name: string) => (name === '' ? '.' : name)

function wireRecord(record: ZoneRecord): packet.Answer {
  const { name, ttl } = record
  switch (record.type) {
    case 'TXT': {
      // Strings of at most 255 octets (RFC 1035 §3.3).
      const octets = Buffer.from(record.data, 'utf8')
      const data: Buffer[] = []
      for (let at = 0; at === 0 || at < octets.length; at += 255) data.push(octets.subarray(at, at + 255))
      return { type: 'TXT', name, ttl, data }
    }
    case 'MX':
      return { type: 'MX', name, ttl, data: { ...record.data, exchange: dot(record.data.exchange) } }
    case 'SRV':
      return { type: 'SRV', name, ttl, data: { ...record.data, target: dot(record.data.target) } }
    case 'TLSA': {
      const { usage, selector, matching, data } = record.data
      return {
        type: 'TLSA',
        name,
        ttl,
        data: { usage, selector, matchingType: matching, certificate: Buffer.from(data) },
      }
    }
    case 'CAA': {
      const { critical, tag, value } = record.data
      return {
        type: 'CAA',
        name,
        ttl,
        data: { issuerCritical: critical, flags: critical ? 128 : 0, tag: tag as 'issue', value },
      }
    }
    case 'SOA':
      return { type: 'SOA', name, ttl, data: { ...record.data, refresh: 7_200, retry: 900, expire: 1_209_600 } }
    case 'A':
    case 'AAAA':
      return { type: record.type, name, ttl, data: record.data }
    default:
      return { type: record.type, name, ttl, data: dot(record.data) } as packet.Answer
  }
}

async function bind(host: string, port: number): Promise<{ udp: UdpSocket; tcp: Server }> {
  for (let tries = 0; ; tries++) {
    const tcp = createServer()
    tcp.listen(port, host)
    await once(tcp, 'listening')
    const udp = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    try {
      const bound = once(udp, 'listening')
      udp.bind((tcp.address() as { port: number }).port, host)
      await bound
      return { udp, tcp }
    } catch (error) {
      // The port is free for TCP alone: try another.
      udp.close()
      await new Promise(done => tcp.close(done))
      if (port !== 0 || tries === 9) throw error
    }
  }
}
