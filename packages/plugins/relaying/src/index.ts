// Who may send to anywhere, by network, log-in or certificate, and as whom; and what others may not: addresses that the
// next server may take for a route, and header fields that only we write.
import { definePlugin, isRouted, type Mailbox, Networks, path, reject, type Session } from '@posthorn/core'
import * as z from 'zod'
import { Senders } from './senders.ts'

const networks = z.array(z.string()).transform((list, ctx) => {
  try {
    return new Networks(list, 'networks')
  } catch (error) {
    ctx.issues.push({ code: 'custom', input: list, message: (error as Error).message })
    return z.NEVER
  }
})

const fingerprint = z
  .string()
  .regex(/^([0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}$/, 'expected a SHA-256 in hex')
  .transform(text => text.replaceAll(':', '').toLowerCase())

const field = z.string().regex(/^[!-9;-~]{1,70}$/, 'expected the name of a header field')

const schema = z.strictObject({
  networks: networks.prefault([]).describe('Networks (CIDR) whose clients may send to anywhere'),
  users: z
    .union([z.literal('*'), z.array(z.string().min(1))])
    .default([])
    .describe('Logged-in users who may; `*`: all'),
  certificates: z
    .strictObject({
      authorized: z.boolean().default(false).describe('All that verify against the CA of `tls.clients`'),
      names: z.array(z.string().min(1)).default([]).describe('Those of these names or subjects, that verify'),
      sha256: z.array(fingerprint).default([]).describe('Those with these fingerprints, whoever issued them'),
    })
    .prefault({})
    .describe('Clients with a certificate who may'),
  senders: z
    .record(z.string().min(1), z.array(z.string().min(1)))
    .optional()
    .describe('By user: addresses, domains or `*` to send from, beside the own name; given, all users are held to it'),
  senderFiles: z
    .array(path())
    .default([])
    .describe('Files with an address or domain a line and the users who may send from it'),
  routed: z
    .boolean()
    .default(false)
    .describe('Take local parts with %, ! or @ in them, and source routes, from those who may not send to anywhere'),
  strip: z
    .array(z.union([field, z.strictObject({ header: field, authservId: z.string().min(1) })]))
    .default([])
    .describe('Header fields that come from outside and only we may write: names, or those of one authserv-id'),
})

export default definePlugin({
  name: 'relaying',
  schema,
  setup({ name }, options) {
    const { users, certificates, senders: table, senderFiles, strip } = options
    const anyone = users === '*'
    const named = new Set(anyone ? [] : users.map(user => user.toLowerCase()))
    const names = new Set(certificates.names.map(text => text.toLowerCase()))
    const pins = new Set(certificates.sha256)
    const senders = table === undefined && senderFiles.length === 0 ? undefined : new Senders()
    for (const [user, list] of Object.entries(table ?? {})) {
      for (const what of list) senders?.allow(user, what, `${name}.senders.${user}`)
    }
    for (const file of senderFiles) senders?.read(file)

    const mayRelay = ({ client, auth, tls }: Session): boolean => {
      if (client !== undefined && options.networks.has(client.ip)) return true
      if (auth !== undefined && (anyone || named.has(auth.user.toLowerCase()))) return true
      const peer = tls?.client
      if (peer === undefined) return false
      if (pins.has(peer.sha256.replaceAll(':', '').toLowerCase())) return true
      // Anybody can write any name into a certificate that nobody checked.
      if (!peer.authorized) return false
      return certificates.authorized || [peer.subject, ...peer.names].some(text => names.has(text.toLowerCase()))
    }
    // Also a source route, @b:a@c.
    const isRoute = (address: Mailbox) => isRouted(address) || address.raw.startsWith('@')

    return {
      mail(tx, from) {
        const user = tx.session.auth?.user
        // The null reverse-path is for reports of user agents (RFC 8098 §3).
        if (senders === undefined || user === undefined || from === null || senders.may(user, from)) return
        return reject(553, '5.7.1', 'Sender address not owned by the user who is logged in', {
          reason: `${user} as ${from.raw}`,
        })
      },

      rcpt(tx, to) {
        if (mayRelay(tx.session)) return 'accept'
        if (options.routed) return
        const route = [to, ...to.targets].find(({ address }) => isRoute(address))
        if (route === undefined) return
        return reject(550, '5.7.1', 'Relaying denied: routed address', { reason: `a route: ${route.address.raw}` })
      },

      data(tx) {
        if (strip.length === 0 || mayRelay(tx.session)) return
        for (const one of strip) {
          if (typeof one === 'string') tx.strip(one, { contains: '' })
          else tx.strip(one.header, { authservId: one.authservId })
        }
      },
    }
  },
})
