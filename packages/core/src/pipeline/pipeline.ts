// The pipeline as a whole: what every session works with, and the door that listeners call.
import type { Generation } from '../boot/contract.ts'
import type { Clock } from '../clock.ts'
import type { HookRuntime, Settled } from '../hooks/contract.ts'
import type { Observers } from '../hooks/observers.ts'
import type { Log } from '../log.ts'
import type { QueueIntake, TraceSink } from '../queue/contract.ts'
import type { Blobs } from '../storage/contract.ts'
import type { Arrival, Pipeline, PipelineSession } from './contract.ts'
import { SessionCore } from './session.ts'

export interface PipelineParts {
  /** The generation that a new session begins with. */
  generation(): Generation
  readonly blobs: Blobs
  readonly queue: QueueIntake
  readonly traces: TraceSink
  readonly clock: Clock
  readonly log: Log
  readonly runtime: HookRuntime
  readonly observers: Observers
  /** Told of every hook call, for metrics. */
  observed(settled: Settled): void
  /** For a promise that nobody waits for: its failure is logged with `what`, and shutdown waits for it. */
  background(work: Promise<unknown>, what: string): void
}

export function createPipeline(parts: PipelineParts): Pipeline {
  return { open: (arrival: Arrival): PipelineSession => new SessionCore(parts, arrival) }
}
