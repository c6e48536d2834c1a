import type { Answer, Mail, MailRecipient, NextHop, SmtpConnection } from '@posthorn/core/client'
import { isMalformed, type Mailbox, type MailParams, parseAddress } from '@posthorn/mail'
import type { SmtpPeer } from '@posthorn/testing'

export function box(text: string): Mailbox {
  const mailbox = parseAddress(text)
  if (isMalformed(mailbox)) throw new Error(`${text}: ${mailbox.error}`)
  return mailbox
}

export const to = (...addresses: string[]): MailRecipient[] => addresses.map(text => ({ address: box(text) }))

export const hello = 'Subject: hello\r\n\r\nHello.\r\n'

export type Sample = Mail & { readonly octets: Buffer }

/** A message; `chunk`: given in pieces of that many octets. */
export function mail(
  content: string | Uint8Array = hello,
  given: { from?: string | null; params?: Partial<MailParams>; chunk?: number; size?: number } = {},
): Sample {
  const bytes = Buffer.from(content as string)
  const { from = 'anna@example.test', chunk = Math.max(1, bytes.length) } = given
  return {
    octets: bytes,
    from: from === null ? null : box(from),
    params: { smtputf8: false, requireTls: false, other: {}, ...given.params },
    size: given.size ?? bytes.length,
    async *open() {
      for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk)
    },
  }
}

export function hopTo(peer: SmtpPeer, given: Partial<NextHop> = {}): NextHop {
  return {
    endpoint: peer.path === '' ? { host: peer.host, port: peer.port } : { path: peer.path },
    protocol: peer.options.lmtp ? 'lmtp' : 'smtp',
    helo: 'client.test',
    tls: { mode: 'none' },
    ...given,
  }
}

/** `accepted`, `451 4.3.0 rcpt` (the peer's reply and where it came), `unsent 5.6.3`. */
export function short(answer: Answer): string {
  if (answer.kind === 'accepted') return answer.kind
  if (answer.kind === 'unsent') return `unsent ${answer.enhanced}`
  return `${answer.reply.code} ${answer.reply.enhanced ?? ''} ${answer.reply.phase}`
}

/** Sends, and says in short what became of each recipient, then of the connection where it failed. */
export async function fates(connection: SmtpConnection, message: Mail, recipients = to('bob@example.test')) {
  const said: string[] = recipients.map(() => 'untold')
  const failure = await connection.send(message, recipients, (index, answer) => {
    said[index] = said[index] === 'untold' ? short(answer) : `told twice: ${said[index]}, ${short(answer)}`
  })
  if (failure !== undefined) said.push(`${failure.kind} at ${failure.phase}${failure.unknown ? ', unknown' : ''}`)
  return said
}
