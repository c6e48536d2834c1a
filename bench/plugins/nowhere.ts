// The queue's end for benches: takes what is for its domains, and delivers it nowhere.

import { definePlugin } from '@posthorn/core'
import * as z from 'zod'

export default definePlugin({
  name: 'nowhere',
  schema: z.strictObject({
    domains: z.array(z.string()).describe('Domains whose mail is accepted and dropped, and those below them'),
    lanes: z.boolean().default(false).describe('A lane for each domain; else one for all'),
  }),
  setup(_ctx, { domains, lanes }) {
    const takes = (domain: string) => domains.some(d => domain === d || domain.endsWith(`.${d}`))
    return {
      rcpt: (_tx, to) => (takes(to.address.domain) ? 'accept' : undefined),
      deliver: {
        route: ({ address: { domain } }) =>
          takes(domain) ? { lane: lanes ? domain : 'nowhere', data: null } : undefined,
        limits: () => ({ concurrency: 100 }),
        async send(_message, to, _route, call) {
          for (const { id } of to) call.report(id, { kind: 'delivered', by: 'nowhere' })
        },
      },
    }
  },
})
