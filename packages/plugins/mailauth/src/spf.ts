// check_host() of RFC 7208 for HELO and MAIL FROM, by the library in its strict mode, which does all of the RFC 7208 suite
// but what is corrected here.
import { spf } from 'mailauth/lib/spf/index.js'
import { clip, oneLine } from './clip.ts'
import type { SpfCheck, SpfVerdict } from './keys.ts'
import { type Ask, resolverFor } from './resolver.ts'
import type { SpfJob, SpfOutcome } from './wire.ts'

/** Both identities; a HELO that is no domain name is not checked beside a MAIL FROM. */
export async function checkSpf(job: SpfJob, ask: Ask): Promise<SpfOutcome> {
  if (job.sender === '') return { helo: await checkHost(job, '', ask) }
  const [mailfrom, helo] = await Promise.all([
    checkHost(job, job.sender, ask),
    isName(job.helo) ? checkHost(job, '', ask) : undefined,
  ])
  return helo === undefined ? { mailfrom } : { mailfrom, helo }
}

/** `sender` '': postmaster of the HELO name (RFC 7208 §2.4). Never throws for what DNS says. */
export async function checkHost(job: SpfJob, sender: string, ask: Ask): Promise<SpfCheck> {
  const { domain, explanation, status } = await spf({
    sender,
    ip: job.ip,
    helo: job.helo,
    mta: job.hostname,
    strict: true,
    resolver: resolverFor('spf', ask),
    maxResolveCount: job.lookups,
    maxVoidCount: job.voidLookups,
  })
  const result = status.result as SpfVerdict
  const reason = status.comment?.startsWith(`${job.hostname}: `) ? status.comment.slice(job.hostname.length + 2) : ''
  return {
    result,
    domain: isName(domain) ? clip(domain, 253) : '',
    ...(reason === '' ? {} : { reason: oneLine(reason, 200) }),
    ...(result === 'fail' && explanation ? { explanation: oneLine(spelled(clip(explanation, 2_000)), 300) } : {}),
  }
}

/** RFC 7208 leaves the case of an IPv6 address in %{i} open; its test suite has capitals, the library has none. */
const spelled = (text: string) => text.replace(/\b(?:[0-9a-f]\.){31}[0-9a-f]\b/g, nibbles => nibbles.toUpperCase())

const isName = (name: string) => /^[a-z0-9_-]+(\.[a-z0-9_-]+)+\.?$/i.test(name)
