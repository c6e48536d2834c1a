import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { password as askPassword, isCancel } from '@clack/prompts'
import { newId, PosthornError } from '@posthorn/core'
import { type Answer, connect, endpointName, type NextHop, parseEndpoint, SmtpFailure } from '@posthorn/core/client'
import { type ControlClient, type FollowEnd, parseDuration, type Status, type TraceLine } from '@posthorn/core/runtime'
import { formatDate, isMalformed, type Mailbox, needsSmtputf8, parseAddress } from '@posthorn/mail'
import { demoUser } from '../demo.ts'
import { exit, usageError } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { type Where, withServer } from '../remote.ts'
import { printable } from '../table.ts'
import { traceLines } from './explain.ts'

interface SendOptions extends Common, Where {
  readonly from?: string
  readonly to?: readonly string[]
  readonly subject: string
  readonly text?: string
  readonly file?: string
  readonly listener?: string
  readonly server?: string
  readonly user?: string
  readonly tls: string
  readonly follow: boolean
  readonly wait: string
}

export async function send(io: Io, options: SendOptions): Promise<number> {
  if (options.server !== undefined) {
    const endpoint = parseEndpoint(options.server, 25)
    if (endpoint === undefined) throw usageError(`${JSON.stringify(options.server)} is not a host:port`)
    const sent = await transmit(io, options, { endpoint, implicit: false, hostname: 'localhost' })
    return conclude(io, options, sent, undefined)
  }
  return withServer(io, options, async client => {
    const status = await client.call<Status>('status')
    const sent = await transmit(io, options, {
      ...listenerOf(status, options.listener, options.user),
      hostname: status.hostname,
    })
    const followed = options.follow && sent.id !== undefined ? await follow(io, options, client, sent.id) : undefined
    return conclude(io, options, sent, followed)
  })
}

interface Target {
  readonly endpoint: NextHop['endpoint']
  readonly implicit: boolean
  /** Names the sender where none was given. */
  readonly hostname: string
}

/** The listener that was named; else the first for log-ins where a user was given, else the first `mx`. */
function listenerOf(status: Status, name: string | undefined, user: string | undefined): Omit<Target, 'hostname'> {
  const role = user === undefined ? 'mx' : 'submission'
  const listener =
    name === undefined
      ? (status.listeners.find(l => l.role === role) ?? status.listeners[0])
      : status.listeners.find(l => l.name === name)
  const names = status.listeners.map(l => l.name).join(', ')
  if (listener === undefined)
    throw usageError(`the server has no listener ${JSON.stringify(name ?? '')}`, `It has: ${names}.`)
  const [address] = listener.addresses
  const endpoint = address === undefined ? undefined : parseEndpoint(reachable(address), 25)
  if (endpoint === undefined)
    throw usageError(`cannot connect to the listener ${listener.name} from here`, 'Name another one with --listener.')
  return { endpoint, implicit: listener.tls === 'implicit' }
}

/** Every address of this machine is heard at its loopback. */
const reachable = (address: string) => address.replace(/^\[::\]:/, '[::1]:').replace(/^0\.0\.0\.0:/, '127.0.0.1:')

interface Sent {
  readonly id?: string
  readonly answers: readonly { readonly to: string; readonly accepted: boolean; readonly reply: string }[]
  readonly dialogue: readonly string[]
}

const tlsModes = ['none', 'opportunistic', 'require', 'verify'] as const

async function transmit(io: Io, options: SendOptions, target: Target): Promise<Sent> {
  const mode = tlsModes.find(name => name === options.tls)
  if (mode === undefined) throw usageError(`--tls wants one of ${tlsModes.join(', ')}`)
  const from = options.from === '<>' ? null : address(options.from ?? options.user ?? `postmaster@${target.hostname}`)
  const to = recipients(options, target.hostname).map(address)
  const body = await message(io, options, from, to)
  const hop: NextHop = {
    endpoint: target.endpoint,
    protocol: 'smtp',
    helo: 'localhost',
    tls: {
      mode: target.implicit && mode !== 'verify' ? 'require' : mode,
      ...(target.implicit ? { implicit: true } : {}),
    },
    ...(options.user === undefined ? {} : { auth: { user: options.user, password: await password(io) } }),
  }
  const dialogue: string[] = []
  const told = (who: string, line: string) => {
    dialogue.push(`${who}: ${line}`)
    if (!options.json) io.out(`  ${who}: ${printable(line)}`)
  }
  if (!options.json) io.out(`→ ${endpointName(target.endpoint)}`)
  const utf8 = [from, ...to].some(mailbox => mailbox !== null && needsSmtputf8(mailbox))
  const eightBit = body.some(octet => octet > 127)
  const params = {
    size: body.length,
    smtputf8: utf8,
    requireTls: false,
    other: {},
    ...(eightBit ? { body: '8bitmime' as const } : {}),
  }
  const answers: Sent['answers'][number][] = []
  try {
    const connection = await connect(hop, { dialogue: told })
    const mail = { from, params, size: body.length, open: () => once(body) }
    const report = (index: number, answer: Answer) => {
      const reply =
        answer.kind === 'unsent'
          ? answer.text
          : `${answer.reply.code} ${answer.reply.enhanced ?? ''} ${answer.reply.lines.join(' ')}`
      answers.push({ to: to[index]?.raw ?? '', accepted: answer.kind === 'accepted', reply })
    }
    const failure = await connection.send(
      mail,
      to.map(mailbox => ({ address: mailbox })),
      report,
    )
    connection.close()
    if (failure !== undefined && answers.length === 0) throw failure
  } catch (error) {
    if (!(error instanceof SmtpFailure)) throw error
    const code = error.kind === 'unreachable' ? 'POSTHORN_SEND_UNREACHABLE' : 'POSTHORN_SEND_FAILED'
    throw new PosthornError(code, `${endpointName(target.endpoint)}: ${error.message}`, { cause: error })
  }
  const id = answers
    .map(({ reply }) => /queued as (\S+)/.exec(reply)?.[1] ?? /^250 2\.0\.0 OK: (\S+)$/.exec(reply)?.[1])
    .find(Boolean)
  return { answers, dialogue, ...(id === undefined ? {} : { id }) }
}

async function* once(body: Uint8Array): AsyncIterable<Uint8Array> {
  yield body
}

function recipients({ to }: SendOptions, hostname: string): readonly string[] {
  if (to !== undefined) return to
  // The demo's only mailbox.
  if (hostname === `mail.${demoUser.split('@')[1]}`) return [demoUser]
  throw usageError('nobody to send to', 'Say --to anna@example.org.')
}

function address(text: string): Mailbox {
  const mailbox = parseAddress(text)
  if (isMalformed(mailbox)) throw usageError(`${JSON.stringify(text)} is not an address`)
  return mailbox
}

async function password(io: Io): Promise<string> {
  const given = io.env.POSTHORN_PASSWORD
  if (given !== undefined) return given
  if (!io.interactive) throw usageError('no password', 'Set POSTHORN_PASSWORD.')
  const typed = await askPassword({ message: 'Password' })
  if (isCancel(typed)) throw usageError('no password was given')
  return typed
}

async function message(io: Io, options: SendOptions, from: Mailbox | null, to: readonly Mailbox[]): Promise<Buffer> {
  if (options.file !== undefined) {
    const octets = options.file === '-' ? await io.input() : await readFile(resolve(io.cwd, options.file))
    // A file from a Unix tool; over SMTP a bare LF would be refused.
    return Buffer.from(octets.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1')
  }
  const now = Date.now()
  const sender = from?.raw ?? 'MAILER-DAEMON@localhost'
  if (/[\r\n]/.test(options.subject)) throw usageError('a subject is one line')
  const lines = [
    `From: ${sender}`,
    `To: ${to.map(mailbox => mailbox.raw).join(', ')}`,
    `Subject: ${options.subject}`,
    `Date: ${formatDate(now)}`,
    `Message-ID: <${newId(now)}@${from?.domain || 'localhost'}>`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    ...(options.text ?? 'This is a test message, sent by `posthorn send`.').split(/\r?\n/),
    '',
  ]
  return Buffer.from(lines.join('\r\n'))
}

interface Followed {
  readonly end: FollowEnd | undefined
  readonly events: readonly TraceLine[]
}

/** Prints what happens to a message until nothing more does, or `--wait` is over. */
async function follow(io: Io, options: SendOptions, client: ControlClient, id: string): Promise<Followed> {
  const wait = parseDuration(options.wait)
  if (wait === undefined) throw usageError('--wait wants a duration: 30s, 5m')
  const events: TraceLine[] = []
  const end = client.call<FollowEnd>('follow', { id }, event => {
    const line = event as TraceLine
    events.push(line)
    if (!options.json) for (const text of traceLines([line], events[0]?.at)) io.out(text)
  })
  return new Promise<Followed>((done, fail) => {
    const timer = setTimeout(() => done({ end: undefined, events }), wait)
    end.then(
      result => {
        clearTimeout(timer)
        done({ end: result, events })
      },
      error => {
        clearTimeout(timer)
        fail(error)
      },
    )
  })
}

function conclude(io: Io, options: SendOptions, sent: Sent, followed: Followed | undefined): number {
  const refused = sent.answers.filter(answer => !answer.accepted)
  const code = refused.length > 0 ? exit.internal : exit.ok
  if (options.json) {
    io.out(
      JSON.stringify({
        id: sent.id,
        answers: sent.answers,
        dialogue: sent.dialogue,
        end: followed?.end?.state,
        events: followed?.events,
      }),
    )
    return code
  }
  for (const { to, reply } of refused) io.err(printable(`not accepted for ${to}: ${reply}`))
  if (sent.id === undefined) return code
  const state = followed === undefined ? 'accepted' : (followed.end?.state ?? 'still under way')
  const words: Record<string, string> = {
    gone: 'done',
    deferred: 'deferred: it will be tried again',
    held: 'held for an operator',
  }
  io.out(`${sent.id}: ${words[state] ?? state}`)
  return code
}
