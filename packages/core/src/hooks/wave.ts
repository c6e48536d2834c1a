// One wave: all its hooks are called in one tick; those that return a promise are awaited with a timeout. It ends when
// the last has settled; only then are units kept, faults logged and the scene told, in config order.
import { aborted } from '../aborter.ts'
import { silentLog } from '../log.ts'
import type { PassedOn, Verdict } from '../verdict.ts'
import { answers } from './answers.ts'
import { HookCall } from './call.ts'
import type { Fault, HookEntry, RunOptions, Scene, Settled, Unit } from './contract.ts'
import { strength } from './merge.ts'
import type { Timer } from './timers.ts'

/** One call: under way, and then how it ended. */
class Slot implements Settled {
  wave: Wave | undefined
  readonly entry: HookEntry
  call: HookCall | undefined
  /** By the monotonic clock. */
  readonly started: number
  unit: Unit | undefined = undefined
  timer: Timer | undefined = undefined
  settled = false
  skipped = false
  value: unknown = undefined
  fault: Fault | undefined = undefined
  overridden: Settled['overridden'] = undefined
  ms = 0
  at = 0

  constructor(wave: Wave, entry: HookEntry, call: HookCall, started: number) {
    this.wave = wave
    this.entry = entry
    this.call = call
    this.started = started
  }
}

/** Who waits for a wave: told when it ends later than `start` returned. */
export interface Waiting {
  resume(): void
}

export class Wave {
  readonly #scene: Scene
  readonly #options: RunOptions
  readonly #slots: Slot[] = []
  readonly #run: Waiting
  #left = 0
  #starting = true

  constructor(scene: Scene, options: RunOptions, run: Waiting) {
    this.#scene = scene
    this.#options = options
    this.#run = run
  }

  /** Calls the hooks of this scene's role. True when all have settled in this tick. */
  start(entries: readonly HookEntry[]): boolean {
    for (const entry of entries) if (entry.on.has(this.#scene.role)) this.#call(entry)
    this.#starting = false
    return this.#left === 0
  }

  #call(entry: HookEntry): void {
    const scene = this.#scene
    const { runtime, deadline } = this.#options
    const started = runtime.clock.monotonic()
    const call = new HookCall(entry, scene, runtime)
    const slot = new Slot(this, entry, call, started)
    this.#slots.push(slot)
    this.#left++
    try {
      if (entry.unless?.(scene.facts) === true) {
        slot.skipped = true
        this.#settle(slot, undefined)
        return
      }
      const wait = deadline === undefined ? entry.timeout : Math.min(entry.timeout, deadline - started)
      if (wait <= 0) {
        this.timeOut(slot)
        return
      }
      const unit = scene.open(entry)
      slot.unit = unit
      const value = unit.run(call)
      const then = thenOf(value)
      if (then === undefined) {
        this.#settle(slot, value)
        return
      }
      slot.timer = runtime.timers.start(wait, timeOut, slot, started)
      then.call(
        value,
        result => this.#settle(slot, result),
        error => this.#fail(slot, 'error', error),
      )
    } catch (error) {
      this.#fail(slot, 'error', error)
    }
  }

  #settle(slot: Slot, value: unknown): void {
    // A late answer of a timed-out call, or the second one of a strange thenable, changes nothing.
    if (slot.settled) return
    if (value !== undefined) {
      const problem = checked(this.#options.stage, value)
      if (problem !== undefined) {
        this.#fail(slot, 'nonsense', new Error(problem))
        return
      }
    }
    try {
      slot.unit?.settle?.()
    } catch (error) {
      this.#fail(slot, 'error', error)
      return
    }
    slot.value = value
    this.#end(slot)
  }

  #fail(slot: Slot, kind: Fault['kind'], error: unknown): void {
    if (slot.settled) return
    slot.fault = { kind, error: error instanceof Error ? error : new Error(`threw ${typeof error}`, { cause: error }) }
    slot.unit?.drop()
    this.#end(slot, kind === 'timeout' ? aborted.timeout : undefined)
  }

  /** No answer came in time. */
  timeOut(slot: Slot): void {
    const ms = Math.round(this.#options.runtime.clock.monotonic() - slot.started)
    this.#fail(slot, 'timeout', new Error(`no answer in ${ms} ms`))
  }

  #end(slot: Slot, timeout?: Error): void {
    slot.settled = true
    slot.ms = this.#options.runtime.clock.monotonic() - slot.started
    if (slot.timer !== undefined) this.#options.runtime.timers.stop(slot.timer)
    slot.timer = undefined
    slot.call?.end(timeout)
    slot.call = undefined
    slot.wave = undefined
    if (--this.#left === 0 && !this.#starting) this.#run.resume()
  }

  /** Keeps the units and tells the scene, in config order. To be called once, when all have settled. */
  finish(): readonly Settled[] {
    const at = this.#options.runtime.now()
    for (const slot of this.#slots) {
      slot.at = at
      if (slot.fault === undefined && !slot.skipped) keep(slot)
      if (slot.fault !== undefined) this.#log(slot)
      else if (slot.entry.objection !== 'keep' && objects(slot.value)) slot.overridden = slot.entry.objection
    }
    for (const slot of this.#slots) {
      this.#scene.settled(slot)
      // What a hook answered may be kept; that must not keep its message.
      slot.unit = undefined
    }
    return this.#slots
  }

  #log({ entry, fault, ms }: Settled): void {
    const log = this.#scene.log?.(entry) ?? entry.log ?? silentLog
    const { kind, error } = fault as Fault
    const fields = { plugin: entry.plugin, hook: this.#options.stage, ms: Math.round(ms), fault: kind, err: error }
    log.error(fields, `hook ${this.#options.stage} of ${entry.plugin} failed: ${error.message}`)
  }
}

const timeOut = (slot: Slot): void => slot.wave?.timeOut(slot)

type Then = (ok: (value: unknown) => void, fail: (error: unknown) => void) => unknown

/** Reads `then` once, as `await` does. A getter that throws is the caller's to catch. */
function thenOf(value: unknown): Then | undefined {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return undefined
  const { then } = value as { then?: unknown }
  return typeof then === 'function' ? (then as Then) : undefined
}

function checked(stage: RunOptions['stage'], value: unknown): string | undefined {
  try {
    return answers[stage](value)
  } catch {
    // A getter or proxy in the answer threw.
    return 'an answer that cannot be read'
  }
}

function keep(slot: Slot): void {
  try {
    slot.unit?.keep()
  } catch (error) {
    slot.unit?.drop()
    slot.value = undefined
    slot.fault = { kind: 'error', error: error instanceof Error ? error : new Error(String(error)) }
  }
}

const objects = (value: unknown): boolean =>
  value instanceof Map
    ? [...(value as ReadonlyMap<string, Verdict | PassedOn>).values()].some(v => strength(v) > 0)
    : strength(value) > 0
