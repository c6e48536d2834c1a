// Observers (`answered`, `outcome`, `closed`) are told from a bounded queue for each plugin, one call at a time and in
// order: a slow one delays no reply, and costs its own oldest news, counted, instead of memory.
import type { Log } from '../log.ts'
import type { StageName } from '../plugin.ts'
import type { HookEntry, HookRuntime, Plan, Scene } from './contract.ts'
import { runObservers } from './run.ts'

/** Calls that may wait for one plugin. */
const limit = 10_000

interface Job {
  readonly entry: HookEntry
  readonly scene: Scene
  /** Lets go of the generation that the hook belongs to. */
  readonly release: () => void
}

interface Line {
  jobs: Job[]
  /** Index of the first job that waits. */
  head: number
  busy: boolean
  dropped: number
}

export class Observers {
  readonly #runtime: HookRuntime
  readonly #log: Log
  readonly #lines = new Map<string, Line>()
  #whenIdle: (() => void)[] = []
  #busy = 0

  constructor(runtime: HookRuntime, log: Log) {
    this.#runtime = runtime
    this.#log = log
  }

  /** News that were dropped because a plugin was too slow, by plugin: for metrics. */
  get dropped(): ReadonlyMap<string, number> {
    return new Map(
      [...this.#lines].filter(([, line]) => line.dropped > 0).map(([plugin, line]) => [plugin, line.dropped]),
    )
  }

  /** Tells all observers of a stage; at once where they are not busy. The generation is held until they have heard. */
  tell(generation: { readonly plan: Plan; hold(): () => void }, stage: StageName, scene: Scene): void {
    const { waves, effects } = generation.plan.stages[stage]
    for (const part of [waves, effects]) {
      for (const wave of part) {
        for (const entry of wave) {
          if (entry.on.has(scene.role)) this.#add({ entry, scene, release: generation.hold() })
        }
      }
    }
  }

  /** Resolves when nothing waits and nothing runs. */
  idle(): Promise<void> {
    if (this.#busy === 0) return Promise.resolve()
    return new Promise(resolve => this.#whenIdle.push(resolve))
  }

  #add(job: Job): void {
    const { plugin } = job.entry
    let line = this.#lines.get(plugin)
    if (line === undefined) {
      line = { jobs: [], head: 0, busy: false, dropped: 0 }
      this.#lines.set(plugin, line)
    }
    if (line.jobs.length - line.head >= limit) {
      line.jobs[line.head++]?.release()
      // The first of each thousand is enough to be seen.
      if (line.dropped++ % 1000 === 0) {
        this.#log.warn({ plugin, dropped: line.dropped }, `observer ${plugin} is too slow, its oldest news are dropped`)
      }
    }
    line.jobs.push(job)
    if (!line.busy) this.#work(line)
  }

  #work(line: Line): void {
    line.busy = true
    this.#busy++
    for (let job = next(line); job !== undefined; job = next(line)) {
      const running = this.#run(job)
      if (running === undefined) continue
      void running.then(() => {
        this.#busy--
        this.#work(line)
      })
      return
    }
    line.busy = false
    if (--this.#busy === 0) {
      const waiting = this.#whenIdle
      this.#whenIdle = []
      for (const resolve of waiting) resolve()
    }
  }

  /** Never throws or rejects: an observer changes nothing. */
  #run({ entry, scene, release }: Job): Promise<void> | undefined {
    const failed = (err: unknown) => this.#log.error({ plugin: entry.plugin, err }, `observer ${entry.plugin} failed`)
    try {
      const options = { runtime: this.#runtime, stage: entry.stage }
      const running = runObservers({ waves: [[entry]], effects: [] }, scene, options)
      if (running === undefined) {
        release()
        return undefined
      }
      return Promise.resolve(running).catch(failed).finally(release)
    } catch (error) {
      failed(error)
      release()
      return undefined
    }
  }
}

function next(line: Line): Job | undefined {
  const job = line.jobs[line.head]
  if (job === undefined) {
    line.jobs = []
    line.head = 0
    return undefined
  }
  line.jobs[line.head++] = undefined as never
  // What was taken out must not pile up before the head.
  if (line.head > 1024 && line.head * 2 > line.jobs.length) {
    line.jobs = line.jobs.slice(line.head)
    line.head = 0
  }
  return job
}
