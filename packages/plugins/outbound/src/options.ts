// The options of `outbound`.
import { canonicalPattern, duration, Networks, selector } from '@posthorn/core'
import { heloName, keepShape, laneShape, tlsModes, tlsShape } from '@posthorn/core/client'
import * as z from 'zod'

const networks = (what: string) =>
  z
    .array(z.string())
    .default([])
    .transform((given, ctx) => {
      try {
        return new Networks(given, what)
      } catch (error) {
        ctx.issues.push({ code: 'custom', input: given, message: (error as Error).message })
        return z.NEVER
      }
    })

const pattern = z.string().transform((text, ctx) => {
  const found = canonicalPattern(text)
  if (found !== undefined) return found
  ctx.issues.push({ code: 'custom', input: text, message: 'expected a domain, example.org or *.example.org' })
  return z.NEVER
})

const ipv4 = z.ipv4({ error: 'expected an IPv4 address' })
const ipv6 = z.ipv6({ error: 'expected an IPv6 address' })

const us = {
  helo: heloName().optional().describe('Our name in EHLO; default the listener’s'),
  ipv4: ipv4.optional().describe('Source address towards IPv4'),
  ipv6: ipv6.optional().describe('Source address towards IPv6; with one of the two given the other is not used'),
}

const identity = z.strictObject({
  name: z
    .string()
    .regex(/^[\w.-]{1,50}$/, 'expected a name of letters, digits and . _ -')
    .describe('Its name: lanes are called `domain/name`, so that one address in disgrace does not stop the others'),
  when: selector().describe('The mail that is sent by it'),
  ...us,
})

const { perMinute, maxRecipients } = laneShape

const secured = {
  tls: z
    .enum(tlsModes)
    .optional()
    .describe('STARTTLS where it is offered; always; always and with a right certificate'),
  ca: tlsShape.ca,
  pins: tlsShape.pins,
  certificate: tlsShape.certificate,
  mx: z
    .array(pattern)
    .min(1)
    .optional()
    .describe('Names of mail servers to believe, `mx.example.org` or `*.example.org`, whatever the DNS says'),
}

const limits = {
  connections: z.int().min(1).max(10_000).optional().describe('Deliveries to it at the same time, at most'),
  perMinute: perMinute.describe('Messages to it per minute, at most'),
  maxRecipients: maxRecipients.describe('Recipients in one transaction, at most'),
  retry: z
    .array(duration({ min: 1 }))
    .min(1)
    .optional()
    .describe("Times between attempts; default the queue's"),
  expire: duration({ min: 1 }).optional().describe("When to give up; default the queue's"),
}

const destination = z.strictObject({ ...secured, ...limits }).superRefine(({ tls, pins, ca }, ctx) => {
  const given = pins ? 'pins' : ca ? 'ca' : undefined
  if (given === undefined || tls === 'verify') return
  ctx.addIssue({ code: 'custom', path: [given], message: `${given} is looked at with tls: verify only` })
})

export const schema = z.strictObject({
  ...us,
  identities: z
    .array(identity)
    .default([])
    .superRefine((given, ctx) => {
      for (const [nth, { name }] of given.entries()) {
        if (given.findIndex(other => other.name === name) === nth) continue
        ctx.addIssue({ code: 'custom', path: [nth, 'name'], message: `expected a name of its own: ${name} is taken` })
      }
    })
    .describe('Other names and addresses for some mail; the first that fits'),
  tls: tlsShape.tls,
  certificate: tlsShape.certificate,
  destinations: z
    .record(pattern, destination)
    .default({})
    .describe('By recipient domain (`example.org`, `*.example.org`): TLS that it must have, and limits'),
  families: z
    .array(z.enum(['ipv4', 'ipv6']))
    .min(1)
    .optional()
    .describe('Address families in order of preference; default IPv6 where this machine has it, then IPv4'),
  port: z.int().min(1).max(65_535).default(25).describe('Port of every mail server'),
  literals: z.boolean().default(true).describe('Deliver to address literals, anna@[192.0.2.1]'),
  self: z
    .array(z.string().min(1))
    .default([])
    .describe(
      'Names and addresses that are us, beside our hostnames and those of this machine: public ones behind NAT',
    ),
  allow: networks('allow').describe(
    'Networks that may be dialled although they are this machine, link-local or the like',
  ),
  deny: networks('deny').describe('Further networks that may not be: internal ones that nobody outside should reach'),
  attempts: z.int().min(1).max(50).default(5).describe('Addresses that are tried for one delivery, at most'),
  chunking: z.boolean().default(true).describe('Use BDAT where it is offered'),
  ...limits,
  connections: laneShape.connections,
  total: z.int().min(1).max(100_000).default(1000).describe('Connections in all'),
  ...keepShape,
})

export type Options = z.output<typeof schema>
