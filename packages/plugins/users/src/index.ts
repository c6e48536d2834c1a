// A few static accounts in the configuration: they log in with PLAIN or LOGIN, may relay anywhere, and send as themselves.
import { definePlugin, parsePasswordHash, reject, verifyPassword } from '@posthorn/core'
import { addressKey, isMalformed, parseAddress } from '@posthorn/mail'
import * as z from 'zod'

const passwordHash = z
  .string()
  .refine(text => parsePasswordHash(text) !== undefined, {
    error: 'expected a scrypt hash, $scrypt$ln=15,r=8,p=1$…: make one with `posthorn passwd`',
  })
  .meta({ secret: true })

const account = z.union([
  passwordHash.transform(password => ({ password, addresses: [] as string[] })),
  z.strictObject({
    password: passwordHash.describe('A scrypt hash: make one with `posthorn passwd`'),
    addresses: z.array(z.string()).default([]).describe('Addresses this account may send as, beside its own name'),
  }),
])

const schema = z.strictObject({
  users: z
    .record(z.string().min(1), account)
    .describe('Accounts by log-in name, mostly an address, each with its password hash'),
  sendAs: z
    .enum(['own', 'any'])
    .default('own')
    .describe('Which reverse-path an account may use: its own addresses, or any'),
})

export default definePlugin({
  name: 'users',
  schema,
  setup(_ctx, { users, sendAs }) {
    const accounts = new Map(Object.entries(users).map(([name, own]) => [name.toLowerCase(), own]))
    const mayUse = new Map(
      [...accounts].map(([name, { addresses }]) => [name, new Set([name, ...addresses].flatMap(keyOf))]),
    )
    const nameOf = (user: string | undefined) => user?.toLowerCase() ?? ''

    return {
      async auth(_session, credentials) {
        if (credentials.kind !== 'password') return
        const name = credentials.username.toLowerCase()
        // RFC 4616 §2: an authorization identity other than one's own is another user's.
        if (credentials.authzid !== undefined && credentials.authzid.toLowerCase() !== name) return
        if (await verifyPassword(credentials.reveal(), accounts.get(name)?.password)) return { user: name }
      },

      mail(tx, from) {
        const user = nameOf(tx.session.auth?.user)
        // The null reverse-path is for reports of user agents (RFC 8098 §3).
        if (sendAs === 'any' || from === null || !accounts.has(user)) return
        if (mayUse.get(user)?.has(addressKey(from).toLowerCase())) return
        return reject(553, '5.7.1', 'This account may not send from that address', { reason: `${user} as ${from.raw}` })
      },

      rcpt(tx) {
        if (accounts.has(nameOf(tx.session.auth?.user))) return 'accept'
      },
    }
  },
})

function keyOf(address: string): string[] {
  const mailbox = parseAddress(address)
  return isMalformed(mailbox) ? [] : [addressKey(mailbox).toLowerCase()]
}
