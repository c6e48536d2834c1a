// Who sent it: SPF and iprev at MAIL, DKIM, ARC, DMARC and BIMI at the dot, all in worker threads; the operator's policy;
// and one Authentication-Results field for what all plugins found.
import { Dns, definePlugin, localState, type Mailbox, type Session, type Transaction } from '@posthorn/core'
import * as authres from './header.ts'
import { checkIprev } from './iprev.ts'
import { arc, authResults, bimi, dkim, dmarc, iprev, type Spf, spf } from './keys.ts'
import { Lookups } from './lookups.ts'
import { schema } from './options.ts'
import { decide } from './policy.ts'
import { JobFailed, Pool } from './pool.ts'
import type { SpfOutcome, VerifyOutcome } from './wire.ts'

/** The questions of the transaction under way, from MAIL to the dot. */
const lookupsOf = localState<{ readonly id: string; readonly lookups: Lookups }>('mailauth/lookups')

/** What strangers hand in is judged; our own users are known already. */
const judged = ({ client, auth, listener }: Session) =>
  client !== undefined && auth === undefined && listener.role !== 'submission'

const stall = 1_500
const spfPatience = 20_000

export default definePlugin({
  name: 'mailauth',
  schema,
  inject: { dns: Dns },
  async setup({ services: { dns }, shared, log }, options) {
    const { limits } = options
    const pool = await shared(
      'workers',
      { workers: options.workers },
      () => new Pool({ workers: options.workers, stall, patience: spfPatience, log }),
      open => open.close(),
    )
    const trustedForwarders = options.trustedForwarders
    const includes = options.include.map(authResults)

    const lookupsFor = (tx: Transaction): Lookups => {
      const known = tx.session.state.get(lookupsOf)
      if (known?.id === tx.id) return known.lookups
      const lookups = new Lookups(dns, limits.lookups)
      tx.session.state.set(lookupsOf, { id: tx.id, lookups })
      return lookups
    }

    return {
      ready: () => pool.warm(),

      mail: {
        writes: [iprev, spf],
        on: ['mx'],
        async handler(tx, from) {
          const { session } = tx
          if (!judged(session) || session.client === undefined) return
          const lookups = lookupsFor(tx)
          const { ip } = session.client
          const job = {
            ip,
            helo: session.helo?.name ?? '',
            sender: from === null ? '' : `${from.local}@${from.domain}`,
            hostname: session.local.hostname,
            lookups: limits.spfLookups,
            voidLookups: limits.spfVoidLookups,
          }
          const [reverse, outcome] = await Promise.all([
            checkIprev(ip, lookups),
            pool.spf(job, lookups).catch(orFailed<SpfOutcome>({})),
          ])
          tx.state.set(iprev, reverse)
          tx.state.set(spf, spfOf(outcome, from))
        },
      },

      data: {
        reads: [spf, iprev],
        writes: [dkim, dmarc, arc, bimi],
        on: ['mx', 'submission'],
        handler(tx, call) {
          // Whoever says so in our name is not us: only `seal` is.
          tx.strip('Authentication-Results', { authservId: options.authservId ?? tx.session.local.hostname })
          if (!judged(tx.session)) return
          // Readers believe these of us only.
          if (options.bimi) for (const name of ['BIMI-Location', 'BIMI-Indicator']) tx.strip(name, { contains: '' })
          const identity = tx.state.get(spf)
          const stream = pool.verify(
            {
              now: call.now(),
              signatures: limits.signatures,
              minKeyBits: limits.minKeyBits,
              maxKeyBits: limits.maxKeyBits,
              trustedForwarders,
              bimi: options.bimi,
              spf: identity === undefined ? undefined : { result: identity.result, domain: identity.domain },
            },
            lookupsFor(tx),
          )
          tx.signal.addEventListener('abort', () => stream.drop(), { once: true })
          return {
            write: chunk => stream.write(chunk),
            async end(message) {
              const outcome = await stream.end().catch(orFailed<VerifyOutcome>(unverified))
              message.state.set(dkim, outcome.dkim)
              message.state.set(dmarc, outcome.dmarc)
              if (outcome.arc !== undefined) message.state.set(arc, outcome.arc)
              if (outcome.bimi !== undefined) message.state.set(bimi, outcome.bimi)
              const decision = decide(options, {
                spf: identity,
                dmarc: outcome.dmarc,
                arc: outcome.arc,
                author: outcome.author,
                list: message.header('List-Id').length > 0,
              })
              if (decision !== undefined && 'junk' in decision) message.junk(decision.junk)
              else return decision
            },
          }
        },
      },

      seal: {
        on: ['mx', 'submission'],
        before: ['dkim-sign', 'arc-seal'],
        handler(final) {
          const { origin } = final
          const found = {
            iprev: final.get(iprev),
            spf: final.get(spf),
            dkim: final.get(dkim),
            dmarc: final.get(dmarc),
            arc: final.get(arc),
            bimi: final.get(bimi),
          }
          const results = [
            ...authres.resultsOf(found, origin, options),
            ...includes.flatMap(key => authres.contributed(final.get(key))),
          ]
          const id = options.authservId ?? origin.local.hostname
          return [['Authentication-Results', authres.fieldOf(id, results, final.params.smtputf8)]]
        },
      },
    }
  },
})

function spfOf({ mailfrom, helo }: SpfOutcome, from: Mailbox | null): Spf {
  const failed = { result: 'temperror', domain: from?.domain ?? '', reason: 'could not be checked' } as const
  if (from === null) return { ...(helo ?? failed), identity: 'helo', sender: '' }
  const checked = { ...(mailfrom ?? failed), identity: 'mailfrom', sender: from.raw } as const
  return helo === undefined ? checked : { ...checked, helo }
}

const unverified: VerifyOutcome = {
  dkim: { signatures: [{ result: 'temperror', reason: 'could not be checked' }], more: 0 },
  dmarc: { result: 'temperror', aligned: [], reason: 'could not be checked' },
  // No word of ARC: it has no temperror (RFC 8617 §4.4), and a seal would make a fail of ours the chain's for good.
}

/** The pool has logged why. */
function orFailed<T>(instead: T): (error: unknown) => T {
  return error => {
    if (error instanceof JobFailed) return instead
    throw error
  }
}
