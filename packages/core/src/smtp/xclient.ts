// XCLIENT: a trusted proxy says who the client is. The session begins anew, gates included, as if that client had
// connected here. The attributes are Postfix's.
import { isIP } from 'node:net'
import { decodeXtext, type Reply } from '@posthorn/mail'
import { andThen } from '../awaitable.ts'
import type { Arrival } from '../pipeline/contract.ts'
import type { Awaitable } from '../transaction.ts'
import type { Connection } from './connection.ts'
import { plainAddress } from './networks.ts'
import * as replies from './replies.ts'

const attributes = new Set(['NAME', 'ADDR', 'PORT', 'PROTO', 'HELO', 'LOGIN', 'DESTADDR', 'DESTPORT'])
const unavailable = new Set(['[UNAVAILABLE]', '[TEMPUNAVAIL]'])
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\u0000-\u0020\u007f-\u009f]/
const hostname = /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*)(?:\.[A-Za-z0-9_-]+)*\.?$/

/** Offered to networks in `trust.xclient`, and once: the client it speaks for must not speak so itself. */
export function mayXclient(connection: Connection): boolean {
  const { client } = connection.arrival
  return client !== undefined && client.via !== 'xclient' && client.trusted && connection.front.trustsXclient(client.ip)
}

export function xclient(connection: Connection, argument: string): Awaitable<Reply | undefined> {
  if (!mayXclient(connection)) return replies.notTrusted
  if (connection.transaction !== undefined) return replies.outOfSequence
  const given = parse(argument)
  const arrival = given && describe(connection.arrival, given)
  if (arrival === undefined) return replies.xclientSyntax
  connection.restart(arrival)
  return andThen(connection.pipeline.connect(), refusal => {
    connection.refused = refusal !== undefined
    return refusal ?? connection.greeting()
  })
}

/** `undefined` values are those that the proxy does not know. Nothing is taken of a command with one bad attribute. */
function parse(argument: string): ReadonlyMap<string, string | undefined> | undefined {
  const given = new Map<string, string | undefined>()
  for (const word of argument.split(/ +/)) {
    const [, name, raw] = /^([A-Za-z]+)=([!-~]*)$/.exec(word) ?? []
    const key = name?.toUpperCase()
    const value = raw === undefined ? undefined : decodeXtext(raw)
    if (key === undefined || value === undefined || !attributes.has(key) || given.has(key) || control.test(value)) {
      return undefined
    }
    given.set(key, value === '' || unavailable.has(value.toUpperCase()) ? undefined : value)
  }
  return given
}

function describe(before: Arrival, given: ReadonlyMap<string, string | undefined>): Arrival | undefined {
  const client = before.client as NonNullable<Arrival['client']>
  const ip = address(given.get('ADDR'))
  const port = portNumber(given.get('PORT'))
  const localIp = address(given.get('DESTADDR'))
  const localPort = portNumber(given.get('DESTPORT'))
  if (ip === false || port === false || localIp === false || localPort === false) return undefined
  const name = given.get('NAME')
  if (name !== undefined && !hostname.test(name)) return undefined
  const protocol = given.get('PROTO')
  if (protocol !== undefined && !/^(?:E?SMTP|LMTP)$/i.test(protocol)) return undefined
  // HELO is not taken over: the proxy's own EHLO follows and says it.
  const user = given.get('LOGIN')
  const { auth: _, ...rest } = before
  return {
    ...rest,
    client: {
      // Of another client nothing of the proxy's own port is true.
      ip: ip ?? client.ip,
      port: port ?? (ip === undefined ? client.port : 0),
      ...(name === undefined ? {} : { name: name.toLowerCase().replace(/\.$/, '') }),
      via: 'xclient',
      trusted: false,
    },
    local: { ...before.local, ip: localIp ?? before.local.ip, port: localPort ?? before.local.port },
    ...(user === undefined ? {} : { auth: { user, mechanism: 'XCLIENT', scopes: [] } }),
  }
}

/** `false`: malformed. */
function address(value: string | undefined): string | undefined | false {
  if (value === undefined) return undefined
  const ip = value.replace(/^IPV6:/i, '')
  return isIP(ip) === 0 ? false : plainAddress(ip)
}

function portNumber(value: string | undefined): number | undefined | false {
  if (value === undefined) return undefined
  const port = Number(value)
  return /^\d{1,5}$/.test(value) && port < 65_536 ? port : false
}
