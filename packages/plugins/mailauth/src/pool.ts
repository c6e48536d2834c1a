// The workers: jobs handed out, questions answered, chunks acknowledged; and what becomes of a worker that hangs or dies:
// it is ended, and its jobs with it, each a temporary failure.
import { Worker } from 'node:worker_threads'
import type { Log } from '@posthorn/core'
import type { Lookups } from './lookups.ts'
import type { FromWorker, SpfJob, SpfOutcome, ToWorker, VerifyJob, VerifyOutcome } from './wire.ts'

/** No result: the worker hung, died, or took too long. To the message it is temperror. */
export class JobFailed extends Error {}

export interface PoolOptions {
  readonly workers: number
  /** Milliseconds that a worker may keep silent while it has work, before it is ended. */
  readonly stall: number
  /** Milliseconds that a job may take after its last octet, DNS included. */
  readonly patience: number
  readonly log: Log
  /** Another worker than ours, for tests. */
  readonly file?: URL
}

interface Job {
  readonly lookups: Lookups
  readonly done: (outcome: SpfOutcome | VerifyOutcome) => void
  readonly fail: (error: JobFailed) => void
  /** Chunks on their way that were not taken yet, and who waits for the next to be. */
  flying: number
  taken: (() => void) | undefined
  /** By the beats of the worker; absent while octets are still to come. */
  beats: number | undefined
}

/** A message on its way into a worker. */
export interface Stream {
  /** Copies the chunk. The first holds the whole header. A promise where the worker is behind. */
  write(chunk: Uint8Array): Promise<void> | undefined
  end(): Promise<VerifyOutcome>
  /** The message is over before its end. */
  drop(): void
}

/** Chunks of one message that may be between the threads. */
const window = 2
/** Octets gathered before they cross: a small message is one message to the worker, its end included. */
const chunkSize = 65_536
const beat = 250
/** What a worker may take to load, on a machine that has other things to do. */
const loading = 20_000

export class Pool {
  readonly #options: PoolOptions
  readonly #lanes: Lane[]

  constructor(options: PoolOptions) {
    this.#options = options
    this.#lanes = Array.from({ length: options.workers }, () => new Lane(options))
  }

  spf(job: SpfJob, lookups: Lookups): Promise<SpfOutcome> {
    return this.#idlest().run(lookups, id => ({ do: 'spf', job: id, spf: job })) as Promise<SpfOutcome>
  }

  verify(job: VerifyJob, lookups: Lookups): Stream {
    return this.#idlest().stream(lookups, id => ({ do: 'verify', job: id, verify: job }))
  }

  /** Starts every worker. Rejects where one cannot: better now than with the first message. */
  async warm(): Promise<void> {
    await Promise.all(this.#lanes.map(lane => lane.warm()))
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map(lane => lane.close(new JobFailed('mailauth is closing'))))
    this.#options.log.debug({ workers: this.#lanes.length }, 'workers ended')
  }

  #idlest(): Lane {
    return this.#lanes.reduce((best, lane) => (lane.load < best.load ? lane : best))
  }
}

let jobs = 0

/** One worker, or its place while it is dead. */
class Lane {
  readonly #options: PoolOptions
  readonly #jobs = new Map<number, Job>()
  #worker: Worker | undefined
  #timer: NodeJS.Timeout | undefined
  #outbox: ToWorker[] = []
  #silent = 0
  #loaded = false
  /** Of the worker at hand: it loads, or ends before it has. */
  #loading = Promise.withResolvers<void>()
  #closed = false

  constructor(options: PoolOptions) {
    this.#options = options
  }

  get load(): number {
    return this.#jobs.size
  }

  warm(): Promise<void> {
    this.#worker ??= this.#start()
    return this.#loading.promise
  }

  run(lookups: Lookups, command: (id: number) => ToWorker): Promise<SpfOutcome | VerifyOutcome> {
    const id = jobs++
    const outcome = this.#open(id, lookups)
    this.#ended(id)
    this.#post(command(id))
    return outcome
  }

  stream(lookups: Lookups, command: (id: number) => ToWorker): Stream {
    const id = jobs++
    const outcome = this.#open(id, lookups)
    // Whoever feeds it may give up, and is told by `end` otherwise.
    outcome.catch(() => undefined)
    let first: ToWorker[] = [command(id)]
    let gathered: Uint8Array[] = []
    let size = 0
    const flush = (more: boolean) => {
      const job = this.#jobs.get(id)
      const bytes = gathered.length === 1 ? (gathered[0] as Uint8Array) : Buffer.concat(gathered)
      gathered = []
      size = 0
      if (job === undefined) return undefined
      job.flying++
      this.#post(...first, { do: 'data', job: id, bytes, more })
      first = []
      if (!more) this.#post({ do: 'end', job: id })
      if (!more || job.flying < window) return undefined
      return new Promise<void>(resolve => {
        job.taken = resolve
      })
    }
    return {
      write: chunk => {
        gathered.push(new Uint8Array(chunk))
        size += chunk.length
        return size < chunkSize ? undefined : flush(true)
      },
      end: () => {
        this.#ended(id)
        void flush(false)
        return outcome as Promise<VerifyOutcome>
      },
      drop: () => {
        gathered = []
        const job = this.#settle(id)
        if (job === undefined) return
        job.fail(new JobFailed('the message was given up'))
        if (first.length === 0 && this.#worker !== undefined) this.#post({ do: 'drop', job: id })
      },
    }
  }

  async close(why: JobFailed): Promise<void> {
    this.#closed = true
    await this.#end(why)
  }

  #open(id: number, lookups: Lookups): Promise<SpfOutcome | VerifyOutcome> {
    return new Promise((done, fail) => {
      if (this.#closed) {
        fail(new JobFailed('mailauth is closing'))
        return
      }
      this.#jobs.set(id, { lookups, done, fail, flying: 0, taken: undefined, beats: undefined })
      this.#timer ??= setInterval(() => this.#beat(), beat).unref()
    })
  }

  #ended(id: number): void {
    const job = this.#jobs.get(id)
    if (job !== undefined) job.beats = 0
  }

  #settle(id: number): Job | undefined {
    const job = this.#jobs.get(id)
    this.#jobs.delete(id)
    job?.taken?.()
    if (this.#jobs.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      this.#silent = 0
    }
    return job
  }

  /** What is said in one turn of the loop goes as one message: crossing costs more than what it carries. */
  #post(...messages: readonly ToWorker[]): void {
    if (this.#closed) return
    this.#worker ??= this.#start()
    if (this.#outbox.push(...messages) > messages.length) return
    const worker = this.#worker
    setImmediate(() => {
      if (worker !== this.#worker) return
      const all = this.#outbox
      this.#outbox = []
      worker.postMessage(all)
    })
  }

  #start(): Worker {
    const source = import.meta.url.endsWith('.ts')
    const file = this.#options.file ?? new URL(source ? './worker.ts' : './worker.js', import.meta.url)
    const worker = new Worker(file, {
      name: 'mailauth',
      // What this thread was started with need not be fit for a worker; where we run from source, it does too.
      execArgv: source ? ['--conditions=@posthorn/source'] : [],
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 16 },
    })
    this.#silent = 0
    this.#loaded = false
    this.#outbox = []
    const loading = Promise.withResolvers<void>()
    // Only `warm` waits for it.
    loading.promise.catch(() => undefined)
    this.#loading = loading
    worker.on('message', (messages: readonly FromWorker[]) => {
      if (!this.#loaded) worker.unref()
      loading.resolve()
      if (worker !== this.#worker) return
      this.#loaded = true
      this.#silent = 0
      for (const message of messages) this.#hear(worker, message)
    })
    const died = (why: string) => {
      loading.reject(new JobFailed(`the worker ended while it was loading: ${why}`))
      if (worker !== this.#worker) return
      this.#options.log.error({ jobs: this.#jobs.size, why }, 'a worker died; its messages get temperror')
      void this.#end(new JobFailed(`the worker died: ${why}`))
    }
    worker.on('error', error => died(error instanceof Error ? error.message : String(error)))
    worker.on('exit', code => died(`exit ${code}`))
    return worker
  }

  #hear(worker: Worker, message: FromWorker): void {
    switch (message.is) {
      case 'ask': {
        const { ask, name, type, purpose } = message
        const job = this.#jobs.get(message.job)
        if (job === undefined) break
        void job.lookups.ask(name, type, purpose).then(answer => {
          if (worker === this.#worker) this.#post({ do: 'answer', ask, answer })
        })
        break
      }
      case 'taken': {
        const job = this.#jobs.get(message.job)
        if (job === undefined) break
        job.flying--
        job.taken?.()
        job.taken = undefined
        break
      }
      case 'done':
        this.#settle(message.job)?.done(message.outcome)
        break
      case 'failed':
        this.#options.log.error({ why: message.why }, 'a message could not be checked; it gets temperror')
        this.#settle(message.job)?.fail(new JobFailed(message.why))
        break
      case 'stray':
        this.#options.log.warn({ why: message.why }, 'a worker dropped a failure that no message waits for')
    }
  }

  /** Silence is counted in beats, not in time: when this thread was busy, the worker was not to blame. */
  #beat(): void {
    const { stall, patience, log } = this.#options
    for (const [id, job] of this.#jobs) {
      if (job.beats === undefined || ++job.beats * beat < patience) continue
      this.#settle(id)?.fail(new JobFailed(`no result within ${patience} ms`))
      this.#post({ do: 'drop', job: id })
    }
    if (this.#jobs.size === 0 || this.#worker === undefined) return
    if (++this.#silent * beat > (this.#loaded ? stall : loading)) {
      log.error({ jobs: this.#jobs.size, stall }, 'a worker hung and was ended; its messages get temperror')
      void this.#end(new JobFailed(`the worker was silent for ${stall} ms`))
      return
    }
    this.#post({ do: 'ping' })
  }

  async #end(why: JobFailed): Promise<void> {
    const worker = this.#worker
    this.#worker = undefined
    for (const id of [...this.#jobs.keys()]) this.#settle(id)?.fail(why)
    await worker?.terminate()
  }
}
