// What a hook gets as its last argument. Cheap: the signal and its link to the session exist only once somebody looks.
import { Aborter, aborted } from '../aborter.ts'
import { type Log, silentLog } from '../log.ts'
import type { Call } from '../plugin.ts'
import type { HookEntry, HookRuntime, Scene } from './contract.ts'

export class HookCall implements Call {
  // An own property, not a method, so that `const { now } = call` works.
  readonly now: () => number
  readonly #entry: HookEntry
  readonly #scene: Scene
  #aborter: Aborter | undefined
  #unlink: (() => void) | undefined
  #ended: Error | undefined

  constructor(entry: HookEntry, scene: Scene, runtime: HookRuntime) {
    this.now = runtime.now
    this.#entry = entry
    this.#scene = scene
  }

  get log(): Log {
    return this.#scene.log?.(this.#entry) ?? this.#entry.log ?? silentLog
  }

  get signal(): AbortSignal {
    if (this.#aborter === undefined) {
      const aborter = new Aborter()
      this.#aborter = aborter
      if (this.#ended !== undefined) aborter.abort(this.#ended)
      else this.#unlink = this.#scene.parent.onAbort(reason => aborter.abort(reason))
    }
    return this.#aborter.signal
  }

  /**
   * The runner's: the call is over. A timeout aborts its signal; a call that settled only lets go of the session, so
   * that thousands of RCPTs leave nothing behind in it.
   */
  end(timeout?: Error): void {
    this.#ended = timeout ?? aborted.over
    this.#unlink?.()
    this.#unlink = undefined
    if (timeout !== undefined) this.#aborter?.abort(timeout)
  }
}
