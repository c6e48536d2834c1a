// Our Dns behind the resolver that the library expects: records as node:dns gives them, errors by code. What is too
// large to be meant seriously stops here, before a regular expression of the library sees it.
import type { Resolver } from 'mailauth/lib/dkim/dkim-verifier.js'
import type { Answer, AskedType, Purpose } from './wire.ts'

export type Ask = (name: string, type: AskedType, purpose: Purpose) => Promise<Answer>

/** Octets of one TXT record: the longest key that we verify with takes 1,500, the longest SPF records seen 4,000. */
const longestText = 16_384

export class LookupError extends Error {
  readonly code: string
  /** What the library's SPF makes of it. */
  readonly spfResult?: { readonly error: string; readonly text: string }

  constructor(code: string, message: string, spf?: 'permerror') {
    super(message)
    this.code = code
    if (spf !== undefined) this.spfResult = { error: spf, text: message }
  }
}

/** DNS did not answer, or was not asked: there may be an answer another time. */
export const unanswered = (error: unknown): boolean =>
  error instanceof LookupError && ['ETIMEOUT', 'ESERVFAIL', 'ELIMIT'].includes(error.code)

/** Throws {@link LookupError}: ENOTFOUND and ENODATA, ETIMEOUT and ESERVFAIL; ELIMIT where a message has asked enough. */
export function resolverFor(purpose: Purpose, ask: Ask): Resolver {
  return async (name, type) => {
    const answer = await ask(name, type as AskedType, purpose)
    if ('code' in answer) {
      if (answer.code === 'ELIMIT') throw new LookupError('ELIMIT', 'too many DNS lookups for one message', 'permerror')
      throw new LookupError(answer.code, `${answer.code} ${type} ${name}`)
    }
    if (type !== 'TXT') return answer.records
    const texts = answer.records as readonly (readonly string[])[]
    const short = texts.filter(([text = '']) => text.length <= longestText)
    if (short.length === 0 && texts.length > 0) {
      // For DMARC and BIMI it is one of the records that are none of theirs.
      if (purpose === 'dmarc' || purpose === 'bimi')
        throw new LookupError('ENODATA', `no record of ${name} is short enough`)
      throw new LookupError('EINVALIDVAL', `TXT record of ${name} has more than ${longestText} octets`, 'permerror')
    }
    // RFC 6376 §3.6.2.2 leaves several records undefined, and the library reads the first: a key is what has p=.
    return purpose === 'key' ? [...short].sort((a, b) => hasKey(b) - hasKey(a)) : short
  }
}

const hasKey = ([text = '']: readonly string[]): number => (/(?:^|;)\s*p\s*=/.test(text) ? 1 : 0)
