// A whole plugin: refuses one sender, marks what comes from another, and measures every body.

import { createHash } from 'node:crypto'
import { definePlugin, reject } from '@posthorn/core'
import * as z from 'zod'

export default definePlugin({
  name: 'signpost',
  schema: z.strictObject({
    refuse: z.array(z.string()).default([]).describe('Reverse-paths that are refused'),
    mark: z.string().default('X-Signpost').describe('The header that tells size and SHA-256 of what was received'),
  }),
  setup({ log }, { refuse, mark }) {
    const refused = new Set(refuse.map(address => address.toLowerCase()))
    return {
      mail(_tx, from) {
        if (from === null || !refused.has(`${from.local}@${from.domain}`.toLowerCase())) return
        return reject(550, '5.7.1', 'We do not take mail from you', { reason: `${from.raw} is on the list` })
      },

      // Returning a tap reads the body as it streams; `end` speaks at the dot.
      data() {
        const hash = createHash('sha256')
        let octets = 0
        return {
          write(chunk) {
            hash.update(chunk)
            octets += chunk.length
          },
          end(message) {
            message.prepend(mark, `${octets} octets, sha256=${hash.digest('hex')}`)
            log.debug({ id: message.id, octets }, 'measured')
          },
        }
      },
    }
  },
})
