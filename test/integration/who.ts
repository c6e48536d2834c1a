// A plugin for tests, as it stands in a rig's folder.

/** Writes down who the plugins believe the client to be. */
export const who = `
  import { definePlugin } from '@posthorn/core'
  import * as z from 'zod'
  export default definePlugin({
    name: 'who',
    schema: z.strictObject({}),
    setup: () => ({
      mail(tx) {
        const { client, helo, auth } = tx.session
        tx.prepend('X-Who', [client.ip, client.name ?? '-', client.via, helo.name, auth?.user ?? '-'].join(' '))
      },
    }),
  })
`
