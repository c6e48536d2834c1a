// A running Posthorn: configuration, store, queue, pipeline, listeners and control socket, started in an order in which
// nothing is promised before it can be kept, and stopped in the reverse one.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Generation, LoadedConfig } from '../boot/contract.ts'
import { Generations } from '../boot/generations.ts'
import { standardHints } from '../boot/hints.ts'
import { selfSigned } from '../boot/self-signed.ts'
import { type Clock, systemClock } from '../clock.ts'
import { formatListen } from '../config/listeners.ts'
import { ControlServer } from '../control/server.ts'
import { Dns } from '../dns/contract.ts'
import { DnsAdvice, DnsAdviceRegistry } from '../dns/records.ts'
import { DnsResolver } from '../dns/resolver.ts'
import { PosthornError } from '../errors.ts'
import { Observers } from '../hooks/observers.ts'
import { hookRuntime } from '../hooks/run.ts'
import type { Log } from '../log.ts'
import { Meter, MeterToken } from '../meter.ts'
import { createPipeline, type PipelineParts } from '../pipeline/pipeline.ts'
import { Submission } from '../pipeline/submission.ts'
import { createSubmission } from '../pipeline/submit.ts'
import { Queue } from '../queue/queue.ts'
import { Traces } from '../queue/trace.ts'
import { ListenerSet } from '../smtp/server.ts'
import { Certificates } from '../smtp/tls.ts'
import { Blobs, Storage } from '../storage/contract.ts'
import { Place } from '../storage/place.ts'
import { Background } from './background.ts'
import { controlMethods } from './control-methods.ts'
import { type Counts, countsOn } from './counts.ts'
import { Followers } from './follow.ts'
import { openLog, type ProcessLog } from './logging.ts'
import { meterQueue } from './queue-meter.ts'

export interface PosthornOptions {
  /** Reads the configuration, at the start and for each reload. */
  load(): Promise<LoadedConfig>
  /** Instead of the log that the configuration asks for. */
  readonly log?: Log
  readonly clock?: Clock
  /** Told to whoever asks `status`. */
  readonly version?: string
}

/** What is made once, when the first configuration is activated, and lives as long as the process. */
interface Running {
  readonly queue: Queue
  readonly traces: Traces
  readonly listeners: ListenerSet
  readonly storage: Storage
}

/** Milliseconds that sessions may take to finish at a stop. */
const stopWithin = 30_000

export class Posthorn {
  readonly #options: PosthornOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #ownLog: ProcessLog | undefined
  readonly #meter = new Meter()
  readonly #counts: Counts
  readonly #background: Background
  readonly #observers: Observers
  readonly #dns: DnsResolver
  readonly #advice = new DnsAdviceRegistry()
  readonly #generations: Generations
  readonly #control: ControlServer
  readonly #started: number
  #file: string | undefined
  #reloaded: number | undefined
  #running: Running | undefined
  #followers: Followers | undefined
  #submission: Submission | undefined
  #stopped: Promise<void> | undefined

  /** Rejects with PosthornErrors for what is wrong with the configuration, PosthornError for what stands in the way; nothing is left open then. */
  static async start(options: PosthornOptions): Promise<Posthorn> {
    const loaded = await options.load()
    const { data } = loaded.config
    await mkdir(data, { recursive: true, mode: 0o700 }).catch(error => {
      throw new PosthornError('POSTHORN_DATA_FOLDER', `the data folder ${data} cannot be made: ${error.message}`, {
        at: 'data',
        fix: 'Name a folder that this user may write to.',
      })
    })
    const server = new Posthorn(options, loaded)
    try {
      await server.#open(loaded)
      return server
    } catch (error) {
      await server.stop(0)
      throw error
    }
  }

  private constructor(options: PosthornOptions, { config }: LoadedConfig) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#ownLog = options.log === undefined ? openLog(config.log, this.#clock) : undefined
    this.#log = options.log ?? (this.#ownLog as ProcessLog)
    this.#started = this.#clock.now()
    this.#counts = countsOn(this.#meter)
    this.#background = new Background(this.#log)
    this.#dns = new DnsResolver({ config: config.dns, clock: this.#clock, log: this.#log, meter: this.#meter })
    const runtime = hookRuntime(this.#clock)
    this.#observers = new Observers(runtime, this.#log)
    const submission: Submission = {
      submit: (draft, how) => {
        if (this.#submission === undefined) throw new PosthornError('POSTHORN_NOT_STARTED', 'the queue has not started')
        return this.#submission.submit(draft, how)
      },
    }
    this.#generations = new Generations({
      clock: this.#clock,
      log: this.#log,
      runtime,
      hints: standardHints,
      services: [
        [Place, { data: config.data }],
        [MeterToken, this.#meter],
        [Dns, this.#dns],
        [DnsAdvice, this.#advice],
        [Submission, submission],
      ],
      activate: (next, previous) => this.#activate(next, previous),
    })
    this.#control = new ControlServer(controlMethods(this), { clock: this.#clock, log: this.#log })
  }

  /** Where it listens, as bound. */
  get addresses(): readonly { readonly listener: string; readonly address: string }[] {
    return (this.#running?.listeners.addresses() ?? []).map(({ listener, address }) => ({
      listener,
      address: formatListen(address),
    }))
  }

  get generation(): Generation {
    return this.#generations.current
  }
  get dns(): Dns {
    return this.#dns
  }
  get advice(): DnsAdviceRegistry {
    return this.#advice
  }
  get queue(): Queue {
    return this.#live.queue
  }
  get traces(): Traces {
    return this.#live.traces
  }
  get listeners(): ListenerSet {
    return this.#live.listeners
  }
  get followers(): Followers {
    return this.#followers as Followers
  }
  get clock(): Clock {
    return this.#clock
  }
  /** For `status`. */
  get facts() {
    return {
      version: this.#options.version ?? '',
      started: this.#started,
      file: this.#file,
      reloaded: this.#reloaded,
      counts: this.#counts.totals,
    }
  }

  get #live(): Running {
    if (this.#running === undefined)
      throw new PosthornError('POSTHORN_NOT_STARTED', 'the server is starting or has ended')
    return this.#running
  }

  /** Reads the configuration again and puts it to work; the old one stays where anything is wrong with the new one. */
  async reload(): Promise<{ readonly generation: Generation; readonly warnings: readonly string[] }> {
    // After log rotation the file is another.
    this.#ownLog?.reopen()
    const loaded = await this.#options.load()
    const old = this.#generations.current.config
    for (const [name, before, after] of [
      ['data', old.data, loaded.config.data],
      ['control.socket', old.control.socket, loaded.config.control.socket],
      ['log', JSON.stringify(old.log), JSON.stringify(loaded.config.log)],
    ] as const) {
      if (before === after) continue
      throw new PosthornError('POSTHORN_RELOAD_RESTART', `${name} cannot change while the server runs`, {
        at: name,
        fix: 'Restart the server, or put the old value back.',
      })
    }
    const generation = await this.#generations.reload(await withCertificate(loaded, this.#clock.now()))
    this.#dns.configure(loaded.config.dns)
    this.#reloaded = this.#clock.now()
    this.#file = loaded.file
    this.#live.queue.reloaded()
    return { generation, warnings: loaded.warnings ?? [] }
  }

  /** Stops listening, lets transactions and deliveries finish for `within` ms, closes the store. Never rejects. */
  stop(within = stopWithin): Promise<void> {
    this.#stopped ??= this.#stop(within)
    return this.#stopped
  }

  async #open(loaded: LoadedConfig): Promise<void> {
    this.#file = loaded.file
    await this.#generations.start(await withCertificate(loaded, this.#clock.now()))
    await this.#live.queue.start()
    await this.#control.listen(loaded.config.control.socket)
  }

  async #activate(next: Generation, previous: Generation | undefined): Promise<void> {
    const storage = next.get(Storage)
    const blobs = next.get(Blobs)
    if (storage === undefined || blobs === undefined) {
      throw new PosthornError('POSTHORN_NO_STORAGE', 'no plugin provides a store for the queue', {
        at: 'plugins',
        fix: "Add 'storage-level' to the list.",
      })
    }
    if (previous !== undefined) {
      if (storage !== this.#live.storage) {
        throw new PosthornError(
          'POSTHORN_RELOAD_RESTART',
          'the store of the queue cannot change while the server runs',
          {
            at: 'plugins',
            fix: 'Restart the server, or put the old store back.',
          },
        )
      }
      await this.#live.listeners.apply(next.config)
      return
    }
    const { config } = next
    const current = () => this.#generations.current
    const traces = new Traces({ storage, clock: this.#clock, log: this.#log, limits: () => current().config.trace })
    const followers = new Followers(traces, entries => this.#counts.traced(entries))
    const queue = new Queue({
      storage,
      blobs,
      clock: this.#clock,
      log: this.#log,
      generation: current,
      submission: () => this.#submission,
      trace: followers,
      outcome: (message, to, outcome, generation) => this.#outcome(message, to, outcome, generation),
    })
    const parts: PipelineParts = {
      generation: current,
      blobs,
      queue,
      traces: followers,
      clock: this.#clock,
      log: this.#log,
      runtime: this.#generations.runtime,
      observers: this.#observers,
      observed: settled => this.#counts.hook(settled),
      background: (work, what) => this.#background.add(work, what),
    }
    const listeners = new ListenerSet({
      pipeline: createPipeline(parts),
      log: this.#log,
      clock: this.#clock,
      requireTls: () => current().plan.agents.some(({ agent }) => agent.requireTls === true),
      certificates: {
        contextFor: (servername, listener) => current().get(Certificates)?.contextFor(servername, listener),
      },
    })
    this.#followers = followers
    this.#submission = createSubmission(parts, () => current().config.hostname)
    this.#running = { queue, traces, listeners, storage }
    meterQueue(this.#meter, queue, listeners)
    await listeners.open(config)
  }

  #outcome: ConstructorParameters<typeof Queue>[0]['outcome'] & {} = (message, to, outcome, generation) => {
    const { waves, effects } = generation.plan.stages.outcome
    if (waves.length === 0 && effects.length === 0) return
    this.#observers.tell(generation, 'outcome', {
      role: message.origin.listener.role,
      facts: { origin: message.origin, state: () => undefined },
      parent: generation.retired,
      open: entry => ({ run: call => entry.handler(message, to, outcome, call), keep() {}, drop() {} }),
      settled: () => {},
    })
  }

  async #stop(within: number): Promise<void> {
    const running = this.#running
    const end = this.#clock.monotonic() + within
    await running?.listeners.drain(within)
    await this.#control.close()
    // A next hop that stalls must not hold up the stop for its client's patience of minutes.
    await running?.queue.stop(Math.max(0, end - this.#clock.monotonic()))
    await this.#observers.idle()
    await this.#background.idle()
    await running?.traces.close()
    await this.#generations.close(0, within)
    this.#dns.close()
    this.#counts.close()
    this.#ownLog?.close()
  }
}

/** A listener with TLS and no certificate gets a self-signed one, kept in the data folder. */
async function withCertificate(loaded: LoadedConfig, now: number): Promise<LoadedConfig> {
  const { config } = loaded
  if (config.tls.default !== undefined || config.listeners.every(listener => listener.tls === 'none')) return loaded
  const made = await selfSigned(join(config.data, 'tls'), config.hostname, now)
  return { ...loaded, config: { ...config, tls: { ...config.tls, default: made } } }
}
