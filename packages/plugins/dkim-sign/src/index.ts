// Signs what we send: what authenticated users submit, and the reports that we make ourselves. The body is hashed as it
// comes in; the header is signed when it is final.
import { DnsAdvice, definePlugin, duration, messageState, Place, secret } from '@posthorn/core'
import { headerOf, MessageBodyHash } from '@posthorn/mail'
import * as z from 'zod'
import { authorDomain } from './author.ts'
import { ringFolder } from './key-ring.ts'
import { DkimKeys } from './keys.ts'
import { keyRecords } from './records.ts'
import { dkimSignature } from './signature.ts'
import { loadKeys } from './signing-keys.ts'

// RFC 6376 §5.4.1, and the list fields; what a reader sees is also protected from additions.
const signed = [
  'from',
  'sender',
  'reply-to',
  'subject',
  'date',
  'message-id',
  'to',
  'cc',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
  'content-id',
  'content-description',
  'in-reply-to',
  'references',
  'list-id',
  'list-help',
  'list-unsubscribe',
  'list-unsubscribe-post',
  'list-subscribe',
  'list-post',
  'list-owner',
  'list-archive',
  'autocrypt',
]
const oversigned = [
  'from',
  'reply-to',
  'subject',
  'date',
  'to',
  'cc',
  'message-id',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
]

const names = z.array(
  z
    .string()
    .regex(/^[!-9;-~]+$/)
    .toLowerCase(),
)
const schema = z.strictObject({
  keys: z
    .array(
      z.strictObject({
        domain: z.string().describe('The signing domain, d='),
        selector: z.string().describe('Its selector, s='),
        key: secret().describe('The private key, PEM'),
      }),
    )
    .default([])
    .describe('Keys beside those that `posthorn dkim generate` made'),
  headers: names
    .refine(names => names.includes('from'), { error: 'From has to be signed (RFC 6376 §5.4)' })
    .default(signed)
    .describe('Header fields to sign, as many as there are'),
  oversign: names.default(oversigned).describe('Of those, fields that nobody may add later either'),
  roles: z
    .array(z.enum(['submission', 'internal', 'mx', 'lmtp']))
    .default(['submission', 'internal'])
    .describe('Whose mail is signed: by the listener it came through; `internal` are our own reports'),
  expire: duration({ min: 60_000 }).optional().describe('How long a signature holds; for ever where absent'),
})

const bodyHash = messageState<string>('dkim-sign/body-hash')

/** Octets that the header may have with everything that was added to it. */
const mostHeader = 2 ** 20

export default definePlugin({
  name: 'dkim-sign',
  schema,
  inject: { place: Place, advice: DnsAdvice },
  provides: [DkimKeys],
  async setup({ services, name, log, provide, onDispose }, options) {
    const folder = ringFolder(services.place.data)
    const keys = await loadKeys(folder, options.keys)
    if (keys.size === 0)
      log.warn({}, 'no DKIM keys: nothing is signed; make some with `posthorn dkim generate <domain>`')
    provide(DkimKeys, keys)
    onDispose(services.advice.add({ from: name, records: keyRecords(folder, options.keys) }))
    const oversign = new Set(options.oversign.filter(name => options.headers.includes(name)))
    return {
      data: {
        on: options.roles,
        writes: [bodyHash],
        handler() {
          const hash = new MessageBodyHash()
          return {
            write: chunk => hash.update(chunk),
            end: message => message.state.set(bodyHash, hash.digest()),
          }
        },
      },

      seal: {
        on: options.roles,
        async handler(final, _to, call) {
          const hash = final.get(bodyHash)
          const [author] = final.header('From')
          const own = author === undefined ? [] : keys.of(authorDomain(author) ?? '')
          if (hash === undefined || own.length === 0) return
          const header = await headerOf(final.open({ start: 0, end: mostHeader }))
          const signature = {
            headers: options.headers,
            oversign,
            time: Math.floor(call.now() / 1000),
            bodyHash: hash,
            ...(options.expire === undefined ? {} : { expire: Math.floor(options.expire / 1000) }),
          }
          const values = await Promise.all(own.map(key => dkimSignature(header, key, signature)))
          return values.map(value => ['DKIM-Signature', value] as const)
        },
      },
    }
  },
})
