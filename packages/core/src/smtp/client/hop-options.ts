// The options of a next hop, as every plugin that dials one spells them, and the hops that they describe.
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import * as z from 'zod'
import { path } from '../../config/schema.ts'
import { secret } from '../../config/secret.ts'
import { duration } from '../../config/units.ts'
import type { LaneLimits } from '../../delivery.ts'
import { PosthornError } from '../../errors.ts'
import type { Origin } from '../../session.ts'
import { identified, identityForms } from './identity.ts'
import { type ClientAuth, type Endpoint, type NextHop, parseEndpoint, type TlsPolicy } from './next-hop.ts'
import type { PoolLimits } from './pool.ts'
import { secureContext } from './tls.ts'

/** A zod schema for `host:port`, `[address]:port` or `unix:/path`. */
export const endpointText = () =>
  z.string().refine(text => parseEndpoint(text, 25) !== undefined, 'expected host:port, [address]:port or unix:/path')

export const tlsModes = ['none', 'opportunistic', 'require', 'verify'] as const

/** How a connection is secured: the part of {@link hopShape} that hops found by MX have too. */
export const tlsShape = {
  tls: z
    .enum(tlsModes)
    .default('opportunistic')
    .describe('STARTTLS where it is offered; always; always and with a certificate that is right'),
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
}

export const ipAddress = () => z.string().refine(text => isIP(text) !== 0, 'expected an IP address')

export const heloName = () => z.string().regex(/^[A-Za-z0-9._:[\]-]+$/, 'expected a host name')

/** All options of a hop but where it is. */
export const hopShape = {
  lmtp: z.boolean().default(false).describe('Speak LMTP: the next hop answers for each recipient'),
  ...tlsShape,
  implicitTls: z.boolean().optional().describe('TLS from the first octet; default where the port is 465'),
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
  helo: heloName().optional().describe('Our name in EHLO; default the listener’s'),
  source: ipAddress().optional().describe('Source address'),
  forward: z.enum(identityForms).optional().describe('Tell it who the real client is: it must trust us to say so'),
  chunking: z.boolean().default(true).describe('Use BDAT where it is offered'),
}

/** How much a lane may do at once. */
export const laneShape = {
  connections: z.int().min(1).max(10_000).default(20).describe('Deliveries at the same time, at most'),
  perMinute: z.int().min(1).optional().describe('Messages per minute, at most'),
  maxRecipients: z.int().min(1).max(10_000).optional().describe('Recipients in one transaction, at most'),
}

/** How long connections are kept. */
export const keepShape = {
  idle: duration({ min: 100, max: 3_600_000 }).prefault('30s').describe('How long an unused connection is kept'),
  uses: z.int().min(1).default(1000).describe('Messages over one connection, at most'),
  age: duration({ min: 1000 }).prefault('30m').describe('How long a connection is used at all'),
}

const tlsObject = z.object(tlsShape)
const hopObject = z.object(hopShape)
const laneObject = z.object(laneShape)
const keepObject = z.object(keepShape)
export type TlsOptions = z.output<typeof tlsObject>
export type HopOptions = z.output<typeof hopObject>
export type LaneOptions = z.output<typeof laneObject>
export type KeepOptions = z.output<typeof keepObject>

/** For `superRefine`: options that would be looked at in vain. */
export function checkTls({ tls, pins, ca, servername }: TlsOptions, ctx: z.RefinementCtx): void {
  const given = pins ? 'pins' : ca ? 'ca' : servername ? 'servername' : undefined
  if (given === undefined || tls === 'verify') return
  ctx.addIssue({ code: 'custom', path: [given], message: `${given} is looked at with tls: verify only` })
}

/** Throws POSTHORN_HOP_TLS, in `name`'s name, where a certificate file is no good. Make it once: contexts hang on it. */
export function tlsPolicy(name: string, options: TlsOptions): TlsPolicy {
  const { tls, servername, pins, ca, certificate } = options
  const read = (file: string) => readFileSync(file, 'utf8')
  try {
    const policy: TlsPolicy = {
      mode: tls,
      ...(servername === undefined ? {} : { servername }),
      ...(pins === undefined ? {} : { pins }),
      ...(ca === undefined ? {} : { ca: read(ca) }),
      ...(certificate === undefined ? {} : { cert: read(certificate.cert), key: read(certificate.key) }),
    }
    if (tls !== 'none') secureContext(policy)
    return policy
  } catch (cause) {
    throw new PosthornError('POSTHORN_HOP_TLS', `${name} cannot use its certificates: ${(cause as Error).message}`, {
      fix: 'Check that ca, certificate.cert and certificate.key are readable PEM files that belong together.',
      cause,
    })
  }
}

/** The hops that `to` names, in its order, as `hostname` says EHLO, for the client of `origin`. Throws as {@link tlsPolicy} does. */
export function nextHops(
  name: string,
  to: readonly string[],
  options: HopOptions,
): (hostname: string, origin?: Origin) => readonly NextHop[] {
  const { lmtp, auth, source, chunking, forward } = options
  const started = tlsPolicy(name, options)
  const implicit: TlsPolicy = { ...started, implicit: true }
  const hops = to.map(text => {
    const endpoint = parseEndpoint(text, lmtp ? 24 : 25) as Endpoint
    const wrapped = options.implicitTls ?? ('port' in endpoint && endpoint.port === 465)
    return {
      endpoint,
      protocol: lmtp ? ('lmtp' as const) : ('smtp' as const),
      tls: wrapped && options.tls !== 'none' ? implicit : started,
      chunking,
      ...(auth === undefined ? {} : { auth: login(auth) }),
      ...(source === undefined ? {} : { source }),
    }
  })
  const byName = new Map<string, readonly NextHop[]>()
  return (hostname, origin) => {
    const helo = options.helo ?? hostname
    let named = byName.get(helo)
    if (named === undefined) {
      // One for each listener's name; stored messages may bring others, of configurations long gone.
      if (byName.size === 100) byName.clear()
      named = hops.map(hop => ({ ...hop, helo }))
      byName.set(helo, named)
    }
    return forward === undefined ? named : named.map(hop => identified(hop, forward, origin))
  }
}

/** What the queue is to keep to. */
export function laneLimits({ connections, perMinute, maxRecipients }: LaneOptions): LaneLimits {
  return {
    concurrency: connections,
    ...(perMinute === undefined ? {} : { perMinute }),
    ...(maxRecipients === undefined ? {} : { maxRecipients }),
  }
}

/** A pool's name by its limits, so that a reload that changes one gets a new pool and not a demand to restart. */
export function poolKey({ perHop, total, idle, uses, age }: Required<PoolLimits>): string {
  return `pool ${[perHop, total, idle, uses, age].join(' ')}`
}

function login({ user, password, token, insecure }: NonNullable<HopOptions['auth']>): ClientAuth {
  return {
    user,
    insecure,
    ...(password === undefined ? {} : { password }),
    ...(token === undefined ? {} : { token }),
  }
}
