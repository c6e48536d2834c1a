// One session's way through the stages, for every listener. It knows hooks and verdicts; its caller knows the wire.
import type { Mailbox, MailParams, RcptParams, Reply } from '@posthorn/mail'
import { Aborter, aborted } from '../aborter.ts'
import { andThen } from '../awaitable.ts'
import type { Generation } from '../boot/contract.ts'
import type { Credentials } from '../credentials.ts'
import type { HookEntry, RunOptions, Scene, StagePlan } from '../hooks/contract.ts'
import { runFirst, runGate } from '../hooks/run.ts'
import { newId } from '../id.ts'
import { silentLog } from '../log.ts'
import { changes } from '../message/edits.ts'
import { Spool } from '../message/spool.ts'
import type { StageName } from '../plugin.ts'
import type { TraceEntry } from '../queue/contract.ts'
import type { Origin, Session } from '../session.ts'
import { newStateStore, type StateBuffer, type StateStore } from '../state.ts'
import type { Op } from '../storage/contract.ts'
import type { Awaitable } from '../transaction.ts'
import type { Discard, Verdict } from '../verdict.ts'
import { BodyIntake } from './body.ts'
import type { Arrival, BodySink, PipelineSession } from './contract.ts'
import type { RecipientRecord } from './envelope.ts'
import { CallUnit, recipientView } from './handles.ts'
import type { PipelineParts } from './pipeline.ts'
import { differsInPolicy } from './policy.ts'
import { describeVerdict, passedOnReply, replies, verdictReply } from './replies.ts'
import { ownTarget, type Resolution, resolveRecipient } from './resolve.ts'
import { type Invoke, StageScene } from './scene.ts'
import { Trace } from './trace.ts'
import { TransactionCore } from './transaction.ts'

/** The id that a submission wants, what caused it, and what is to be committed with it. */
export interface SubmissionDraft {
  readonly id: string
  readonly cause?: string
  readonly with?: readonly Op[]
}

export class SessionCore implements PipelineSession {
  readonly parts: PipelineParts
  readonly generation: Generation
  readonly arrival: Arrival
  readonly aborter = new Aborter()
  readonly state: StateStore = newStateStore()
  readonly session: Session
  origin: Origin
  tx: TransactionCore | undefined
  /** What `Submission.submit` came with; absent for what came over a wire. */
  readonly submission: SubmissionDraft | undefined
  readonly #release: () => void
  /** Entries of connect, helo and auth: they belong to every message of the session. */
  #before: readonly TraceEntry[] = []
  #heloKeys: string[] = []
  #closed = false

  constructor(parts: PipelineParts, arrival: Arrival, submission?: SubmissionDraft) {
    const { pendingInput: _, ...rest } = arrival
    this.parts = parts
    this.arrival = arrival
    this.submission = submission
    this.generation = parts.generation()
    this.#release = this.generation.hold()
    this.origin = { id: newId(parts.clock.now()), ...rest }
    this.session = new CallUnit(observer, this, undefined, () => undefined).session
  }

  get retired(): boolean {
    return this.generation.retired.reason !== undefined
  }

  connect(): Awaitable<Reply | undefined> {
    return this.#sessionGate('connect', (unit, call) => unit.entry.handler(unit.session, call))
  }

  helo(verb: 'HELO' | 'EHLO' | 'LHLO', name: string): Awaitable<Reply | undefined> {
    this.reset()
    this.#forgetHelo()
    return andThen(
      this.#sessionGate('helo', (unit, call) => unit.entry.handler(unit.session, name, call)),
      refused => {
        if (refused === undefined) this.origin = { ...this.origin, helo: { verb, name } }
        return refused
      },
    )
  }

  secured(tls: NonNullable<Origin['tls']>): void {
    this.reset()
    this.#forgetHelo()
    const { helo: _, auth: __, ...rest } = this.origin
    this.origin = { ...rest, tls }
  }

  auth(credentials: Credentials): Awaitable<{ readonly user: string } | Reply> {
    const trace = new Trace()
    const scene = this.scene(trace, undefined, (unit, call) => unit.entry.handler(unit.session, credentials, call))
    return andThen(this.run(runFirst, 'auth', scene), ({ value, verdict }) => {
      this.#before = [...this.#before, ...trace.entries]
      if (verdict !== undefined) return verdictReply(verdict, this.origin.id)
      const { log } = this.parts
      const client = this.origin.client?.ip
      const { mechanism } = credentials
      if (value === undefined) {
        // The user name is logged for those who watch for guessing; the secret never is.
        log.warn({ session: this.origin.id, client, mechanism, user: credentials.username }, 'authentication failed')
        return replies.badCredentials
      }
      const { user, scopes = [] } = value as { user: string; scopes?: readonly string[] }
      this.origin = { ...this.origin, auth: { user, mechanism, scopes } }
      log.info({ session: this.origin.id, client, mechanism, user }, 'authenticated')
      return { user }
    })
  }

  mail(from: Mailbox | null, params: MailParams): Awaitable<Reply> {
    this.reset()
    const { blobs, clock } = this.parts
    const id = this.submission?.id ?? newId(clock.now())
    const tx = new TransactionCore(id, from, params, new Spool(blobs, this.generation.config.body.memory))
    for (const entry of this.#before) tx.trace.add(entry)
    const scene = this.scene(tx.trace, tx, (unit, call) => unit.entry.handler(unit.message, from, call))
    return andThen(this.run(runGate, 'mail', scene), ({ verdict, by }) => {
      if (verdict?.kind === 'discard') tx.discarded = { by: by ?? '', reason: verdict.reason }
      else if (verdict !== undefined && !this.holdsInstead(tx, verdict, by)) {
        const reply = verdictReply(verdict, tx.id)
        this.ended(tx, reply, by)
        return reply
      }
      this.tx = tx
      return replies.sender
    })
  }

  rcpt(to: Mailbox, params: RcptParams): Awaitable<Reply> {
    const { tx } = this
    if (tx === undefined) return replies.noRecipients
    const known = tx.envelope.find(to)
    if (known !== undefined) {
      tx.envelope.accept(known)
      return replies.recipient
    }
    const plan = this.generation.plan.stages.resolve
    if (plan.waves.length + plan.effects.length === 0)
      return this.#judge(tx, { id: tx.envelope.nextId(), address: to, params, targets: [ownTarget(tx, to)] })
    const ask = (address: Mailbox): Awaitable<Resolution | Verdict> =>
      andThen(
        this.run(
          runFirst,
          'resolve',
          this.scene(tx.trace, tx, (unit, call) => unit.entry.handler(unit.message, address, call), address),
        ),
        ({ value, verdict }) => verdict ?? (value as Resolution),
      )
    return andThen(ask(to), first => {
      if (first === undefined) {
        return this.#judge(tx, { id: tx.envelope.nextId(), address: to, params, targets: [ownTarget(tx, to)] })
      }
      return resolveRecipient(tx, to, first as Resolution, ask as (address: Mailbox) => Awaitable<Resolution>).then(
        resolved => {
          if ('refused' in resolved) return resolved.refused
          return this.#judge(tx, { id: tx.envelope.nextId(), address: to, params, ...resolved })
        },
      )
    })
  }

  /** The gates of one resolved recipient. */
  #judge(tx: TransactionCore, recipient: RecipientRecord): Awaitable<Reply> {
    const scene = this.scene(
      tx.trace,
      tx,
      (unit, call) => unit.entry.handler(unit.message, recipientView(recipient, unit), call),
      recipient.address,
    )
    return andThen(this.run(runGate, 'rcpt', scene), ({ verdict, by, accepted, passedOn }) => {
      if (verdict?.kind === 'discard') {
        // 250 for this recipient, which then stands for nobody.
        tx.envelope.accept({ ...recipient, targets: [] })
        return replies.recipient
      }
      if (verdict !== undefined && !this.holdsInstead(tx, verdict, by, recipient)) {
        return passedOn === undefined ? verdictReply(verdict, tx.id) : passedOnReply(passedOn)
      }
      if (!accepted && this.origin.protocol !== 'internal') return replies.notOurs
      if (this.generation.config.mixed === 'split' && differsInPolicy(tx, recipient)) return replies.otherPolicy
      tx.envelope.accept(recipient)
      return passedOn === undefined ? replies.recipient : passedOnReply(passedOn)
    })
  }

  data(_how: 'data' | 'bdat'): Awaitable<BodySink | Reply> {
    const { tx } = this
    if (tx === undefined || tx.envelope.accepted.length === 0) return replies.noRecipients
    return BodyIntake.open(this, tx)
  }

  /** What a transaction ended with, for observers, log and metrics; called once for each that began. */
  ended(tx: TransactionCore, reply: Reply | undefined, by?: string): void {
    if (this.tx === tx) this.tx = undefined
    const { clock, traces, log } = this.parts
    const at = clock.now()
    if (reply !== undefined) {
      tx.trace.add({
        at,
        stage: 'answered',
        verdict: `${reply.code} ${reply.enhanced ?? ''}`.trim(),
        reason: reply.lines[0] ?? '',
      })
      this.observe(
        'answered',
        this.scene(new Trace(), tx, unit =>
          unit.entry.handler(unit.message, { code: reply.code, ...(by === undefined ? {} : { by }) }),
        ),
      )
    }
    traces.append(tx.id, tx.trace.finished(at))
    log.info(
      {
        id: tx.id,
        session: this.origin.id,
        from: tx.envelope.from === null ? '' : tx.envelope.from.raw,
        recipients: tx.envelope.recipients.length,
        size: tx.spool.size,
        code: reply?.code,
        ...(by === undefined ? {} : { by }),
      },
      reply === undefined ? 'abandoned' : reply.code < 400 ? 'accepted' : 'refused',
    )
    tx.aborter.abort(aborted.over)
  }

  reset(): void {
    const { tx } = this
    if (tx !== undefined) this.abandon(tx)
  }

  /** RSET or hang-up in mid-transaction. */
  abandon(tx: TransactionCore): void {
    this.parts.background(tx.spool.discard(), 'discarding a spool')
    this.ended(tx, undefined)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.reset()
    this.aborter.abort(aborted.closed)
    const scene = this.scene(new Trace(), undefined, unit => unit.entry.handler(unit.session))
    this.observe('closed', scene)
    this.#release()
  }

  /** Runs a stage of this session's generation. */
  run<R>(
    how: (plan: StagePlan, scene: Scene, options: RunOptions) => R,
    stage: StageName,
    scene: Scene,
    deadline?: number,
  ): R {
    const { runtime } = this.parts
    return how(this.generation.plan.stages[stage], scene, {
      runtime,
      stage,
      ...(deadline === undefined ? {} : { deadline }),
    })
  }

  /** Observers are told from a queue of their own: a slow one delays no reply. */
  observe(stage: 'answered' | 'closed', scene: Scene): void {
    this.parts.observers.tell(this.generation, stage, scene)
  }

  /** In LMTP one reply for each accepted RCPT, repeats included (RFC 2033 §4.2). */
  eachAccepted(tx: TransactionCore, reply: Reply): Reply | readonly Reply[] {
    return this.origin.protocol === 'lmtp' ? tx.envelope.accepted.map(() => reply) : reply
  }

  /** What we make ourselves is never refused, for nobody would hear it: an objection holds it for the operator. */
  holdsInstead(tx: TransactionCore, verdict: Verdict, by = 'core', recipient?: RecipientRecord): boolean {
    if (this.origin.protocol !== 'internal') return false
    const targets = recipient === undefined ? {} : { targets: new Set<string>(recipient.targets.map(t => t.id)) }
    tx.edits.push({ plugin: by, rank: 0, change: changes.hold(describeVerdict(verdict)), ...targets })
    return true
  }

  /** Where a stage runs. `invoke` makes the call of one hook from its unit. */
  scene(trace: Trace, tx: TransactionCore | undefined, invoke: Invoke, recipient?: Mailbox): Scene {
    return new StageScene(this, trace, tx, invoke, recipient)
  }

  wroteAtHelo(buffer: StateBuffer | undefined): void {
    if (buffer !== undefined) this.#heloKeys.push(...buffer.names())
  }

  #forgetHelo(): void {
    for (const name of this.#heloKeys) this.state.delete(name)
    this.#heloKeys = []
  }

  #sessionGate(stage: 'connect' | 'helo', invoke: Invoke): Awaitable<Reply | undefined> {
    const trace = new Trace()
    return andThen(this.run(runGate, stage, this.scene(trace, undefined, invoke)), ({ verdict, by }) => {
      this.#before = [...this.#before, ...trace.entries]
      if (verdict === undefined) return undefined
      const reply = verdictReply(verdict as Exclude<Verdict, Discard>, this.origin.id)
      const { traces, log } = this.parts
      // A refusal before MAIL has no message: its trace goes under the session's id.
      traces.append(this.origin.id, this.#before)
      log.info({ session: this.origin.id, client: this.origin.client?.ip, stage, by, code: reply.code }, 'refused')
      return reply
    })
  }
}

const observer: HookEntry = {
  plugin: 'core',
  stage: 'closed' satisfies StageName,
  handler: () => undefined,
  timeout: 0,
  effect: false,
  rank: -1,
  reads: new Set(),
  writes: new Set(),
  on: new Set(),
  onError: 'fail',
  objection: 'keep',
  log: silentLog,
}
