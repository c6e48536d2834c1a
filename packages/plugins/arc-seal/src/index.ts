// Seals what we forward: the copies of a message whose recipient stands for somebody elsewhere. The next server can
// then see what we saw, although forwarding broke SPF and perhaps DKIM.
import { definePlugin, messageState } from '@posthorn/core'
import { headerOf, MessageBodyHash } from '@posthorn/mail'
import { DkimKeys } from '@posthorn/plugin-dkim-sign/keys'
import { Domains } from '@posthorn/plugin-domains/keys'
import { arc, dmarc } from '@posthorn/plugin-mailauth/keys'
import * as z from 'zod'
import { arcSet } from './arc-set.ts'

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
  'in-reply-to',
  'references',
  'list-id',
  'list-unsubscribe',
  'dkim-signature',
]

const schema = z.strictObject({
  domain: z.string().describe('Who seals, d=: a domain with DKIM keys'),
  headers: z
    .array(
      z
        .string()
        .regex(/^[!-9;-~]+$/)
        .toLowerCase(),
    )
    .refine(names => names.includes('from'), { error: 'From has to be signed (RFC 6376 §5.4)' })
    .refine(names => !names.some(name => name.startsWith('arc-') || name === 'authentication-results'), {
      error: 'ARC fields and Authentication-Results are not signed (RFC 8617 §4.1.2)',
    })
    .default(signed)
    .describe('Header fields that the message signature covers'),
})

const names = ['ARC-Seal', 'ARC-Message-Signature', 'ARC-Authentication-Results']
const bodyHash = messageState<string>('arc-seal/body-hash')
const mostHeader = 2 ** 20

export default definePlugin({
  name: 'arc-seal',
  schema,
  inject: { keys: DkimKeys, domains: Domains },
  setup({ services, log }, { domain, headers }) {
    const [key] = [...services.keys.of(domain)].sort((a, b) => (a.algorithm < b.algorithm ? 1 : -1))
    if (key === undefined) log.warn({ domain }, 'no DKIM key for this domain: nothing is sealed')
    return {
      data: {
        on: ['mx', 'lmtp'],
        writes: [bodyHash],
        handler() {
          if (key === undefined) return
          const hash = new MessageBodyHash()
          return {
            write: chunk => hash.update(chunk),
            end: message => message.state.set(bodyHash, hash.digest()),
          }
        },
      },

      seal: {
        on: ['mx', 'lmtp'],
        // RFC 8617 §5.1: the seal comes after everything else.
        after: ['mailauth', 'dkim-sign'],
        async handler(final, to, call) {
          const hash = final.get(bodyHash)
          const leaves = to.some(t => t.original !== undefined && !services.domains.has(t.address.domain))
          if (key === undefined || hash === undefined || !leaves) return
          const found = final.get(arc)
          // Nobody looked at the chain that came, or DNS did not let us: to say that it failed would end it for good, and
          // the next server may see more. Nobody has to seal (RFC 8617 §5.1.4).
          const chained = names.some(name => final.header(name).length > 0)
          if ((found === undefined && chained) || found?.unsure) return
          // The topmost field is what mailauth just wrote, if it did: else it is a stranger's.
          const judged = found !== undefined || final.get(dmarc) !== undefined
          const [results] = judged ? final.header('Authentication-Results') : []
          return arcSet({
            header: await headerOf(final.open({ start: 0, end: mostHeader })),
            bodyHash: hash,
            authResults: results ?? `${final.origin.local.hostname}; none`,
            chain: found?.result ?? 'none',
            headers,
            key,
            time: Math.floor(call.now() / 1000),
            utf8: final.params.smtputf8,
          })
        },
      },
    }
  },
})
