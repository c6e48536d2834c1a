// Aliases, groups, lists and external forwards, plus-addresses, users who moved, and SRS for what is forwarded. The
// core follows the answers: depth, loops, Delivered-To and the rules of DSN are its.
import { definePlugin, discard, duration, type Mailbox, path, type Role, reject, secret } from '@posthorn/core'
import { canonicalDomain } from '@posthorn/mail'
import * as z from 'zod'
import { readAliases } from './alias-file.ts'
import { Srs } from './srs.ts'
import { Table } from './table.ts'

const domain = z.string().transform((text, ctx) => {
  const found = canonicalDomain(text)
  if (found !== undefined && !found.startsWith('[')) return found
  ctx.issues.push({ code: 'custom', input: text, message: 'expected a domain, example.org' })
  return z.NEVER
})

const line = z
  .string()
  .min(1)
  .max(400)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not go into a reply
  .regex(/^[^\u0000-\u001f\u007f]+$/, 'expected one line')

const target = z.union([
  z.string().min(1),
  z.array(z.string().min(1)).min(1),
  z.strictObject({
    to: z.array(z.string().min(1)).min(1).describe('Members of the list'),
    list: z.string().min(1).describe('Who gets its bounces: its own reverse-path'),
  }),
  z.strictObject({ moved: line.describe('The new address, which the sender is told (551)') }),
  z.strictObject({ reject: line.describe('What the sender is told (550)') }),
])

const secrets = z.union([secret().transform(one => [one]), z.array(secret()).min(1)])

const schema = z.strictObject({
  domains: z
    .array(domain)
    .default([])
    .describe('Our domains: those that names without a domain, and extensions, are of; senders of others get SRS'),
  aliases: z
    .record(z.string().min(1), target)
    .default({})
    .describe('By name, address or `@domain`: one address, several, a list, or why there is nobody'),
  files: z
    .array(
      z.union([
        path().transform(file => ({ file, format: 'aliases' as const })),
        z.strictObject({ file: path(), format: z.enum(['aliases', 'virtual']) }),
      ]),
    )
    .default([])
    .describe('Files in the form of aliases(5) or virtual(5); read again at reload'),
  separator: z
    .union([z.string().regex(/^[+\-=_.#]$/, 'expected one of + - = _ . #'), z.literal(false)])
    .default('+')
    .describe('What an extension begins with, as in anna+shop@example.org; false: there are none'),
  srs: z
    .strictObject({
      secret: secrets.describe('Signs the rewritten addresses; of several, the first signs and all are believed'),
      domain: domain.describe('The domain of the rewritten addresses; its mail must come here'),
      hashLength: z.int().min(4).max(20).default(6).describe('Characters of the signature; libsrs2 has 4'),
      maxAge: duration({ min: 86_400_000, max: 86_400_000 * 1000 })
        .prefault('21d')
        .describe('How long bounces find their way back'),
    })
    .optional()
    .describe('Rewrites the sender of what is forwarded elsewhere, so that SPF passes there'),
})

// Bounces and reports of ours go to aliases and rewritten addresses too.
const on: readonly Role[] = ['mx', 'submission', 'lmtp', 'access', 'internal']

export default definePlugin({
  name: 'aliases',
  schema,
  setup({ name }, { domains, aliases, files, separator, srs: wanted }) {
    const table = new Table(domains, separator === false ? '' : separator)
    for (const [alias, given] of Object.entries(aliases)) table.add(alias, given, `${name}.aliases`)
    for (const { file, format } of files) {
      for (const { name: alias, members, at } of readAliases(file, format)) table.add(alias, members, at)
    }
    table.ownLists()
    const srs = wanted === undefined ? undefined : new Srs({ ...wanted, secrets: wanted.secret })
    const local = new Set(wanted === undefined ? domains : [...domains, wanted.domain])
    const foreign = ({ domain }: Mailbox) => domain !== '' && !local.has(domain)

    return {
      resolve: {
        on,
        handler(_tx, to, call) {
          if (srs?.is(to)) {
            const found = srs.reverse(to, call.now())
            if ('to' in found) return { to: [found.to] }
            return reject(550, '5.1.1', 'No such recipient here', { reason: `SRS: ${found.wrong}` })
          }
          const found = table.find(to)
          if (found === undefined) {
            const base = table.base(to)
            return base === undefined ? undefined : { to: [base] }
          }
          if ('refused' in found) return found.refused
          if ('to' in found) return found
        },
      },

      rcpt: {
        on,
        handler(tx, to, call) {
          const nobody = ({ address }: { address: Mailbox }) => {
            const found = table.find(address)
            return found !== undefined && 'nobody' in found
          }
          if (to.targets.length > 0 && to.targets.every(nobody)) return discard(`${to.address.raw} is /dev/null`)
          const { from } = tx
          if (srs !== undefined && from !== null && foreign(from)) {
            const internal = tx.session.protocol === 'internal'
            const away = to.targets.filter(
              ({ address }) => foreign(address) && (internal || address.raw !== to.address.raw),
            )
            const rewritten = away.length === 0 ? undefined : srs.forward(from, call.now())
            if (rewritten !== undefined) tx.for(away).rewriteFrom(rewritten)
            else if (away.length > 0) call.log.warn({ id: tx.id }, 'the sender is too long for SRS: forwarded as it is')
          }
          // An alias is a promise of the operator's; an extension is only another name of somebody whom others know.
          if (srs?.is(to.address) || table.find(to.address) !== undefined) return 'accept'
        },
      },
    }
  },
})
