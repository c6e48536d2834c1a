// Delivers mail for our domains into Maildir folders, byte for byte as it came, below a Return-Path and a Delivered-To.
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { type DeliveryTarget, defer, definePlugin, type Outcome, Place, type Queued } from '@posthorn/core'
import { formatAddress } from '@posthorn/mail'
import { Domains } from '@posthorn/plugin-domains/keys'
import * as z from 'zod'
import { deliverTo } from './folder.ts'

const schema = z.strictObject({
  path: z
    .string()
    .default('mail/{domain}/{local}')
    .describe(
      'The Maildir of a recipient; {domain} and {local} stand for its parts, relative paths start in the data folder',
    ),
  junk: z
    .string()
    .default('.Junk')
    .describe('Folder inside the Maildir for what plugins marked as junk; empty for none'),
})

export default definePlugin({
  name: 'maildir',
  schema,
  inject: { domains: Domains, place: Place },
  setup({ services, log }, options) {
    const host = hostname().replaceAll('/', '\\057').replaceAll(':', '\\072')
    const folderOf = ({ address }: DeliveryTarget, message: Queued): string => {
      const path = options.path
        .replaceAll('{domain}', safe(address.domain || 'localhost'))
        .replaceAll('{local}', safe(address.local.toLowerCase()))
      const base = resolve(services.place.data, path)
      return message.junk !== undefined && options.junk !== '' ? join(base, options.junk) : base
    }

    return {
      deliver: {
        route: to => (services.domains.has(to.address.domain) ? { lane: 'local', data: null } : undefined),
        limits: () => ({ concurrency: 20, maxRecipients: 50 }),
        async send(message, to, _route, call) {
          for (const target of to) {
            // The same name at each attempt: what a crash made us deliver twice replaces itself while it is unread.
            const name = `${Math.floor(message.received / 1000)}.${message.id}_${target.id}.${host}`
            try {
              await deliverTo(folderOf(target, message), name, withTrace(message, target))
              call.report(target.id, { kind: 'delivered', by: 'maildir' })
            } catch (error) {
              log.error({ id: message.id, err: error }, 'delivery into a Maildir failed')
              call.report(target.id, failure(error as NodeJS.ErrnoException))
            }
          }
        },
      },
    }
  },
})

/** RFC 5321 §4.4: final delivery adds the Return-Path. Delivered-To is what loops are cut by. */
async function* withTrace(message: Queued, target: DeliveryTarget): AsyncIterable<Uint8Array> {
  const from = message.from === null ? '' : formatAddress(message.from, { utf8: true })
  const to = formatAddress(target.address, { utf8: true })
  yield Buffer.from(`Return-Path: <${from}>\r\nDelivered-To: ${to}\r\n`)
  yield* message.open()
}

function failure(error: NodeJS.ErrnoException): Outcome {
  const full = error.code === 'ENOSPC' || error.code === 'EDQUOT'
  const reason = `${error.code ?? error.name} at ${error.syscall ?? 'delivery'}`
  return full
    ? { ...defer(452, '4.2.2', 'Mailbox is full', { reason }), scope: 'recipient' }
    : { ...defer(451, '4.3.0', 'Mailbox cannot be written', { reason }), scope: 'recipient' }
}

/** A name that cannot leave its folder or hide in it: what is not plain is written as %XX of its octets. */
function safe(part: string): string {
  const escaped = [...Buffer.from(part)].map(octet => {
    const char = String.fromCharCode(octet)
    return /[A-Za-z0-9_+=@.-]/.test(char) ? char : `%${octet.toString(16).padStart(2, '0').toUpperCase()}`
  })
  // File systems end names at 255 octets; a local part has 64, each three characters at most.
  return escaped.join('').replace(/^\./, '%2E').slice(0, 250) || '%'
}
