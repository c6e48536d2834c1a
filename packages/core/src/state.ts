// Typed annotations of sessions, messages and recipients: keys, what a hook call may do with them, and how large they
// may be. A call reads the state as of the start of its wave; what it writes waits in its buffer until it is kept.
import { PosthornError } from './errors.ts'
import type { Json } from './json.ts'
import type { Name } from './token.ts'

export type Scope = 'local' | 'session' | 'message' | 'recipient'

/** Names one annotation and carries its type and lifetime. Other plugins read it through the exported key. */
export interface StateKey<S extends Scope, T> {
  readonly scope: S
  readonly name: Name
  readonly _t?: (value: T) => T
}

export interface State<S extends Scope> {
  get<T>(key: StateKey<S, T>): T | undefined
  set<T>(key: StateKey<S, T>, value: T): void
}

/** Lives as long as the session; JSON. */
export function sessionState<T extends Json>(name: Name): StateKey<'session', T> {
  return { scope: 'session', name }
}
/** Any value, this instance only, never leaves its thread, dropped at `closed`: sockets of milters and call-outs. Needs no `reads` or `writes`. */
export function localState<T>(name: Name): StateKey<'local', T> {
  return { scope: 'local', name }
}
/** Stored with the queue record and read back by `seal` and delivery, so JSON, on the fast path too; at most 16 KiB per message in all. */
export function messageState<T extends Json>(name: Name): StateKey<'message', T> {
  return { scope: 'message', name }
}
/** As {@link messageState}, for one target. */
export function recipientState<T extends Json>(name: Name): StateKey<'recipient', T> {
  return { scope: 'recipient', name }
}

/** Octets of JSON that the message and recipient state of one message may have in all; also of any single value. */
export const maxStateSize = 16_384

const none: ReadonlyMap<string, unknown> = new Map()
// One for all: fifty thousand recipients without state shall not have an object each.
const nothing: Record<string, Json> = Object.freeze({})

/** Values by qualified name. Empty ones cost one field: there may be 50,000 recipients. */
export class StateStore {
  #values: Map<string, unknown> | undefined

  get size(): number {
    return this.#values?.size ?? 0
  }
  get(name: string): unknown {
    return this.#values?.get(name)
  }
  set(name: string, value: unknown): void {
    this.#values ??= new Map()
    this.#values.set(name, value)
  }
  delete(name: string): void {
    this.#values?.delete(name)
  }
  has(name: string): boolean {
    return this.#values?.has(name) === true
  }
  [Symbol.iterator](): Iterator<[string, unknown]> {
    return (this.#values ?? none)[Symbol.iterator]()
  }
  /** What is stored with the record. Not for session stores, which also hold local values. */
  toJSON(): Record<string, Json> {
    return this.#values === undefined ? nothing : (Object.fromEntries(this.#values) as Record<string, Json>)
  }
}

export const newStateStore = (): StateStore => new StateStore()

/** Octets of the JSON of these stores together, to be held against {@link maxStateSize} before a commit. */
export function stateSize(stores: Iterable<StateStore>): number {
  let size = 0
  for (const store of stores) if (store.size > 0) size += Buffer.byteLength(JSON.stringify(store))
  return size
}

/** The state writes of one hook call, over all stores that it wrote to. */
export class StateBuffer {
  readonly #writes = new Map<StateStore, Map<string, unknown>>()

  /** This call's own write. */
  get(store: StateStore, name: string): unknown {
    return this.#writes.get(store)?.get(name)
  }
  set(store: StateStore, name: string, value: unknown): void {
    const writes = this.#writes.get(store)
    if (writes === undefined) this.#writes.set(store, new Map([[name, value]]))
    else writes.set(name, value)
  }
  /** Makes the writes visible. Once; a buffer that is not kept leaves nothing. */
  keep(): void {
    for (const [store, writes] of this.#writes) for (const [name, value] of writes) store.set(name, value)
  }
  /** Names written, for those who must be able to forget them (STARTTLS clears what HELO left). */
  names(): string[] {
    return [...this.#writes.values()].flatMap(writes => [...writes.keys()])
  }
}

/** What a view asks of the hook it serves. */
export interface StateUser {
  readonly plugin: string
  readonly stage: string
  readonly reads: ReadonlySet<string>
  readonly writes: ReadonlySet<string>
}

/**
 * One store as one hook call may see it. Throws POSTHORN_STATE_UNDECLARED for keys that the hook did not declare,
 * POSTHORN_STATE_NOT_JSON for values that cannot be stored, and what `unit.live()` throws once the call is over.
 */
export function stateView(
  store: StateStore,
  user: StateUser,
  buffer: StateBuffer,
  unit?: { live(): void },
): State<any> {
  return new View(store, user, buffer, unit)
}

class View implements State<Scope> {
  readonly #store: StateStore
  readonly #user: StateUser
  readonly #buffer: StateBuffer
  readonly #unit: { live(): void } | undefined

  constructor(store: StateStore, user: StateUser, buffer: StateBuffer, unit: { live(): void } | undefined) {
    this.#store = store
    this.#user = user
    this.#buffer = buffer
    this.#unit = unit
  }

  get<T>(key: StateKey<Scope, T>): T | undefined {
    this.#unit?.live()
    const name = this.#name(key)
    const { reads, writes } = this.#user
    if (key.scope !== 'local' && !reads.has(name) && !writes.has(name)) throw undeclared(this.#user, 'reads', name)
    const own = this.#buffer.get(this.#store, name)
    return (own === undefined ? this.#store.get(name) : own) as T | undefined
  }

  set<T>(key: StateKey<Scope, T>, value: T): void {
    this.#unit?.live()
    const name = this.#name(key)
    if (key.scope === 'local') {
      this.#buffer.set(this.#store, name, value)
      return
    }
    if (!this.#user.writes.has(name)) throw undeclared(this.#user, 'writes', name)
    this.#buffer.set(this.#store, name, storable(value, name))
  }

  /** Local values belong to the instance, the others to whoever imports the key. */
  #name(key: { readonly scope: Scope; readonly name: string }): string {
    return key.scope === 'local' ? `${this.#user.plugin}\0${key.name}` : key.name
  }
}

function undeclared({ plugin, stage }: StateUser, does: 'reads' | 'writes', name: string): PosthornError {
  return new PosthornError(
    'POSTHORN_STATE_UNDECLARED',
    `hook ${stage} of ${plugin} ${does} "${name}" without saying so`,
    {
      fix: `Add the key to \`${does}\` of the hook: its place in the order depends on it.`,
    },
  )
}

/**
 * A frozen copy of a JSON value, so that neither writer nor reader changes it later. Throws POSTHORN_STATE_NOT_JSON,
 * which names the place, or POSTHORN_STATE_TOO_LARGE.
 */
export function storable(value: unknown, name: string): Json {
  if (typeof value === 'boolean' || (typeof value === 'string' && value.length <= 1024)) return value
  const copy = copied(value, name, 0, { left: maxStateSize })
  const size = Buffer.byteLength(JSON.stringify(copy))
  if (size > maxStateSize) throw tooLarge(name)
  return copy
}

// Deeper than any result we know; also what ends a cycle.
const maxDepth = 32

/** `budget` counts values: a cycle with two branches would else be copied 2^32 times. */
function copied(value: unknown, at: string, depth: number, budget: { left: number }): Json {
  if (budget.left-- === 0) throw tooLarge(at)
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value
    case 'number':
      if (Number.isFinite(value)) return value
      throw notJson(at, `${value}`)
    case 'object':
      break
    default:
      throw notJson(at, typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`)
  }
  if (value === null) return null
  if (depth === maxDepth) throw notJson(at, 'a cycle, or nested too deep')
  if (Array.isArray(value)) {
    return Object.freeze(Array.from(value, (item, i) => copied(item, `${at}[${i}]`, depth + 1, budget)))
  }
  const proto: unknown = Object.getPrototypeOf(value)
  if (proto !== Object.prototype && proto !== null) {
    throw notJson(at, `an instance of ${(proto as { constructor?: { name?: string } }).constructor?.name ?? 'a class'}`)
  }
  // fromEntries makes `__proto__` a key like any other.
  const entries = Object.entries(value).map(([key, item]) => [key, copied(item, `${at}.${key}`, depth + 1, budget)])
  return Object.freeze(Object.fromEntries(entries)) as Json
}

function tooLarge(at: string): PosthornError {
  return new PosthornError('POSTHORN_STATE_TOO_LARGE', `state "${at}" has more than ${maxStateSize} octets`, {
    fix: 'Keep large data in a store of the plugin, and its key in the state.',
  })
}

function notJson(at: string, what: string): PosthornError {
  return new PosthornError('POSTHORN_STATE_NOT_JSON', `state "${at}" is ${what}, which is not JSON`, {
    fix: 'Store strings, finite numbers, booleans, null, arrays and plain objects; keep other values in localState.',
  })
}
