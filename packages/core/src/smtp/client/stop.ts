// What can tell the client to stop: a signal, or the call of a delivery, which makes no signal for it. A signal and a
// listener on it cost as much as reading a reply, and are needed once in a million messages.

/** Tells of the stop, once. */
export interface Stop {
  /** Calls `fn` when it is time to stop, at once if it has been; the returned function takes it back. */
  onAbort(fn: (reason: unknown) => void): () => void
}

export type Stopping = AbortSignal | Stop

const nothing = (): void => {}

/** Why it has been time to stop already; undefined where it has not. */
export function stopped(stop: Stopping | undefined): { readonly reason: unknown } | undefined {
  let found: { readonly reason: unknown } | undefined
  onStop(stop, reason => {
    found = { reason }
  })()
  return found
}

/** Calls `fn` as {@link Stop.onAbort} does. */
export function onStop(stop: Stopping | undefined, fn: (reason: unknown) => void): () => void {
  if (stop === undefined) return nothing
  if ('onAbort' in stop) return stop.onAbort(fn)
  if (stop.aborted) {
    fn(stop.reason)
    return nothing
  }
  const heard = () => fn(stop.reason)
  stop.addEventListener('abort', heard)
  return () => stop.removeEventListener('abort', heard)
}
