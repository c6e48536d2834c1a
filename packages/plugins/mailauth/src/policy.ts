// What is done about results: the operator's policy, in one place, as plain functions.
import { type Defer, defer, type Reject, reject } from '@posthorn/core'
import type { Arc, Dmarc, Spf } from './keys.ts'
import type { Action, Options } from './options.ts'

export interface Findings {
  readonly spf: Spf | undefined
  readonly dmarc: Dmarc
  readonly arc: Arc | undefined
  /** The address of the From field, where there is one. */
  readonly author: string | undefined
  /** It has List-Id (RFC 2919) and came through a list. */
  readonly list: boolean
}

export type Decision = Reject | Defer | { readonly junk: string } | undefined

/** The first rule that has something to say. */
export function decide({ dmarc, spf, temperror, invalidFrom, overrides }: Options, found: Findings): Decision {
  const { result } = found.dmarc
  if (result === 'permerror') {
    return act(invalidFrom, `no valid author: ${found.dmarc.reason}`, () =>
      reject(550, '5.7.1', 'The From field does not name one author domain (RFC 5322, RFC 9989)'),
    )
  }
  if (result === 'temperror') {
    const reason = `DMARC of ${found.dmarc.domain} cannot be checked now`
    if (temperror === 'accept') return undefined
    return temperror === 'junk'
      ? { junk: reason }
      : defer(451, '4.7.0', 'DMARC cannot be checked now, try again later', { reason })
  }
  if (result === 'fail') {
    const override = overrides.find(({ sender }) => matches(sender, found.author))
    if (override === undefined && found.arc?.vouched !== undefined) return undefined
    // A domain that asks for nothing is as one without a policy.
    if (override === undefined && found.dmarc.policy === 'none') return hardFail(spf.fail, found)
    const asked = override?.fail ?? wanted(dmarc, found)
    const reason = `DMARC of ${found.dmarc.domain} fails, its policy is ${found.dmarc.policy}`
    return act(asked, reason, () =>
      reject(550, '5.7.1', `Not authorised by the domain of its author (DMARC policy of ${found.dmarc.publishedBy})`, {
        reason,
      }),
    )
  }
  return result === 'none' ? hardFail(spf.fail, found) : undefined
}

function hardFail(action: Action, { spf }: Findings): Decision {
  if (spf?.result !== 'fail') return undefined
  const reason = `SPF of ${spf.domain} fails`
  // RFC 7372 §3.2.
  return act(action, reason, () => reject(550, '5.7.23', 'SPF validation failed', { reason }))
}

/** What the author's domain asks for, as far as the operator follows it. */
function wanted({ reject, quarantine, lists }: Options['dmarc'], { dmarc, list }: Findings): Action {
  if (dmarc.policy === 'none' || dmarc.policy === undefined) return 'none'
  const asked = dmarc.policy === 'reject' ? reject : quarantine
  return list ? milder(asked, lists) : asked
}

const strength = { none: 0, junk: 1, reject: 2 } as const
const milder = (a: Action, b: Action): Action => (strength[a] < strength[b] ? a : b)

function act(action: Action, reason: string, refuse: () => Reject): Decision {
  if (action === 'none') return undefined
  return action === 'junk' ? { junk: reason } : refuse()
}

function matches(
  { local, domain, below }: Options['overrides'][number]['sender'],
  author: string | undefined,
): boolean {
  if (author === undefined) return false
  const at = author.lastIndexOf('@')
  const own = author.slice(at + 1).toLowerCase()
  if (below) return own.endsWith(`.${domain}`)
  return own === domain && (local === undefined || author.slice(0, at).toLowerCase() === local)
}
