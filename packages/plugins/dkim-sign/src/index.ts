// Signs what we send: what authenticated users submit, and the reports that we make ourselves. The body is hashed as it
// comes in; the header is signed when it is final.
import { createPrivateKey } from 'node:crypto'
import { definePlugin, duration, messageState, Place, PosthornError, type Queued, secret } from '@posthorn/core'
import { canonicalDomain, scanHeader } from '@posthorn/mail'
import * as z from 'zod'
import { authorDomain } from './author.ts'
import { RelaxedBodyHash } from './canonical-body.ts'
import { readRing, ringDomains, ringFolder } from './key-ring.ts'
import { dkimSignature, type SigningKey } from './signature.ts'

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
  headers: names.min(1).default(signed).describe('Header fields to sign, as many as there are'),
  oversign: names.default(oversigned).describe('Of those, fields that nobody may add later either'),
  roles: z
    .array(z.enum(['submission', 'internal', 'mx', 'lmtp']))
    .default(['submission', 'internal'])
    .describe('Whose mail is signed: by the listener it came through; `internal` are our own reports'),
  expire: duration().optional().describe('How long a signature holds; for ever where absent'),
})

const bodyHash = messageState<string>('dkim-sign/body-hash')

/** Octets that the header may have with everything that was added to it. */
const mostHeader = 2 ** 20

export default definePlugin({
  name: 'dkim-sign',
  schema,
  inject: { place: Place },
  async setup({ services, log }, options) {
    const keys = await loadKeys(ringFolder(services.place.data), options.keys)
    if (keys.size === 0)
      log.warn({}, 'no DKIM keys: nothing is signed; make some with `posthorn dkim generate <domain>`')
    const oversign = new Set(options.oversign.filter(name => options.headers.includes(name)))
    return {
      data: {
        on: options.roles,
        writes: [bodyHash],
        handler() {
          const hash = new RelaxedBodyHash()
          let first = true
          return {
            write(chunk) {
              hash.update(first ? chunk.subarray(scanHeader(chunk).body) : chunk)
              first = false
            },
            end(message) {
              message.state.set(bodyHash, hash.digest())
            },
          }
        },
      },

      seal: {
        on: options.roles,
        async handler(final, _to, call) {
          const hash = final.get(bodyHash)
          const [author] = final.header('From')
          const own = author === undefined ? [] : keysFor(keys, authorDomain(author))
          if (hash === undefined || own.length === 0) return
          const header = await headerOf(final)
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

async function loadKeys(
  folder: string,
  configured: readonly { domain: string; selector: string; key: string }[],
): Promise<ReadonlyMap<string, readonly SigningKey[]>> {
  const keys = new Map<string, SigningKey[]>()
  const add = (key: SigningKey) => keys.set(key.domain, [...(keys.get(key.domain) ?? []), key])
  for (const domain of await ringDomains(folder)) {
    for (const { state, selector, privateKey } of await readRing(folder, domain)) {
      if (state === 'active') add({ domain, selector, key: createPrivateKey(privateKey) })
    }
  }
  for (const { domain, selector, key } of configured) {
    const canonical = canonicalDomain(domain)
    try {
      if (canonical === undefined) throw new Error('not a domain name')
      add({ domain: canonical, selector, key: createPrivateKey(key) })
    } catch (error) {
      throw new PosthornError('POSTHORN_DKIM_KEY', `the DKIM key ${selector} of ${domain} cannot be used`, {
        fix: 'Give a domain name and a private key in PEM: RSA of 2048 bits, or Ed25519.',
        cause: error,
      })
    }
  }
  return keys
}

/** The author's domain signs, or the nearest above it that has keys: aligned for DMARC in its relaxed mode. */
function keysFor(keys: ReadonlyMap<string, readonly SigningKey[]>, author: string | undefined): readonly SigningKey[] {
  for (let domain = author ?? ''; domain.includes('.'); domain = domain.slice(domain.indexOf('.') + 1)) {
    const own = keys.get(domain)
    if (own !== undefined) return own
  }
  return []
}

/** The header as it will be sent, from the head that we write and what was received. */
async function headerOf(final: Queued): Promise<Uint8Array> {
  let header: Uint8Array = new Uint8Array(0)
  for await (const chunk of final.open({ start: 0, end: mostHeader })) {
    header = header.length === 0 ? chunk : Buffer.concat([header, chunk])
    const { body, end } = scanHeader(header)
    if (body > end) return header.subarray(0, body)
  }
  return header
}
