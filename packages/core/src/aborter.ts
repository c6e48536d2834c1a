import { Line, type Linked } from './line.ts'

/** Reasons are made once: building a DOMException costs more than the hook it ends. */
export const aborted = {
  timeout: new Error('timed out'),
  closed: new Error('the client has gone'),
  over: new Error('the transaction is over'),
  retired: new Error('the configuration was replaced'),
  stopped: new Error('the server is stopping'),
}

interface Listener extends Linked<Listener> {
  readonly fn: (reason: Error) => void
}

/**
 * An AbortController that exists only if somebody looks at its signal. AbortSignal.any and AbortSignal.timeout cost
 * more than half of the throughput (docs/decisions/0004), so parents are linked by plain listeners.
 */
export class Aborter {
  #controller: AbortController | undefined
  #reason: Error | undefined
  #listeners: Line<Listener> | undefined

  get reason(): Error | undefined {
    return this.#reason
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#reason !== undefined) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  /** Calls `fn` when this aborts, at once if it has; the returned function takes it back. */
  onAbort(fn: (reason: Error) => void): () => void {
    if (this.#reason !== undefined) {
      fn(this.#reason)
      return () => {}
    }
    this.#listeners ??= new Line()
    const listeners = this.#listeners
    const listener: Listener = { fn, line: undefined, prev: undefined, next: undefined }
    listeners.join(listener)
    return () => void listeners.leave(listener)
  }

  abort(reason: Error): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#controller?.abort(reason)
    const listeners = this.#listeners
    this.#listeners = undefined
    if (listeners !== undefined) for (const { fn } of listeners) fn(reason)
  }
}
