// AUTH (RFC 4954) with PLAIN (RFC 4616) and LOGIN: base64 in, Credentials out. Whether they are right is the
// pipeline's business. Secrets live in a closure and in nothing that could be printed.
import { isUtf8 } from 'node:buffer'
import type { Reply } from '@posthorn/mail'
import { andThen } from '../awaitable.ts'
import type { Credentials } from '../credentials.ts'
import type { Awaitable } from '../transaction.ts'
import type { Connection } from './connection.ts'
import * as replies from './replies.ts'

/** RFC 4954 §4: base64 lines of 12,288 octets must be taken. */
const maxLine = 12_288
/** Failures of one session before 421. */
const maxFailures = 5
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\u0000-\u001f\u007f-\u009f]/

const usernamePrompt = prompt('Username:')
const passwordPrompt = prompt('Password:')

function prompt(text: string): Reply {
  return { code: 334, lines: [Buffer.from(text).toString('base64')] }
}

/** AUTH is on offer here and now: never before TLS unless the operator says so. */
export function mayAuthenticate(connection: Connection): boolean {
  const { listener } = connection.front
  return listener.auth !== 'off' && connection.user === undefined && (connection.secure || listener.insecureAuth)
}

export function auth(connection: Connection, argument: string): Awaitable<Reply | undefined> {
  const { listener } = connection.front
  if (listener.auth === 'off') return replies.notImplemented
  if (connection.hello === undefined) return replies.helloFirst(connection.lmtp ? 'LHLO' : 'EHLO')
  if (connection.user !== undefined) return replies.authDone
  if (connection.transaction !== undefined) return replies.outOfSequence
  if (!connection.secure && !listener.insecureAuth) return replies.authNeedsTls
  const [name = '', initial, ...rest] = argument.split(/ +/)
  if (name === '' || rest.length > 0) return replies.syntax('AUTH mechanism [initial-response]')
  const mechanism = name.toUpperCase()
  if (mechanism === 'PLAIN') {
    const plain = (response: string) => authenticatePlain(connection, response)
    return initial === undefined ? ask(connection, prompt(''), plain) : plain(initial)
  }
  if (mechanism === 'LOGIN') {
    const login = (response: string) => askPassword(connection, response)
    return initial === undefined ? ask(connection, usernamePrompt, login) : login(initial)
  }
  return replies.authUnknown
}

/** A 334 and the line that answers it. */
function ask(
  connection: Connection,
  challenge: Reply,
  next: (response: string) => Awaitable<Reply | undefined>,
): Reply {
  if (connection.stream !== undefined) {
    connection.stream.lineLimit = Math.max(maxLine, connection.front.listener.limits.commandLine)
  }
  connection.continuation = response => {
    connection.endContinuation()
    return response === '*' ? replies.authCancelled : next(response)
  }
  return challenge
}

/** RFC 4954 §4: `=` is an empty initial response. */
function decode(response: string): string | undefined {
  if (response === '=') return ''
  if (!base64.test(response)) return undefined
  const octets = Buffer.from(response, 'base64')
  return isUtf8(octets) ? octets.toString() : undefined
}

function authenticatePlain(connection: Connection, response: string): Awaitable<Reply | undefined> {
  const [authzid, username, password, ...rest] = decode(response)?.split('\0') ?? []
  if (authzid === undefined || !username || !password || rest.length > 0) return replies.authMalformed
  if (control.test(username) || control.test(authzid)) return replies.authMalformed
  return judge(connection, 'PLAIN', username, password, authzid)
}

function askPassword(connection: Connection, response: string): Reply {
  const username = decode(response)
  if (!username || control.test(username)) return replies.authMalformed
  return ask(connection, passwordPrompt, answer => {
    const password = decode(answer)
    if (!password || password.includes('\0')) return replies.authMalformed
    return judge(connection, 'LOGIN', username, password, '')
  })
}

function judge(
  connection: Connection,
  mechanism: string,
  username: string,
  password: string,
  authzid: string,
): Awaitable<Reply> {
  const credentials: Credentials = {
    kind: 'password',
    mechanism,
    username,
    ...(authzid === '' ? {} : { authzid }),
    reveal: () => password,
  }
  return andThen(connection.pipeline.auth(credentials), answer => {
    if ('user' in answer) {
      connection.user = answer.user
      connection.authFailures = 0
      return replies.authenticated
    }
    return ++connection.authFailures >= maxFailures ? replies.tooManyErrors : answer
  })
}
