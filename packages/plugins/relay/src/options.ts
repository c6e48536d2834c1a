// The options of `relay`, and the next hops that they describe.
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { duration, PosthornError, path, secret } from '@posthorn/core'
import { type NextHop, parseEndpoint, secureContext, type TlsPolicy } from '@posthorn/core/client'
import { canonicalDomain } from '@posthorn/mail'
import * as z from 'zod'

const endpoint = z
  .string()
  .refine(text => parseEndpoint(text, 25) !== undefined, 'expected host:port, [address]:port or unix:/path')

const domain = z
  .string()
  .transform((text, ctx) => {
    const below = text.startsWith('*.')
    const name = canonicalDomain(below ? text.slice(2) : text)
    if (name !== undefined) return below ? `*.${name}` : name
    ctx.issues.push({ code: 'custom', input: text, message: 'expected a domain, example.org or *.example.org' })
    return z.NEVER
  })
  .describe('A domain; `*.example.org` is every domain below it')

export const schema = z
  .strictObject({
    to: z
      .union([endpoint, z.array(endpoint).min(1)])
      .describe('The next hop, `host:port` or `unix:/path`; of several, the first that works'),
    lmtp: z.boolean().default(false).describe('Speak LMTP: the next hop answers for each recipient'),
    domains: z
      .union([z.literal('*'), z.array(domain).min(1)])
      .default('*')
      .describe(
        'Recipient domains that go this way, and are accepted when they are listed; `*`: whatever no earlier plugin delivers, and nothing is accepted for it',
      ),
    routedLocalParts: z
      .boolean()
      .default(false)
      .describe('Accept local parts with %, ! or @ in them too, which the next hop may take for a route elsewhere'),
    tls: z
      .enum(['none', 'opportunistic', 'require', 'verify'])
      .default('opportunistic')
      .describe('STARTTLS where it is offered; always; always and with a certificate that is right'),
    implicitTls: z.boolean().optional().describe('TLS from the first octet; default where the port is 465'),
    servername: z.string().min(1).optional().describe("The name in the next hop's certificate; default its host name"),
    ca: path().optional().describe("PEM file of the CAs to trust instead of the system's"),
    pins: z
      .array(z.string().regex(/^([0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}$/, 'expected a SHA-256 in hex'))
      .min(1)
      .optional()
      .describe('SHA-256 of certificates to trust, whatever their CA and name'),
    certificate: z
      .strictObject({ cert: path(), key: path() })
      .optional()
      .describe('PEM files of the certificate that we show'),
    auth: z
      .strictObject({
        user: z.string().min(1),
        password: secret().optional().describe('For PLAIN and LOGIN'),
        token: secret().optional().describe('For XOAUTH2'),
        insecure: z.boolean().default(false).describe('Send them without TLS too'),
      })
      .refine(auth => auth.password !== undefined || auth.token !== undefined, 'expected a password or a token')
      .optional()
      .describe('What to log in with'),
    helo: z
      .string()
      .regex(/^[A-Za-z0-9._:[\]-]+$/, 'expected a host name')
      .optional()
      .describe('Our name in EHLO; default the listener’s'),
    source: z
      .string()
      .refine(text => isIP(text) !== 0, 'expected an IP address')
      .optional()
      .describe('Source address'),
    chunking: z.boolean().default(true).describe('Use BDAT where it is offered'),
    connections: z.int().min(1).max(10_000).default(20).describe('Connections to the next hop, at most'),
    perMinute: z.int().min(1).optional().describe('Messages per minute, at most'),
    maxRecipients: z.int().min(1).max(10_000).optional().describe('Recipients in one transaction, at most'),
    idle: duration({ min: 100, max: 3_600_000 }).prefault('30s').describe('How long an unused connection is kept'),
    uses: z.int().min(1).default(1000).describe('Messages over one connection, at most'),
  })
  .superRefine(({ tls, pins, ca, servername }, ctx) => {
    const given = pins ? 'pins' : ca ? 'ca' : servername ? 'servername' : undefined
    if (given === undefined || tls === 'verify') return
    const message = `${given} is looked at with tls: verify only`
    ctx.addIssue({ code: 'custom', path: [given], message })
  })

export type Options = z.output<typeof schema>

/** The hops in their order, as `hostname` says EHLO. Throws POSTHORN_RELAY_TLS where a certificate file is no good. */
export function nextHops(options: Options): (hostname: string) => readonly NextHop[] {
  const { to, lmtp, auth, source, chunking } = options
  const read = (file: string) => readFileSync(file, 'utf8')
  const policy = (implicit: boolean): TlsPolicy => ({
    mode: options.tls,
    ...(implicit ? { implicit } : {}),
    ...(options.servername === undefined ? {} : { servername: options.servername }),
    ...(options.pins === undefined ? {} : { pins: options.pins }),
    ...(options.ca === undefined ? {} : { ca: read(options.ca) }),
    ...(options.certificate === undefined
      ? {}
      : { cert: read(options.certificate.cert), key: read(options.certificate.key) }),
  })
  const hops = (typeof to === 'string' ? [to] : to).map(text => {
    const endpoint = parseEndpoint(text, lmtp ? 24 : 25)
    if (endpoint === undefined) throw new TypeError(`no endpoint: ${text}`)
    const implicit = options.implicitTls ?? ('port' in endpoint && endpoint.port === 465)
    return {
      endpoint,
      protocol: lmtp ? ('lmtp' as const) : ('smtp' as const),
      tls: checked(() => policy(implicit && options.tls !== 'none')),
      chunking,
      ...(auth === undefined ? {} : { auth: login(auth) }),
      ...(source === undefined ? {} : { source }),
    }
  })
  const byName = new Map<string, readonly NextHop[]>()
  return hostname => {
    const helo = options.helo ?? hostname
    let named = byName.get(helo)
    if (named === undefined) {
      // One for each listener's name; stored messages may bring others, of configurations long gone.
      if (byName.size === 100) byName.clear()
      named = hops.map(hop => ({ ...hop, helo }))
      byName.set(helo, named)
    }
    return named
  }
}

function checked(make: () => TlsPolicy): TlsPolicy {
  try {
    const policy = make()
    if (policy.mode !== 'none') secureContext(policy)
    return policy
  } catch (cause) {
    throw new PosthornError('POSTHORN_RELAY_TLS', `relay cannot use its certificates: ${(cause as Error).message}`, {
      fix: 'Check that ca, certificate.cert and certificate.key are readable PEM files that belong together.',
      cause,
    })
  }
}

function login({ user, password, token, insecure }: NonNullable<Options['auth']>): NonNullable<NextHop['auth']> {
  return {
    user,
    insecure,
    ...(password === undefined ? {} : { password }),
    ...(token === undefined ? {} : { token }),
  }
}
