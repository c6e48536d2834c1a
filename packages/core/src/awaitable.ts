// Going on in the same tick where nothing is pending: most hooks are synchronous, and a promise for each would cost
// more than they do.
import type { Awaitable } from './transaction.ts'

export function isPending<T>(value: Awaitable<T>): value is Promise<T> {
  return value !== null && typeof value === 'object' && typeof (value as { then?: unknown }).then === 'function'
}

/** `next` of the value: at once where it is there, else when it comes. */
export function andThen<T, U>(value: Awaitable<T>, next: (value: T) => Awaitable<U>): Awaitable<U> {
  return isPending(value) ? value.then(next) : next(value)
}
