// A whole plugin in one file: refuses senders, taps the body, annotates the header, leaves a result for others.

import { createHash } from 'node:crypto'
import { definePlugin, messageState, reject } from '@posthorn/core'
import * as z from 'zod'

/** SHA-256 of the message as it was received, in hex. Other plugins import this key to read it. */
export const fingerprint = messageState<string>('fingerprint/sha256')

export default definePlugin({
  name: 'fingerprint',
  schema: z.strictObject({
    refuse: z.array(z.string().toLowerCase()).default([]).describe('Senders that get 550 5.7.1'),
    junkOver: z.int().min(1).default(10_000_000).describe('Larger messages go to Junk, in octets'),
  }),
  setup: (_ctx, { refuse, junkOver }) => ({
    mail(_tx, from) {
      if (from === null || !refuse.includes(`${from.local}@${from.domain}`.toLowerCase())) return
      return reject(550, '5.7.1', 'We take no mail from you', { reason: `${from.raw} is on the list` })
    },
    data: {
      writes: [fingerprint],
      handler() {
        const hash = createHash('sha256')
        return {
          write(chunk) {
            hash.update(chunk)
          },
          end(message) {
            const sha256 = hash.digest('hex')
            message.state.set(fingerprint, sha256)
            message.prepend('X-Fingerprint', sha256)
            if (message.size > junkOver) message.junk(`larger than ${junkOver} octets`)
          },
        }
      },
    },
  }),
})
