// One message in a worker: DKIM and ARC by the library's verifier, fed chunk by chunk, then DMARC and BIMI. The library
// hashes every field, but reads only those that it needs and that are of a sane size.
import { crc32 } from 'node:zlib'
import { scanHeader } from '@posthorn/mail'
import { arc as checkArc } from 'mailauth/lib/arc/index.js'
import type { DkimVerifier, Row } from 'mailauth/lib/dkim/dkim-verifier.js'
import { arcOf, highestInstance, instanceOf } from './arc.ts'
import { authorsOf } from './authors.ts'
import { clip, oneLine } from './clip.ts'
import { checkDmarc } from './dmarc.ts'
import type { Bimi } from './keys.ts'
import { type Keys, withKnownKeys } from './known-keys.ts'
import { type Ask, resolverFor } from './resolver.ts'
import { dkimOf } from './signatures.ts'
import { isBase64, Verifier } from './verifier.ts'
import type { VerifyJob, VerifyOutcome } from './wire.ts'

/** Octets of a field that the library is to read: its expressions are worse than linear in white space. */
const longestField = 16_384

/** RFC 8617 §4.2.1: 50 sets of three. */
const mostArcFields = 150

export class Verification {
  readonly #job: VerifyJob
  readonly #ask: Ask
  readonly #keys: Keys
  readonly #verifier: DkimVerifier
  readonly #secureKeys = new Set<string>()
  #rows: Row[] | undefined
  #more = 0
  #arcFault: string | undefined
  #draw = 0

  constructor(job: VerifyJob, ask: Ask) {
    this.#job = job
    this.#ask = ask
    const resolver = resolverFor('key', async (name, ...how) => {
      const answer = await ask(name, ...how)
      if ('records' in answer && answer.secure) this.#secureKeys.add(name)
      return answer
    })
    const { minKeyBits, maxKeyBits, now } = job
    this.#verifier = new Verifier({ resolver, minBitLength: minKeyBits, strict: true, curTime: now })
    this.#keys = withKnownKeys(this.#verifier.keyCache, resolver, maxKeyBits)
    this.#verifier.keyCache = this.#keys
    this.#verifier.arc.keyCache = this.#keys
  }

  /** The first chunk holds the whole header. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#rows !== undefined)
      return this.#verifier.nextChunk(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
    const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    const { fields, end, body } = scanHeader(header)
    this.#rows = fields.map(({ name, start, end }) => ({
      key: name,
      casedKey: name,
      line: header.subarray(start, lineEnd(header, start, end)),
    }))
    this.#draw = crc32(header.subarray(0, end)) % 100
    const original = header.subarray(0, body)
    await this.#read(this.#rows, original)
    this.#fetchKeys()
    if (body < header.length) await this.#verifier.nextChunk(header.subarray(body))
  }

  async end(): Promise<VerifyOutcome> {
    if (this.#rows === undefined) await this.write(new Uint8Array())
    const verifier = this.#verifier
    const rows = this.#rows ?? []
    await verifier.finalChunk()
    const dkim = dkimOf(verifier.results, this.#more, this.#secureKeys)
    const from = rows.filter(({ key }) => key === 'from')
    const authors = authorsOf(`${from[0]?.line}`, verifier.headerFrom)
    const { dmarc, response } = await checkDmarc(
      {
        from: authors,
        fromFields: from.length,
        spf: this.#job.spf,
        dkim: dkim.signatures.map(({ result, domain = '' }) => ({ result, domain })),
        draw: this.#draw,
      },
      this.#ask,
    )
    const arc = await this.#arc(rows, dmarc.domain)
    const [address, other] = authors
    const author = address === undefined || other !== undefined ? {} : { author: clip(address, 320) }
    if (!this.#job.bimi) return { dkim, arc, dmarc, ...author }
    return { dkim, arc, dmarc, ...author, bimi: await this.#bimi(response, rows) }
  }

  /**
   * The library reads some rows, their white space squeezed. What it hashes is the whole header as it came: signatures
   * may name fields that it need not read.
   */
  async #read(rows: Row[], original: Buffer): Promise<void> {
    const verifier = this.#verifier
    const asWritten = new Map<Buffer, Buffer>()
    const readable = this.#readable(rows)
    const newest = highestInstance(readable)
    const parsed = readable.map(row => {
      const line = sealedOnly(row, newest) ?? squeezed(row.line)
      asWritten.set(line, row.line)
      return { ...row, line }
    })
    await verifier.messageHeaders({ parsed, original })
    verifier.headers = { parsed: rows, original }
    const sets = verifier.arc.chain === false ? [] : verifier.arc.chain
    const odd = sets.find(set => !isBase64(set['arc-seal']?.parsed?.b?.value))
    if (odd !== undefined) verifier.arc.error = new Error(`i=${odd.i} as invalid b=`)
    const arcFields = sets.flatMap(set => [
      set['arc-seal'],
      set['arc-message-signature'],
      set['arc-authentication-results'],
    ])
    for (const field of [...verifier.signatureHeaders, ...arcFields]) {
      if (field !== undefined) field.original = asWritten.get(field.original) ?? field.original
    }
  }

  /** The rest is for hashing only. */
  #readable(rows: readonly Row[]): Row[] {
    const arcRows = rows.filter(({ key }) => isArc(key))
    if (arcRows.length > mostArcFields) this.#arcFault = 'more than 50 sets'
    else if (arcRows.some(({ line }) => line.length > longestField)) this.#arcFault = 'field too large'
    const [, secondFrom] = rows.filter(({ key }) => key === 'from')
    let signatures = 0
    return rows.filter(({ key, line }) => {
      if (isArc(key)) return this.#arcFault === undefined
      if (key === 'from') return secondFrom === undefined && line.length <= longestField
      if (key !== 'dkim-signature') return false
      if (line.length <= longestField && signatures++ < this.#job.signatures) return true
      this.#more++
      return false
    })
  }

  /** All keys are asked for at once, while the body is still on its way. */
  #fetchKeys(): void {
    const { keyCache, minBitLength, signatureHeaders } = this.#verifier
    for (const { type, selector, signingDomain, hashAlgo, skip, invalid } of signatureHeaders) {
      if (skip !== undefined || invalid !== undefined) continue
      void keyCache.get(type, `${selector}._domainkey.${signingDomain}`, minBitLength, { strict: true, hashAlgo })
    }
  }

  async #arc(rows: readonly Row[], author: string | undefined) {
    const instance = highestInstance(rows)
    if (this.#arcFault !== undefined) return { result: 'fail' as const, instance, reason: this.#arcFault }
    const data = this.#verifier.arc
    const { minKeyBits, trustedForwarders } = this.#job
    const { status } = await checkArc(data, { resolver: this.#keys.resolver, minBitLength: minKeyBits, strict: true })
    return arcOf(status, data, instance, author, trustedForwarders, this.#keys.sealUnsure)
  }

  async #bimi(dmarc: unknown, rows: readonly Row[]): Promise<Bimi> {
    const { bimi } = await import('mailauth/lib/bimi/index.js')
    const parsed = rows.filter(
      ({ key, line }) => (key === 'from' || key === 'bimi-selector') && line.length <= longestField,
    )
    const found = await bimi({
      dmarc,
      headers: { parsed, original: Buffer.alloc(0) },
      resolver: resolverFor('bimi', this.#ask),
      strict: true,
      bimiWithAlignedDkim: false,
    })
    if (found === false) return { result: 'skipped', reason: 'no author domain' }
    const { result, comment, header } = found.status
    return {
      result: result as Bimi['result'],
      ...(header?.d === undefined ? {} : { domain: clip(header.d, 253) }),
      ...(header?.selector === undefined ? {} : { selector: clip(header.selector, 63) }),
      ...(found.location === undefined ? {} : { location: oneLine(found.location, 500) }),
      ...(found.authority === undefined ? {} : { authority: oneLine(found.authority, 500) }),
      ...(comment === undefined ? {} : { reason: oneLine(comment, 120) }),
    }
  }
}

/**
 * RFC 8617 §5.2 step 4: only the newest message signature counts. Of an older one the library, which would judge its
 * algorithm and h= too, gets to read that it is there.
 */
function sealedOnly(row: Row, newest: number): Buffer | undefined {
  const instance = row.key === 'arc-message-signature' ? instanceOf(row) : 0
  if (instance === 0 || instance === newest) return undefined
  return Buffer.from(`ARC-Message-Signature: i=${instance}; a=rsa-sha256`)
}

const isArc = (key: string) => /^arc-(?:seal|message-signature|authentication-results)$/.test(key)

/** A run of white space costs the library's expressions its square, and means no more than one space. */
function squeezed(line: Buffer): Buffer {
  const text = line.toString('latin1')
  return /[ \t\r\n]{64}/.test(text) ? Buffer.from(text.replace(/[ \t\r\n]+/g, ' '), 'latin1') : line
}

/** Without the line end that closes the field. */
function lineEnd(header: Buffer, start: number, end: number): number {
  let at = end
  if (at > start && header[at - 1] === 0x0a) at--
  if (at > start && header[at - 1] === 0x0d) at--
  return at
}
