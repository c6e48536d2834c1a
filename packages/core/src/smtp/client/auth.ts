// AUTH with a next hop: XOAUTH2 with a token, else PLAIN or LOGIN. Secrets are written to the socket and nowhere else.
import type { RemoteReply } from '@posthorn/mail'
import { SmtpFailure } from './failure.ts'
import type { ClientAuth } from './next-hop.ts'
import type { Wire } from './wire.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')

/**
 * Logs in. `offered`: what followed AUTH in the EHLO reply; `secure`: TLS is on. Rejects with SmtpFailure `auth`, the
 * peer's reply in it where it gave one. A wrong password is temporary: it is ours to correct, not the sender's.
 */
export async function authenticate(
  wire: Wire,
  auth: ClientAuth,
  offered: string | undefined,
  secure: boolean,
  timeout: number,
): Promise<void> {
  const fail = (message: string, extra: { reply?: RemoteReply; enhanced?: string } = {}) => {
    wire.fail('auth', message)
    return new SmtpFailure('auth', 'hello', wire.host, message, extra)
  }
  if (!secure && !auth.insecure) {
    throw fail('the peer offers no TLS, and credentials do not go without it', { enhanced: '4.7.11' })
  }
  const mechanisms = new Set((offered ?? '').toUpperCase().split(' '))
  const ask = async (line: string, shown: string) => {
    wire.send(`${line}\r\n`, 1)
    wire.told(shown)
    const reply = await wire.read('hello', timeout)
    if (reply.code === 421) throw wire.refused(reply)
    return reply
  }
  const { user, password, token } = auth
  let reply: RemoteReply
  if (token !== undefined && mechanisms.has('XOAUTH2')) {
    reply = await ask(
      `AUTH XOAUTH2 ${base64(`user=${user}\u0001auth=Bearer ${token}\u0001\u0001`)}`,
      'AUTH XOAUTH2 ***',
    )
    // A refused token comes as a challenge with the reason in JSON; the empty answer asks for the error itself.
    if (reply.code === 334) reply = await ask('', '***')
  } else if (password !== undefined && mechanisms.has('PLAIN')) {
    reply = await ask(`AUTH PLAIN ${base64(`\0${user}\0${password}`)}`, 'AUTH PLAIN ***')
  } else if (password !== undefined && mechanisms.has('LOGIN')) {
    reply = await ask('AUTH LOGIN', 'AUTH LOGIN')
    if (reply.code === 334) reply = await ask(base64(user), '***')
    if (reply.code === 334) reply = await ask(base64(password), '***')
  } else {
    const wanted = token === undefined ? 'PLAIN or LOGIN' : 'XOAUTH2'
    throw fail(`the peer does not offer AUTH ${wanted}`, { enhanced: '4.7.4' })
  }
  if (reply.code !== 235) throw fail(`the peer does not take our credentials for ${user}`, { reply })
}
