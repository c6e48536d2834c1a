// The `dns` section: which resolvers to ask, how patiently, and how much of their answers to keep.
import { isIP } from 'node:net'
import * as z from 'zod'
import { count, strings, withDefaults } from './listener-schema.ts'
import { duration } from './units.ts'

const server = z.string().transform((text, ctx) => {
  const found = parseServer(text)
  if (found !== undefined) return found
  ctx.issues.push({ code: 'custom', input: text, message: 'expected an address like 127.0.0.1, ::1 or [::1]:5353' })
  return z.NEVER
})

const network = z.string().refine(
  text => {
    const [address = '', prefix, ...rest] = text.split('/')
    const bits = isIP(address) === 6 ? 128 : 32
    return isIP(address) !== 0 && rest.length === 0 && /^\d{1,3}$/.test(prefix ?? '0') && Number(prefix ?? 0) <= bits
  },
  { error: 'expected an address or a network like 10.0.0.0/8' },
)

export const dnsSchema = z.strictObject({
  servers: strings()
    .pipe(z.array(server).max(8))
    .optional()
    .describe("Resolvers to ask, in this order: `127.0.0.1`, `[::1]:5353`. Default: the machine's."),
  trusted: strings()
    .pipe(z.array(network))
    .prefault([])
    .describe(
      'Networks (CIDR) of resolvers whose word that an answer is DNSSEC-validated is believed, besides those on this machine.',
    ),
  ...withDefaults(
    {
      timeout: duration({ min: 10, max: 60_000 }).describe('How long to wait for one resolver.'),
      attempts: count(1, 10).describe('How often to ask all of them.'),
      concurrency: count(1, 10_000).describe('Questions under way at the same time; others wait, ten times as many.'),
      cache: z
        .strictObject(
          withDefaults(
            {
              entries: count(0, 10_000_000).describe('Answers kept at most; 0 keeps none.'),
              maxTtl: duration().describe('The longest that an answer is kept.'),
              minTtl: duration({ max: 300_000 }).describe('The shortest that an answer is kept.'),
              negativeTtl: duration().describe('The longest that it is kept that there is no answer.'),
            },
            { entries: 50_000, maxTtl: '1d', minTtl: '5s', negativeTtl: '15m' },
          ),
        )
        .describe('Answers kept in memory.'),
    },
    { timeout: '5s', attempts: 2, concurrency: 200, cache: {} },
  ),
})

/** `192.0.2.1`, `192.0.2.1:53`, `::1`, `[::1]`, `[::1]:53`. Names are no servers: who would resolve them? */
export function parseServer(text: string): { readonly host: string; readonly port: number } | undefined {
  if (isIP(text) !== 0) return { host: text, port: 53 }
  const match = /^(?:\[([^\]]+)\]|([\d.]+))(?::(\d{1,5}))?$/.exec(text)
  const host = match?.[1] ?? match?.[2] ?? ''
  const port = Number(match?.[3] ?? 53)
  if (isIP(host) !== (match?.[1] === undefined ? 4 : 6) || port < 1 || port > 65_535) return undefined
  return { host, port }
}
