// The current configuration and its replacement: built aside, activated, swapped in one assignment; the old one ends
// by itself. A reload that fails at any point leaves the old one as it was.
import type { Clock } from '../clock.ts'
import { PosthornError } from '../errors.ts'
import type { HookRuntime } from '../hooks/contract.ts'
import { hookRuntime } from '../hooks/run.ts'
import type { Log } from '../log.ts'
import type { Token } from '../token.ts'
import type { Awaitable } from '../transaction.ts'
import { Services } from './container.ts'
import type { Generation, LoadedConfig } from './contract.ts'
import { type BuildParts, buildGeneration } from './generation.ts'
import type { LiveGeneration } from './live.ts'
import { inPlace } from './place.ts'
import { SharedRegistry } from './shared.ts'

export interface GenerationsOptions {
  /** Core services, the same for all generations. */
  readonly services?: Iterable<readonly [Token<any>, unknown]>
  readonly clock: Clock
  readonly log: Log
  /** The timeouts of all hook calls of the process; made from the clock where absent. */
  readonly runtime?: HookRuntime
  /** Which standard plugin provides a token, by token name: `core/storage` → `storage-level`. */
  readonly hints?: Readonly<Record<string, string>>
  /** Runs when a generation is built and before it is current: listeners, queue. What it throws ends the reload; it must then have undone its own. */
  activate?(next: Generation, previous: Generation | undefined): Awaitable<void>
  /** Milliseconds that holds may last after `retired`, before the generation is closed under them; default 5 minutes. */
  readonly grace?: number
}

export class Generations {
  readonly #options: GenerationsOptions
  readonly #parts: BuildParts
  readonly #grace: number
  readonly #ending = new Map<LiveGeneration, Promise<void>>()
  #current: LiveGeneration | undefined
  #last: Promise<unknown> = Promise.resolve()
  #number = 0
  #closed: Promise<void> | undefined

  constructor(options: GenerationsOptions) {
    const { services = [], clock, log, hints = {}, runtime = hookRuntime(clock) } = options
    this.#options = options
    this.#grace = options.grace ?? 300_000
    this.#parts = { services: Services.of(services), shared: new SharedRegistry(), runtime, log, hints }
  }

  get runtime(): HookRuntime {
    return this.#parts.runtime
  }

  /** What survives reloads. */
  get shared(): SharedRegistry {
    return this.#parts.shared
  }

  /** What new sessions and sends take. Throws POSTHORN_NOT_STARTED before the first. */
  get current(): Generation {
    if (this.#current === undefined) throw new PosthornError('POSTHORN_NOT_STARTED', 'no configuration is running')
    return this.#current
  }

  /** The first generation. Rejects with PosthornErrors, or what `activate` threw, and nothing is open then. */
  start(loaded: LoadedConfig): Promise<Generation> {
    return this.reload(loaded)
  }

  /** Replaces the current generation; reloads wait for each other. Rejects with PosthornErrors, or what `activate` threw, and the old one goes on. */
  async reload(loaded: LoadedConfig): Promise<Generation> {
    this.#refuseIfClosed()
    return this.#serially(() => this.#replace(loaded))
  }

  /**
   * Drains and ends all generations: plugins hear `drain`, holds may last `drain` ms (default: the configuration's) and
   * `grace` ms more, then everything is disposed of. Never rejects. Waits for a reload that is under way.
   */
  close(drain?: number, grace?: number): Promise<void> {
    this.#closed ??= this.#serially(async () => {
      const current = this.#current
      if (current !== undefined) this.#retire(current, drain ?? current.config.drain, grace)
      if (drain !== undefined) {
        for (const generation of this.#ending.keys()) generation.hurry(drain, grace ?? this.#grace)
      }
      await Promise.all(this.#ending.values())
    })
    return this.#closed
  }

  async #replace(loaded: LoadedConfig): Promise<Generation> {
    this.#refuseIfClosed()
    const { log } = this.#parts
    const previous = this.#current
    const next = await buildGeneration(loaded, this.#number + 1, this.#parts)
    try {
      await this.#options.activate?.(next, previous)
    } catch (error) {
      await next.end(0, 0)
      throw inPlace(error, loaded)
    }
    this.#number = next.number
    this.#current = next
    const names = next.plugins.map(({ name }) => name)
    const before = previous?.plugins.map(({ name }) => name) ?? []
    log.info(
      {
        generation: next.number,
        added: names.filter(name => !before.includes(name)),
        removed: before.filter(name => !names.includes(name)),
      },
      previous === undefined ? 'configuration is running' : 'configuration was replaced',
    )
    for (const { plugin, stage, name } of next.plan.absent) {
      log.debug({ plugin, stage, name }, 'before/after names a plugin that is not in the list')
    }
    if (previous !== undefined) this.#retire(previous, loaded.config.drain)
    return next
  }

  #refuseIfClosed(): void {
    if (this.#closed !== undefined) throw new PosthornError('POSTHORN_CLOSED', 'the server is shutting down')
  }

  #retire(generation: LiveGeneration, drain: number, grace = this.#grace): void {
    const ending = generation.end(drain, grace).finally(() => this.#ending.delete(generation))
    this.#ending.set(generation, ending)
  }

  #serially<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {})
    return result
  }
}
