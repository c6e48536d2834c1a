// One configuration at work, and the end of it: who holds it, when they must let go, and in which order its plugins end.
import { Aborter, aborted } from '../aborter.ts'
import type { Config } from '../config/contract.ts'
import { PosthornError } from '../errors.ts'
import type { HookRuntime, Plan } from '../hooks/contract.ts'
import { runObservers } from '../hooks/run.ts'
import type { Log } from '../log.ts'
import type { Token } from '../token.ts'
import type { Services } from './container.ts'
import type { Generation } from './contract.ts'
import type { Disposer } from './dispose.ts'
import { lifecycleScene } from './lifecycle.ts'

interface LiveParts {
  readonly number: number
  readonly config: Config
  readonly plan: Plan
  readonly plugins: Generation['plugins']
  readonly services: Services
  readonly disposer: Disposer
  readonly over: Aborter
  readonly parts: { readonly runtime: HookRuntime; readonly log: Log }
}

/** A generation and the end of it. */
export class LiveGeneration implements Generation {
  readonly number: number
  readonly config: Config
  readonly plan: Plan
  readonly plugins: Generation['plugins']
  readonly retired = new Aborter()
  /** Aborts `Setup.signal`. */
  readonly over: Aborter
  readonly #services: Services
  readonly #disposer: Disposer
  readonly #runtime: HookRuntime
  readonly #log: Log
  #holds = 0
  #idle: (() => void) | undefined
  #giveUp: (() => void) | undefined
  #drain = 0
  #grace = 0
  #ended: Promise<void> | undefined

  constructor({ number, config, plan, plugins, services, disposer, over, parts }: LiveParts) {
    this.number = number
    this.config = config
    this.plan = plan
    this.plugins = plugins
    this.over = over
    this.#services = services
    this.#disposer = disposer
    this.#runtime = parts.runtime
    this.#log = parts.log
  }

  get holds(): number {
    return this.#holds
  }

  get<T>(token: Token<T>): T | undefined {
    return this.#services.get(token)
  }

  hold(): () => void {
    if (this.over.reason !== undefined) {
      throw new PosthornError('POSTHORN_GENERATION_OVER', `configuration ${this.number} has ended`)
    }
    this.#holds++
    let held = true
    return () => {
      if (!held) return
      held = false
      if (--this.#holds === 0) this.#idle?.()
    }
  }

  /**
   * Tells its plugins (`drain`), waits for the last hold, after `drain` ms with `retired` aborted, but no longer than
   * `grace` ms more; then aborts `Setup.signal` and disposes. Never rejects. Called again it waits for the same.
   */
  end(drain: number, grace: number): Promise<void> {
    if (this.#ended === undefined) {
      this.#drain = drain
      this.#grace = grace
      this.#ended = this.#end()
    }
    return this.#ended
  }

  /** Shortens an end that is under way: so is the process. */
  hurry(drain: number, grace: number): void {
    this.#drain = Math.min(this.#drain, drain)
    this.#grace = Math.min(this.#grace, grace)
    if (this.#giveUp !== undefined) this.#runtime.clock.after(drain, this.#giveUp)
  }

  async #end(): Promise<void> {
    const fields = () => ({ generation: this.number, holds: this.#holds })
    const options = { runtime: this.#runtime, stage: 'drain' } as const
    await runObservers(this.plan.stages.drain, lifecycleScene(this.over), options)
    if (!(await this.#whenIdle(this.#drain))) {
      this.#log.info(fields(), 'time is up for sessions of a replaced configuration')
      this.retired.abort(aborted.retired)
      if (!(await this.#whenIdle(this.#grace))) {
        this.#log.error(
          fields(),
          'sessions or deliveries of a replaced configuration did not end, it is closed under them',
        )
      }
    }
    this.retired.abort(aborted.retired)
    this.over.abort(aborted.retired)
    await this.#disposer.dispose()
    this.#services.clear()
    this.#log.info({ generation: this.number }, 'a configuration has ended')
  }

  #whenIdle(ms: number): Promise<boolean> {
    if (this.#holds === 0) return Promise.resolve(true)
    return new Promise(resolve => {
      let waits = true
      const done = (idle: boolean) => {
        // A `hurry` may come due when this wait is long over.
        if (!waits) return
        waits = false
        cancel()
        this.#idle = undefined
        this.#giveUp = undefined
        resolve(idle)
      }
      const cancel = this.#runtime.clock.after(ms, () => done(false))
      this.#idle = () => done(true)
      this.#giveUp = () => done(false)
    })
  }
}
