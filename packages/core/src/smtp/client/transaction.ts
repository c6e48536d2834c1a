// One mail transaction (RFC 5321 §3.3): the envelope and DATA in one write where the peer pipelines, or chunks by
// BDAT; each recipient's fate reported as it becomes known, LMTP's one by one. Never sends a dot behind half a message.

import type { RemoteReply } from '@posthorn/mail'
import {
  asBuffer,
  bdat,
  type Content,
  Counter,
  coalesced,
  gather,
  Inspector,
  inOne,
  lengthOf,
  Stuffer,
  stuffed,
} from './body.ts'
import { envelope, type Mail, type MailRecipient } from './envelope.ts'
import { type Phase, SmtpFailure, type Timeouts } from './failure.ts'
import { bareLineEnds, lacking, mustLook, type Offers, type Unsent, unfit, unreadable } from './requirements.ts'
import type { Wire } from './wire.ts'

/**
 * What became of a recipient. `accepted`: the peer is responsible, `dsn`: for reports too (RFC 3461 §5.2.2). `refused`:
 * by that reply. `unsent`: by us, since the peer lacks what the message needs, or the message could not be read.
 */
export type Answer =
  | { readonly kind: 'accepted'; readonly reply: RemoteReply; readonly dsn: boolean }
  | { readonly kind: 'refused'; readonly reply: RemoteReply; readonly others: boolean }
  | Unsent

/** `index`: of the recipient. Called once for each. */
export type Report = (index: number, answer: Answer) => void

/** What a transaction needs of its connection. */
export interface Link extends Offers {
  readonly wire: Wire
  readonly lmtp: boolean
  readonly timeouts: Timeouts
  readonly hop: { readonly chunking?: boolean }
  readonly recipientMax: number
  /** Used so lately that the peer has hardly closed it since. */
  readonly hot: boolean
  dirty: boolean
}

/** BDAT with the envelope, before a reply came: for bodies that are cheap to send in vain. */
const eagerMax = 16_384
/** BDAT chunks on their way without a reply. */
const window = 8

/** Runs one. Rejects with SmtpFailure when the connection ended before every recipient was reported. */
export function transact(link: Link, mail: Mail, to: readonly MailRecipient[], report: Report): Promise<void> {
  return new Transaction(link, mail, to, report).run()
}

class Transaction {
  readonly #link: Link
  readonly #wire: Wire
  readonly #mail: Mail
  readonly #to: readonly MailRecipient[]
  readonly #report: Report
  readonly #pipelining: boolean
  readonly #binary: boolean
  /** Those that go out, by index. */
  #sent: readonly number[] = []
  /** Those whose RCPT was accepted and whose fate is open. */
  #accepted: number[] = []

  constructor(link: Link, mail: Mail, to: readonly MailRecipient[], report: Report) {
    this.#link = link
    this.#wire = link.wire
    this.#mail = mail
    this.#to = to
    this.#report = report
    this.#pipelining = link.keywords.has('PIPELINING')
    this.#binary = mail.params.body === 'binarymime'
  }

  async run(): Promise<void> {
    const { params, from, size } = this.#mail
    const link = this.#link
    const hopeless = lacking(link, params, from, size)
    if (hopeless !== undefined) return this.#all(hopeless)
    const chunks = this.#binary || (link.keywords.has('CHUNKING') && link.hop.chunking !== false)
    if (size > inOne) return this.#large(chunks)
    const pieces = this.#mail.pieces ?? (await this.#gather())
    if (pieces === undefined || lengthOf(pieces) !== size) return this.#all(unreadable)
    let eightBit = this.#mail.content === '8bit'
    if (this.#mail.content === undefined || mustLook(link, this.#mail)) {
      const inspector = new Inspector()
      for (const piece of pieces) inspector.see(asBuffer(piece))
      const content = inspector.end()
      const refusal = unfit(link, params, content)
      if (refusal !== undefined) return this.#all(refusal)
      eightBit = content.eightBit
    }
    const lines = this.#envelope(eightBit)
    if (lines === undefined) return
    if (!chunks) return this.#data(lines, stuffed(pieces))
    if (this.#pipelining && !link.lmtp && size <= eagerMax && link.hot) return this.#eager(lines, pieces)
    if (await this.#open(lines)) await this.#end(bdat(pieces, true), `BDAT ${size} LAST`)
  }

  async #large(chunks: boolean): Promise<void> {
    let eightBit = this.#mail.content === '8bit'
    if (mustLook(this.#link, this.#mail)) {
      const content = await this.#survey()
      const refusal = content === undefined ? unreadable : unfit(this.#link, this.#mail.params, content)
      if (refusal !== undefined) return this.#all(refusal)
      eightBit = content?.eightBit ?? false
    }
    const lines = this.#envelope(eightBit)
    if (lines === undefined) return
    if (!chunks) return this.#data(lines, undefined)
    if (await this.#open(lines)) await this.#chunks()
  }

  /** Writes down MAIL and RCPT; reports those who cannot go. Undefined when nobody can. */
  #envelope(eightBit: boolean): readonly string[] | undefined {
    const { lines, sent, unsent } = envelope(this.#link, this.#mail, this.#to, eightBit && !this.#binary)
    for (const [index, why] of unsent) this.#report(index, why)
    this.#sent = sent
    return sent.length === 0 ? undefined : lines
  }

  /** DATA: `body` stuffed and ended, or undefined to stream it. */
  async #data(lines: readonly string[], body: Buffer | undefined): Promise<void> {
    const { timeouts, lmtp } = this.#link
    const corked = this.#pipelining
    if (corked) this.#write([...lines, 'DATA'])
    await this.#replies(lines, corked)
    if (this.#accepted.length === 0 && !corked) return
    if (!corked) this.#line('DATA')
    const reply = await this.#read('data', timeouts.data)
    if (reply.code >= 400) return this.#refuse(reply)
    if (reply.code !== 354) throw this.#wire.outOfStep('data', `${reply.code} in answer to DATA`)
    if (this.#accepted.length === 0) {
      // RFC 2920 §3.1: told to go ahead for nobody, a client ends the data at once. In LMTP no reply would come to it.
      if (lmtp) throw this.#wire.outOfStep('data', '354 without a recipient')
      this.#wire.send('.\r\n', 1)
      await this.#read('dot', timeouts.dot)
      return
    }
    if (body !== undefined) return this.#end(body, `(${body.length} octets)`)
    return this.#stream()
  }

  /** The body after 354, from wherever it is kept. */
  async #stream(): Promise<void> {
    const { timeouts } = this.#link
    const wire = this.#wire
    const look = this.#passing()
    const stuffer = new Stuffer()
    let readable = true
    try {
      for await (const chunk of this.#mail.open()) {
        const bytes = asBuffer(chunk)
        look.see(bytes)
        if (!look.clean || look.octets > this.#mail.size) break
        if (!wire.send(stuffer.push(bytes), 0)) await wire.drained(timeouts.block)
        if (wire.interrupted) break
      }
    } catch {
      readable = false
    }
    if (wire.interrupted) return this.#interrupted()
    if (!readable) return this.#abandon(unreadable)
    if (!look.end().clean) return this.#abandon(bareLineEnds)
    if (look.octets !== this.#mail.size) return this.#abandon(unreadable)
    return this.#end(Buffer.from(stuffer.end()), `(${this.#mail.size} octets)`)
  }

  /** What was sent cannot be unsent, so no dot: the connection is cut, and the peer forgets the message. */
  #abandon(why: Unsent): void {
    this.#wire.fail('aborted', why.text)
    this.#rest(why)
  }

  /** The peer answered before the end of the body, or is gone. */
  async #interrupted(): Promise<void> {
    const reply = this.#wire.early('data') ?? (await this.#read('data', this.#link.timeouts.data))
    const failure = reply.code < 400 ? this.#wire.outOfStep('data') : this.#wire.refused(reply)
    if (reply.code < 400 || reply.code === 421) throw failure
    this.#refuse(reply)
  }

  /** Envelope and body in one write (RFC 3030 §2, RFC 2920). The final reply is outstanding from the first octet on. */
  async #eager(lines: readonly string[], pieces: readonly Uint8Array[]): Promise<void> {
    const { timeouts, dirty } = this.#link
    const before = dirty ? ['RSET', ...lines] : lines
    this.#told(before)
    this.#wire.told(`BDAT ${this.#mail.size} LAST`)
    this.#wire.send(bdat(pieces, true, `${before.join('\r\n')}\r\n`), before.length + 1, true)
    await this.#replies(lines, true)
    const reply = await this.#read('dot', timeouts.dot)
    this.#wire.settled()
    if (this.#accepted.length === 0) return
    // RFC 3030 §2: behind a chunk that failed, RSET.
    this.#link.dirty = reply.code >= 400
    this.#answer(reply)
  }

  /** Chunks as the body comes; the last one is known by what follows it. */
  async #chunks(): Promise<void> {
    const look = this.#passing()
    const wire = this.#wire
    let held: Buffer | undefined
    let owed = 0
    let wrong: Unsent | RemoteReply | undefined
    const settle = async (most: number) => {
      while (owed > most) {
        const reply = await this.#read('data', this.#link.timeouts.data)
        owed--
        if (reply.code >= 400) wrong ??= reply
      }
    }
    try {
      for await (const chunk of coalesced(this.#mail.open(), inOne)) {
        look.see(chunk)
        if (!look.clean || look.octets > this.#mail.size) break
        if (held !== undefined) {
          wire.told(`BDAT ${held.length}`)
          const room = wire.send(bdat([held], false), 1)
          owed++
          if (!room) await wire.drained(this.#link.timeouts.block)
          await settle(this.#pipelining ? window : 0)
        }
        held = chunk
        if (wrong !== undefined || wire.interrupted) break
      }
    } catch (error) {
      if (error instanceof SmtpFailure) throw error
      wrong ??= unreadable
    }
    if (wire.interrupted) return this.#interrupted()
    await settle(0)
    if (!look.end().clean) wrong ??= bareLineEnds
    if (look.octets !== this.#mail.size) wrong ??= unreadable
    if (wrong !== undefined) {
      // Without a LAST nothing is taken; RSET goes before the next message.
      if ('kind' in wrong) this.#rest(wrong)
      else this.#refuse(wrong)
      return
    }
    const last = held ?? Buffer.alloc(0)
    await this.#end(bdat([last], true), `BDAT ${last.length} LAST`)
  }

  /** The last octets, and what the peer says to the message. */
  async #end(bytes: Buffer, shown: string): Promise<void> {
    const { timeouts, lmtp } = this.#link
    const accepted = this.#accepted
    const replies = lmtp ? accepted.length : 1
    this.#wire.told(shown)
    this.#wire.send(bytes, replies, true)
    if (!lmtp) {
      const reply = await this.#read('dot', timeouts.dot)
      this.#wire.settled()
      this.#link.dirty = false
      return this.#answer(reply)
    }
    // RFC 2033 §4.2: a reply for each RCPT that was accepted, in their order.
    const dsn = this.#link.keywords.has('DSN')
    while (this.#accepted.length > 0) {
      const reply = await this.#read('dot', timeouts.dot)
      const index = this.#accepted.shift() as number
      if (this.#accepted.length === 0) this.#wire.settled()
      this.#report(index, reply.code < 300 ? { kind: 'accepted', reply, dsn } : refused(reply, true))
    }
    this.#link.dirty = false
  }

  #answer(reply: RemoteReply): void {
    if (reply.code >= 400) this.#refuse(reply)
    else if (reply.code >= 300) throw this.#wire.outOfStep('dot', `${reply.code} in answer to a message`)
    else this.#rest({ kind: 'accepted', reply, dsn: this.#link.keywords.has('DSN') })
  }

  /** The envelope alone; whether there is somebody to send the body to. */
  async #open(lines: readonly string[]): Promise<boolean> {
    if (this.#pipelining) this.#write(lines)
    await this.#replies(lines, this.#pipelining)
    return this.#accepted.length > 0
  }

  /** Reads the replies to RSET, MAIL and RCPT; writes each first, where the peer takes one command at a time. */
  async #replies(lines: readonly string[], written: boolean): Promise<void> {
    const link = this.#link
    const { timeouts } = link
    if (link.dirty) {
      if (!written) this.#wire.send('RSET\r\n', 1)
      const reply = await this.#read('mail', timeouts.mail)
      if (reply.code !== 250) throw this.#wire.refused(reply, 'RSET failed')
    }
    // Until the message is through, something may be left open.
    link.dirty = true
    if (!written) this.#line(lines[0] as string)
    const mail = await this.#read('mail', timeouts.mail)
    if (mail.code >= 400) this.#all(refused(mail, false))
    else if (mail.code >= 300) throw this.#wire.outOfStep('mail', `${mail.code} in answer to MAIL`)
    for (let n = 0; n < this.#sent.length; n++) {
      if (!written) {
        if (mail.code >= 400) return
        this.#line(lines[n + 1] as string)
      }
      const reply = await this.#read('rcpt', timeouts.rcpt)
      if (mail.code >= 400) continue
      if (reply.code < 300) this.#accepted.push(this.#sent[n] as number)
      else if (reply.code < 400) throw this.#wire.outOfStep('rcpt', `${reply.code} in answer to RCPT`)
      else this.#report(this.#sent[n] as number, refused(reply, this.#accepted.length > 0))
    }
  }

  /** The next reply, without a promise where it is there: one write brings one packet of replies. */
  #read(phase: Phase, timeout: number): RemoteReply | Promise<RemoteReply> {
    const reply = this.#wire.take(phase)
    return reply === undefined ? this.#wire.read(phase, timeout).then(this.#checked) : this.#checked(reply)
  }

  readonly #checked = (reply: RemoteReply): RemoteReply => {
    if (reply.code !== 421) return reply
    // RFC 5321 §3.8: 421 may answer any command; what comes next is the end of the connection. In LMTP the others of
    // this message have no reply yet.
    if (reply.phase !== 'dot' || !this.#link.lmtp) this.#wire.settled()
    throw this.#wire.refused(reply)
  }

  #write(lines: readonly string[]): void {
    const before = this.#link.dirty ? ['RSET', ...lines] : lines
    this.#told(before)
    this.#wire.send(`${before.join('\r\n')}\r\n`, before.length)
  }

  #line(line: string): void {
    this.#wire.told(line)
    this.#wire.send(`${line}\r\n`, 1)
  }

  #told(lines: readonly string[]): void {
    if (this.#wire.dialogue !== undefined) this.#wire.told(lines.join('\r\n'))
  }

  #refuse(reply: RemoteReply): void {
    this.#rest(refused(reply, false))
  }

  /** Reports all that were accepted and not answered. */
  #rest(answer: Answer): void {
    const accepted = this.#accepted
    this.#accepted = []
    for (const index of accepted) this.#report(index, answer)
  }

  /** Reports everybody, or everybody that went out. */
  #all(answer: Answer): void {
    if (this.#sent.length > 0) for (const index of this.#sent) this.#report(index, answer)
    else for (let i = 0; i < this.#to.length; i++) this.#report(i, answer)
  }

  async #gather(): Promise<readonly Uint8Array[] | undefined> {
    try {
      return await gather(this.#mail.open(), this.#mail.size)
    } catch {
      return undefined
    }
  }

  /** What looks at a large message on its way out: only counts, where its content is known, or may be anything. */
  #passing(): Inspector | Counter {
    return this.#binary || this.#mail.content !== undefined ? new Counter() : new Inspector()
  }

  /** Reads a large message once, before anything is sent of it. */
  async #survey(): Promise<Content | undefined> {
    const inspector = new Inspector()
    try {
      for await (const chunk of this.#mail.open()) {
        inspector.see(asBuffer(chunk))
        if (inspector.octets > this.#mail.size) return undefined
      }
    } catch {
      return undefined
    }
    return inspector.octets === this.#mail.size ? inspector.end() : undefined
  }
}

function refused(reply: RemoteReply, others: boolean): Answer {
  return { kind: 'refused', reply, others }
}
