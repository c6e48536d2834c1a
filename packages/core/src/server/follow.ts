// Who follows a message: `posthorn send` and `posthorn explain --follow` hear each new line of its trace as it is made.
import type { TraceEntry, TraceSink } from '../queue/contract.ts'

type Listener = (entries: readonly TraceEntry[]) => void

export class Followers implements TraceSink {
  readonly #sink: TraceSink
  readonly #traced: (entries: readonly TraceEntry[]) => void
  readonly #listeners = new Map<string, Set<Listener>>()

  /** Passes everything on to `sink`; `traced` is told of each. */
  constructor(sink: TraceSink, traced: (entries: readonly TraceEntry[]) => void) {
    this.#sink = sink
    this.#traced = traced
  }

  append(id: string, entries: readonly TraceEntry[]): void {
    this.#sink.append(id, entries)
    this.#traced(entries)
    if (this.#listeners.size === 0) return
    for (const listener of this.#listeners.get(id) ?? []) listener(entries)
  }

  /** Hears of one message until the result is called. */
  listen(id: string, listener: Listener): () => void {
    const listeners = this.#listeners.get(id) ?? new Set()
    listeners.add(listener)
    this.#listeners.set(id, listeners)
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0) this.#listeners.delete(id)
    }
  }
}
