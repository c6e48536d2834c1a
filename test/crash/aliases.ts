// A plugin for the crash suite: `team<k>@list.test` stands for two others, in lanes of their own.
import { definePlugin, type Mailbox } from '@posthorn/core'
import * as z from 'zod'

const teams = [
  ['a.test', 'b.test'],
  ['home.test', 'd.test'],
  ['b.test', 'd.test'],
] as const

/** Who an address stands for; itself where it is no alias. */
export function targetsOf(address: string): readonly string[] {
  const [, k] = /^team(\d+)@list\.test$/.exec(address) ?? []
  if (k === undefined) return [address]
  return (teams[Number(k) % teams.length] ?? []).map(domain => `member${k}@${domain}`)
}

const mailbox = (address: string): Mailbox => {
  const [local = '', domain = ''] = address.split('@')
  return { local, domain, raw: address }
}

export default definePlugin({
  name: 'aliases',
  schema: z.strictObject({}),
  setup: () => ({
    resolve: (_tx, to) => (to.domain === 'list.test' ? { to: targetsOf(to.raw).map(mailbox) } : undefined),
  }),
})
