// What the operator may say.
import { availableParallelism } from 'node:os'
import { canonicalDomain } from '@posthorn/mail'
import * as z from 'zod'

const domain = z
  .string()
  .transform((name, ctx) => {
    const found = canonicalDomain(name)
    if (found !== undefined) return found
    ctx.issues.push({ code: 'custom', input: name, message: 'expected a domain name, example.org' })
    return z.NEVER
  })
  .describe('A domain name; U-labels are understood')

const action = z.enum(['reject', 'junk', 'none'])

/** `anna@example.org`, `example.org`, or `.example.org` for all that is below it. */
const sender = z.string().transform((text, ctx) => {
  const at = text.lastIndexOf('@')
  const below = at < 0 && text.startsWith('.')
  const name = canonicalDomain(text.slice(below ? 1 : at + 1))
  if (name !== undefined && at !== 0) {
    return { local: at < 0 ? undefined : text.slice(0, at).toLowerCase(), domain: name, below }
  }
  ctx.issues.push({ code: 'custom', input: text, message: 'expected anna@example.org, example.org or .example.org' })
  return z.NEVER
})

export const schema = z.strictObject({
  authservId: z
    .string()
    .regex(/^[A-Za-z0-9._-]+$/, 'expected a name such as mx.example.org')
    .optional()
    .describe('Our name in Authentication-Results; default the host name of the listener. One for a whole cluster'),
  dmarc: z
    .strictObject({
      reject: action.default('reject').describe('What p=reject does to mail that fails: `550 5.7.1`, Junk, or nothing'),
      quarantine: action.default('junk').describe('The same for p=quarantine'),
      lists: action.default('junk').describe('The most that p=reject does to mail that came over a mailing list'),
    })
    .prefault({}),
  spf: z
    .strictObject({
      fail: action
        .default('none')
        .describe(
          'What a hard fail (-all) does where DMARC does not decide. Forwarded mail fails too: `reject` loses it',
        ),
    })
    .prefault({}),
  temperror: z
    .enum(['accept', 'junk', 'defer'])
    .default('accept')
    .describe('Where DNS trouble leaves open whether DMARC passes: accept, Junk, or `451 4.7.0` to try again'),
  invalidFrom: action
    .default('junk')
    .describe('Mail without exactly one From field and author domain, of which DMARC can say nothing'),
  overrides: z
    .array(
      z.strictObject({
        sender: sender.describe('anna@example.org, example.org, or .example.org for all below it; of the From field'),
        fail: action.describe(
          'What a DMARC fail does to mail that says it is from there, whatever the domain asks for',
        ),
      }),
    )
    .default([])
    .describe('Senders whose DMARC policy is not followed; the first that matches counts'),
  trustedForwarders: z
    .array(domain)
    .default([])
    .describe('Domains whose ARC seal is believed: mail that passed DMARC there passes here'),
  bimi: z
    .boolean()
    .default(false)
    .describe('Look up the logo of senders that pass DMARC (bimi=), one or two questions more'),
  user: z
    .boolean()
    .default(true)
    .describe('Name the user in auth= of mail sent by authenticated sessions; recipients elsewhere can read it'),
  include: z
    .array(z.string().min(1))
    .default(['rspamd', 'dnsbl', 'milter'])
    .describe('Plugins that may speak in our Authentication-Results'),
  workers: z
    .int()
    .min(1)
    .max(64)
    .default(() => Math.max(1, Math.min(4, availableParallelism() - 1)))
    .describe('Threads that verify; a change needs a restart. Default: one less than the cores, at most 4'),
  limits: z
    .strictObject({
      signatures: z
        .int()
        .min(1)
        .max(20)
        .default(20)
        .describe('DKIM signatures that are verified; further ones are `policy`'),
      lookups: z.int().min(20).max(100).default(29).describe('DNS questions that one message may cost'),
      spfLookups: z.int().min(1).max(10).default(10).describe('Terms of an SPF record that ask DNS (RFC 7208 §4.6.4)'),
      spfVoidLookups: z.int().min(1).max(10).default(2).describe('Of them, those that may find nothing'),
      minKeyBits: z.int().min(1024).max(4096).default(1024).describe('Shorter RSA keys are `policy` (RFC 8301)'),
      maxKeyBits: z.int().min(2048).max(16_384).default(8192).describe('Longer RSA keys are `policy`'),
    })
    .prefault({}),
})

export type Options = z.output<typeof schema>
export type Action = z.output<typeof action>
