/** `<plugin>/<key>`: identity is the name, so it is the same in a worker, in two copies of a package, and across a reload. */
export type Name = `${string}/${string}`

type Remote<T> = {
  [K in keyof T]: T[K] extends (...args: never[]) => Promise<unknown> | AsyncIterable<unknown> ? K : never
}[keyof T]

/** Names a service and carries its type. Importing the token is the permission to use it. */
export interface Token<T> {
  readonly name: Name
  readonly remote: readonly string[]
  readonly _t?: (value: T) => T
}

/**
 * Makes a token. `remote` lists the methods that an isolated plugin may call: they return a Promise or an
 * AsyncIterable, and take and return structured-cloneable values, an AbortSignal last.
 */
export function token<T>(name: Name, remote: readonly Remote<T>[] = []): Token<T> {
  return { name, remote: remote as readonly string[] }
}
