// Asks the server behind us whether it has a recipient: RCPT with the null reverse-path, the answers kept. While it
// cannot be asked, old answers count, and then the operator's choice.
import { randomBytes } from 'node:crypto'
import type { Call, Mailbox, RemoteReply } from '@posthorn/core'
import { endpointName, HopMemory, hopKey, type NextHop, Probe, SmtpFailure, type SmtpPool } from '@posthorn/core/client'
import type { Cache } from './cache.ts'

/** `unknown`: it cannot be asked, not by this sender (`unasked`), or did not say. `refused`: in its own words, for another reason than that it is not there. */
export type Answer =
  | { readonly kind: 'exists' | 'absent'; readonly reason: string }
  | { readonly kind: 'unknown'; readonly reason: string; readonly unasked?: true }
  | { readonly kind: 'refused'; readonly reply: RemoteReply }

export interface CalloutParts {
  readonly pool: SmtpPool
  readonly cache: Cache
  readonly hops: (hostname: string) => readonly NextHop[]
  /** Milliseconds that a yes and a no are kept. */
  readonly positive: number
  readonly negative: number
  readonly catchAll: boolean
}

/** Milliseconds that a back end that was down is not dialled again: each RCPT would wait for it. */
const rest = 10_000
const maxUnderWay = 1_000

export class Callout {
  readonly #parts: CalloutParts
  readonly #memory = new HopMemory(100)
  readonly #underWay = new Map<string, Promise<Answer>>()
  #down: { readonly until: number; readonly why: string } | undefined

  constructor(parts: CalloutParts) {
    this.#parts = parts
  }

  async ask(address: Mailbox, hostname: string, call: Call): Promise<Answer> {
    const { cache } = this.#parts
    const key = `${address.local.toLowerCase()}@${address.domain}`
    const now = call.now()
    const all = await cache.get(`@${address.domain}`)
    if (all?.exists && now <= all.until) return { kind: 'exists', reason: 'the domain takes everybody' }
    const known = await cache.get(key)
    if (known !== undefined && now <= known.until) {
      return { kind: known.exists ? 'exists' : 'absent', reason: 'remembered' }
    }
    const answer = await this.#shared(key, address, hostname, call, all === undefined || now > all.until)
    if (answer.kind === 'unknown' && (known?.exists || all?.exists)) {
      return { kind: 'exists', reason: `remembered, since the back end cannot be asked: ${answer.reason}` }
    }
    return answer
  }

  /** The same question at the same time is asked once. Nobody's hang-up ends it for the others. */
  #shared(key: string, address: Mailbox, hostname: string, call: Call, probeAll: boolean): Promise<Answer> {
    const before = this.#underWay.get(key)
    if (before !== undefined) return before
    if (this.#underWay.size >= maxUnderWay) return Promise.resolve({ kind: 'unknown', reason: 'too many call-outs' })
    const asked = this.#dial(key, address, hostname, call, probeAll).finally(() => this.#underWay.delete(key))
    this.#underWay.set(key, asked)
    return asked
  }

  async #dial(key: string, address: Mailbox, hostname: string, call: Call, probeAll: boolean): Promise<Answer> {
    const { hops } = this.#parts
    if (this.#down !== undefined && call.now() < this.#down.until) return { kind: 'unknown', reason: this.#down.why }
    let why = 'nowhere to ask'
    for (const hop of this.#memory.order(hops(hostname), hopKey, call.now())) {
      try {
        const answer = await this.#at(hop, key, address, call, probeAll)
        if (answer.kind === 'unknown' && answer.unasked) {
          // Every question would end so: another one may take it, and the operator has to know.
          why = answer.reason
          this.#memory.failed(hopKey(hop), call.now())
          call.log.warn({ hop: endpointName(hop.endpoint) }, `call-out: MAIL FROM:<> is refused: ${why}`)
          continue
        }
        this.#memory.worked(hopKey(hop))
        this.#down = undefined
        return answer
      } catch (error) {
        if (!(error instanceof SmtpFailure)) throw error
        why = error.message
        this.#memory.failed(hopKey(hop), call.now())
        call.log.warn({ phase: error.phase, kind: error.kind }, `call-out: ${why}`)
      }
    }
    this.#down = { until: call.now() + rest, why }
    return { kind: 'unknown', reason: why }
  }

  async #at(hop: NextHop, key: string, address: Mailbox, call: Call, probeAll: boolean): Promise<Answer> {
    const { pool, cache, positive, negative, catchAll } = this.#parts
    for (let fresh = false; ; fresh = true) {
      const lease = await pool.acquire(hop, { fresh })
      const probe = new Probe(lease.connection, null, {
        smtputf8: !isAscii(address.local),
        requireTls: false,
        other: {},
      })
      try {
        const answer = judged(await probe.ask({ address }))
        const now = call.now()
        if (answer.kind === 'exists' && catchAll && probeAll) {
          const takesAll = judged(await probe.ask({ address: nobody(address.domain) })).kind === 'exists'
          if (takesAll) {
            call.log.warn({ domain: address.domain }, 'the back end takes any recipient: asking it tells nothing')
          }
          await cache.set(`@${address.domain}`, { exists: takesAll, until: now + positive }, now)
        }
        if (answer.kind === 'exists') await cache.set(key, { exists: true, until: now + positive }, now)
        if (answer.kind === 'absent') await cache.set(key, { exists: false, until: now + negative }, now)
        return answer
      } catch (error) {
        // A kept connection may be one that the peer has closed meanwhile.
        if (!(error instanceof SmtpFailure) || fresh || !lease.reused) throw error
      } finally {
        await probe.end()
        lease.release()
      }
    }
  }
}

function judged(reply: RemoteReply): Answer {
  const { code, enhanced, phase, lines } = reply
  const reason = `${code} ${enhanced ?? ''} ${lines[0] ?? ''}`.replace(/\s+/g, ' ').trim()
  if (code < 300) return { kind: 'exists', reason }
  // Who refuses the null reverse-path says nothing of the recipient.
  if (phase === 'mail') return { kind: 'unknown', reason, unasked: true }
  if (code < 500) return { kind: 'unknown', reason }
  const absent =
    enhanced === undefined ? code === 550 || code === 551 || code === 553 : /^5\.1\.[12346]$|^5\.0\.0$/.test(enhanced)
  return absent ? { kind: 'absent', reason } : { kind: 'refused', reply }
}

/** A local part that nobody has. */
function nobody(domain: string): Mailbox {
  const local = `nobody-${randomBytes(12).toString('hex')}`
  return { local, domain, raw: `${local}@${domain}` }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is the point
const isAscii = (text: string) => /^[\x00-\x7f]*$/.test(text)
