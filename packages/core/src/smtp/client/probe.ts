// Asks a peer about recipients without sending a message: MAIL, and a RCPT for each as it becomes known. For call-outs
// and for passing a client's transaction through.
import type { Mailbox, MailParams, RemoteReply } from '@posthorn/mail'
import type { SmtpConnection } from './connection.ts'
import { envelope, type MailRecipient } from './envelope.ts'
import type { Phase } from './failure.ts'
import { addressNeedsUtf8, addressUnfit } from './requirements.ts'
import { onStop, type Stopping } from './stop.ts'

/** One transaction on a leased connection. One call at a time. What is asked here is no promise to send. */
export class Probe {
  readonly #link: SmtpConnection
  readonly #from: Mailbox | null
  readonly #params: MailParams
  #mail: RemoteReply | undefined

  constructor(link: SmtpConnection, from: Mailbox | null, params: MailParams) {
    this.#link = link
    this.#from = from
    this.#params = params
  }

  /**
   * The peer's reply to the recipient; to MAIL, phase `mail`, where it refuses that. What this peer cannot be asked is
   * refused with 553 5.6.7. Rejects with SmtpFailure.
   */
  async ask(to: MailRecipient, stop?: Stopping): Promise<RemoteReply> {
    const { wire, timeouts } = this.#link
    const { size = 0 } = this.#params
    const { lines, unsent } = envelope(
      this.#link,
      { from: this.#from, params: this.#params, size, open: nothing },
      [to],
      false,
    )
    const [mail, rcpt] = lines
    const [cannot] = unsent
    if (mail === undefined || rcpt === undefined || cannot !== undefined) {
      const [, why] = cannot ?? [0, addressUnfit]
      const code = why === addressNeedsUtf8 ? '5.6.7' : '5.1.3'
      return { host: wire.host, phase: 'rcpt', code: 553, enhanced: code, lines: [why.text] }
    }
    const release = onStop(stop, reason => wire.fail('aborted', 'stopped while asking', reason))
    try {
      if (this.#mail === undefined) {
        if (this.#link.dirty) {
          const reset = await this.#say('RSET', 'mail', timeouts.mail)
          if (reset.code !== 250) throw wire.refused(reset, 'RSET failed')
        }
        this.#link.dirty = true
        this.#mail = await this.#say(mail, 'mail', timeouts.mail)
      }
      if (this.#mail.code >= 300) return this.#mail
      const reply = await this.#say(rcpt, 'rcpt', timeouts.rcpt)
      if (reply.code >= 500) this.#link.refused++
      return reply
    } finally {
      release()
    }
  }

  /** Leaves nothing open at the peer. Call it before the connection is released. Never rejects. */
  async end(): Promise<void> {
    const { timeouts } = this.#link
    this.#link.uses++
    if (!this.#link.dirty || !this.#link.usable) return
    await this.#say('RSET', 'mail', timeouts.quit).then(
      reply => {
        if (reply.code === 250) this.#link.dirty = false
      },
      () => {},
    )
  }

  async #say(line: string, phase: Phase, timeout: number): Promise<RemoteReply> {
    const { wire } = this.#link
    wire.told(line)
    wire.send(`${line}\r\n`, 1)
    const reply = await wire.read(phase, timeout)
    if (reply.code === 421) throw wire.refused(reply)
    if (reply.code >= 300 && reply.code < 400) throw wire.outOfStep(phase, `${reply.code} in answer to ${phase}`)
    return reply
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
