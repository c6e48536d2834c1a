// Questions and answers on the wire, over dns-packet: what we send, which packets answer it, and what they say. Everything
// that arrives is hostile: what cannot be read, or answers something else, is not ours.
import { isUtf8 } from 'node:buffer'
import * as packet from 'dns-packet'
import type { DnsData, DnsType } from './contract.ts'

export interface Question {
  /** As `wireName` gives it. */
  readonly name: string
  readonly type: DnsType
}

/** What one packet says of a question. */
export type Reading =
  /** Not an answer to it, or not readable. */
  | { readonly kind: 'foreign' }
  /** To be asked again by TCP. */
  | { readonly kind: 'truncated' }
  | { readonly kind: 'answer'; readonly answer: WireAnswer }
  | { readonly kind: 'failed'; readonly why: 'servfail' | 'refused' | 'malformed' | 'no-edns'; readonly text: string }

export interface WireAnswer {
  readonly status: 'ok' | 'nodata' | 'nxdomain'
  readonly records: readonly DnsData[DnsType][]
  readonly name: string
  /** The AD bit, whoever set it. */
  readonly ad: boolean
  /** Seconds; `undefined`: negative, and nobody said for how long (RFC 2308 §5). */
  readonly ttl: number | undefined
  /** Octets of the packet. */
  readonly size: number
}

/** Octets that we take by UDP: what passes every network in one piece (RFC 9715 §3). */
export const udpSize = 1_232
/** Longer chains are loops in the making. */
const mostAliases = 8
/** Pointers in a row within one name. */
const mostPointers = 32
/** Octets of a packet that is read without a look at its pointers. */
const small = 4_096
const foreign: Reading = { kind: 'foreign' }

export function encodeQuestion({ name, type }: Question, id: number, edns: boolean): Buffer {
  const query: packet.Packet = {
    type: 'query',
    id,
    // RFC 6840 §5.7: AD in a question asks for AD in the answer, without the signatures.
    flags: packet.RECURSION_DESIRED | packet.AUTHENTIC_DATA,
    questions: [{ name, type, class: 'IN' }],
  }
  if (edns) {
    const opt = { type: 'OPT', name: '.', udpPayloadSize: udpSize, extendedRcode: 0, ednsVersion: 0, flags: 0 }
    query.additionals = [{ ...opt, flag_do: false, options: [] } as packet.OptAnswer]
  }
  return packet.encode(query)
}

/** What `octets` say to the question that was sent with `id`. Never throws. */
export function readAnswer(octets: Buffer, question: Question, id: number): Reading {
  // By far the most frequent mismatch, and the cheapest to see.
  if (octets.length < 12 || octets.readUInt16BE(0) !== id) return foreign
  if (octets.length > small && tangled(octets)) return foreign
  let reply: packet.DecodedPacket
  try {
    reply = packet.decode(octets)
  } catch {
    return foreign
  }
  // A record whose length lies would let us read the next ones from the wrong place.
  if (packet.decode.bytes !== octets.length) return foreign
  const flags = octets.readUInt16BE(2)
  if ((flags & 0xf800) !== 0x8000) return foreign
  const rcode = flags & 0xf
  const questions = reply.questions ?? []
  const [asked] = questions
  // A server that cannot read the question does not repeat it.
  if (asked === undefined ? rcode !== 1 && rcode !== 4 : questions.length !== 1 || !answers(asked, question))
    return foreign
  const extended = reply.additionals?.find(record => record.type === 'OPT')
  const code = rcode | (((extended as packet.OptAnswer | undefined)?.extendedRcode ?? 0) << 4)
  if (code === 0 || code === 3) {
    if (reply.flag_tc) return { kind: 'truncated' }
    return follow(reply, question, code === 3, octets.length)
  }
  // RFC 6891 §7: who does not know EDNS answers FORMERR, or NOTIMP; 16 is BADVERS.
  if (code === 1 || code === 4 || code === 16) {
    return { kind: 'failed', why: 'no-edns', text: 'could not read the question' }
  }
  if (code === 5) return { kind: 'failed', why: 'refused', text: 'refused' }
  return { kind: 'failed', why: 'servfail', text: code === 2 ? 'failed (SERVFAIL)' : `failed (code ${code})` }
}

/**
 * Whether compression pointers lead to pointers that lead to pointers: 64 KiB of them keep dns-packet busy for a second.
 * Nobody needs more than one; octets of texts that look like pointers make a few.
 */
function tangled(octets: Buffer): boolean {
  // What a pointer can reach.
  const depth = new Uint8Array(Math.min(octets.length, 0x4000))
  for (let at = 12; at + 1 < depth.length; at++) {
    const octet = octets[at] as number
    if (octet < 0xc0) continue
    const target = ((octet & 0x3f) << 8) | (octets[at + 1] as number)
    if (target >= at) continue
    const hops = (depth[target] as number) + 1
    if (hops > mostPointers) return true
    depth[at] = hops
  }
  return false
}

const answers = (asked: packet.Question, { name, type }: Question) =>
  asked.name.toLowerCase() === name && asked.type === type && (asked.class ?? 'IN') === 'IN'

/** Follows CNAMEs within the answer to the records that were asked for. */
function follow(reply: packet.DecodedPacket, { name, type }: Question, nxdomain: boolean, size: number): Reading {
  const aliases = new Map<string, { readonly target: string; readonly ttl: number }>()
  const found = new Map<string, { readonly records: DnsData[DnsType][]; ttl: number }>()
  for (const record of reply.answers ?? []) {
    if (record.type === 'OPT' || (record.type !== type && record.type !== 'CNAME')) continue
    if ((record as { class?: string }).class !== 'IN') continue
    const owner = record.name.toLowerCase()
    const ttl = seconds(record.ttl)
    const data = dataOf(record.type, record)
    // A name that could not be asked for, or an address in four octets that is none: as if it were not there.
    if (data === undefined) continue
    if (record.type === 'CNAME' && type !== 'CNAME') {
      aliases.set(owner, { target: data as string, ttl })
      continue
    }
    const known = found.get(owner)
    if (known === undefined) found.set(owner, { records: [data], ttl })
    else {
      known.records.push(data)
      known.ttl = Math.min(known.ttl, ttl)
    }
  }
  let at = name
  let ttl = Number.POSITIVE_INFINITY
  for (let hops = 0; !found.has(at); hops++) {
    const alias = aliases.get(at)
    if (alias === undefined) break
    if (hops === mostAliases)
      return { kind: 'failed', why: 'malformed', text: `answered with more than ${mostAliases} CNAMEs` }
    ttl = Math.min(ttl, alias.ttl)
    at = alias.target
  }
  const ad = reply.flag_ad
  const there = found.get(at)
  if (there !== undefined) {
    const answer = { status: 'ok', records: Object.freeze(there.records), name: at, ad, size } as const
    return { kind: 'answer', answer: { ...answer, ttl: Math.min(ttl, there.ttl) } }
  }
  const negative = negativeTtl(reply.authorities ?? [])
  // Where to ask instead, not an answer: from a server that does not recurse and has not the zone.
  if (!nxdomain && negative === undefined && !reply.flag_aa && !reply.flag_ra) {
    return { kind: 'failed', why: 'refused', text: 'does not recurse' }
  }
  const status = nxdomain ? 'nxdomain' : 'nodata'
  const answer = { status, records: Object.freeze([]), name: at, ad, size } as const
  return { kind: 'answer', answer: { ...answer, ttl: negative === undefined ? undefined : Math.min(ttl, negative) } }
}

/** RFC 2308 §5: the lesser of the SOA's own TTL and its minimum. */
function negativeTtl(authorities: readonly packet.Answer[]): number | undefined {
  const soa = authorities.find(record => record.type === 'SOA')
  return soa === undefined ? undefined : Math.min(seconds(soa.ttl), seconds((soa as packet.SoaAnswer).data.minimum))
}

// RFC 2181 §8: a TTL with its highest bit set is zero.
const seconds = (ttl: number | undefined) => (ttl === undefined || ttl > 0x7fff_ffff ? 0 : ttl)

// Nothing that means something in a log line or a header: no space, control character, quote, comment or bracket.
const plain = /^[a-z0-9!#$%&'*+./:=?^_`{|}~-]*$/

function host(name: string): string | undefined {
  const lower = name.toLowerCase()
  return lower === '.' ? '' : plain.test(lower) ? lower : undefined
}

/** The data of a record in our form; `undefined` for what is none. */
function dataOf(type: string, record: packet.Answer): DnsData[DnsType] | undefined {
  const { data } = record as { readonly data: unknown }
  switch (type) {
    case 'A':
    case 'AAAA':
      return data as string
    case 'TXT':
      return text(Buffer.concat(data as Buffer[]))
    case 'MX': {
      const { preference = 0, exchange } = data as packet.MxData
      const name = host(exchange)
      return name === undefined ? undefined : Object.freeze({ preference, exchange: name })
    }
    case 'SRV': {
      const { priority = 0, weight = 0, port, target } = data as packet.SrvData
      const name = host(target)
      return name === undefined ? undefined : Object.freeze({ priority, weight, port, target: name })
    }
    case 'TLSA': {
      const { usage, selector, matchingType: matching, certificate } = data as packet.TlsaData
      return Object.freeze({ usage, selector, matching, data: new Uint8Array(certificate) })
    }
    case 'CAA': {
      const { flags = 0, tag, value } = data as packet.CaaData & { readonly flags?: number }
      return Object.freeze({ critical: (flags & 128) !== 0, tag: tag.toLowerCase(), value })
    }
    case 'SOA': {
      const { mname, rname, serial = 0, minimum = 0 } = data as packet.SoaData
      // The local part of an address is its first label: a dot in it comes with a backslash.
      const mailbox = host(rname.replaceAll('\\.', '.')) === undefined ? '' : rname.toLowerCase()
      return Object.freeze({ mname: host(mname) ?? '', rname: mailbox, serial, minimum })
    }
    default:
      return host(data as string)
  }
}

const text = (octets: Buffer) => octets.toString(isUtf8(octets) ? 'utf8' : 'latin1')
