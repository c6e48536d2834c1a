// The queue's end for the accept bench: takes what is for its domains, and delivers it nowhere.

import { definePlugin } from '@posthorn/core'
import * as z from 'zod'

export default definePlugin({
  name: 'nowhere',
  schema: z.strictObject({ domains: z.array(z.string()).describe('Domains whose mail is accepted and dropped') }),
  setup: (_ctx, { domains }) => ({
    rcpt: (_tx, to) => (domains.includes(to.address.domain) ? 'accept' : undefined),
    deliver: {
      route: to => (domains.includes(to.address.domain) ? { lane: 'nowhere', data: null } : undefined),
      limits: () => ({ concurrency: 100 }),
      async send(_message, to, _route, call) {
        for (const { id } of to) call.report(id, { kind: 'delivered', by: 'nowhere' })
      },
    },
  }),
})
