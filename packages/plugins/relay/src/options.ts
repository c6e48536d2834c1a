// The options of `relay`.
import { domainPattern } from '@posthorn/core'
import { checkTls, endpointText, hopShape, keepShape, laneShape } from '@posthorn/core/client'
import * as z from 'zod'

// `*` in a list would accept mail for the whole world: an open relay by one character.
const listed = domainPattern().refine(pattern => pattern !== '*', "expected a domain; for all of them domains: '*'")

export const schema = z
  .strictObject({
    to: z
      .union([endpointText(), z.array(endpointText()).min(1)])
      .transform(to => (typeof to === 'string' ? [to] : to))
      .describe('The next hop, `host:port` or `unix:/path`; of several, the first that works'),
    domains: z
      .union([z.literal('*'), z.array(listed).min(1)])
      .default('*')
      .describe(
        'Recipient domains that go this way, and are accepted when they are listed; `*`: whatever no earlier plugin delivers, and nothing is accepted for it',
      ),
    routedLocalParts: z
      .boolean()
      .default(false)
      .describe('Accept local parts with %, ! or @ in them too, which the next hop may take for a route elsewhere'),
    ...hopShape,
    ...laneShape,
    ...keepShape,
  })
  .superRefine(checkTls)
