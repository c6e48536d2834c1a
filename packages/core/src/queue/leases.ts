// Which node serves which lanes. Lanes fall into shards by their name; a lease on a shard is a node, an epoch that
// changes hands with it, and a time until which it holds. Outcomes are written on condition of the epoch, so a node
// that stalled and lost its lease cannot overwrite its successor. Nodes' clocks must agree to a few seconds.
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { Condition, Op, Storage } from '../storage/contract.ts'
import { reasonOf } from './errors.ts'

export interface LeaseOptions {
  readonly storage: Storage
  readonly clock: Clock
  readonly log: Log
  readonly node: string
  /** Other nodes serve this store too: share, and wait for leases to end. Else everything is taken at once. */
  readonly shared: boolean
  readonly shards: number
  /** Milliseconds a lease holds; renewed after a third. */
  readonly hold: number
  /** Whether deliveries of a shard are under way: it is given back only when none is. */
  readonly busy: (shard: number) => boolean
  readonly gained: (shards: readonly number[]) => void
  readonly lost: (shard: number) => void
}

interface Lease {
  readonly node: string
  readonly epoch: number
  readonly value: Uint8Array | null
  readonly until: number
  readonly untilValue: Uint8Array | null
}

const ownerKey = (shard: number) => `l/${String(shard).padStart(3, '0')}`
const untilKey = (shard: number) => `${ownerKey(shard)}/until`
const nodeKey = (node: string) => `l/node/${encodeURIComponent(node)}`
const text = (value: Uint8Array) => Buffer.from(value.buffer, value.byteOffset, value.length).toString()

/** FNV-1a: the same on every node and after every restart. */
export function shardOf(name: string, shards: number): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
  return (hash >>> 0) % shards
}

export class Leases {
  readonly #options: LeaseOptions
  /** What we hold: the value of the owner key, to fence with. */
  readonly #held = new Map<number, Condition>()
  readonly #leaving = new Set<number>()
  #until = 0
  #timer: (() => void) | undefined
  #closed = false

  constructor(options: LeaseOptions) {
    this.#options = options
  }

  /** Takes what is to be had, and keeps it. */
  async open(): Promise<void> {
    await this.#turn()
    this.#arm()
  }

  /** Whether the shard is ours to serve, now. */
  owns(shard: number): boolean {
    return this.#held.has(shard) && !this.#leaving.has(shard) && this.#options.clock.now() < this.#until
  }

  /** What must still be so when an outcome is written. */
  fence(shard: number): Condition | undefined {
    return this.#held.get(shard)
  }

  /** Who serves what, for `queue lanes`. */
  get shards(): readonly number[] {
    return [...this.#held.keys()].sort((a, b) => a - b)
  }

  /** Gives everything back, so that others need not wait. */
  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.()
    const ops: Op[] = [...this.#held.keys()].map(shard => ({
      type: 'put',
      key: untilKey(shard),
      value: Buffer.from('0'),
    }))
    const when = [...this.#held.values()]
    this.#held.clear()
    if (ops.length === 0) return
    ops.push({ type: 'del', key: nodeKey(this.#options.node) })
    try {
      await this.#options.storage.write(ops, { when, relaxed: true })
    } catch (error) {
      this.#options.log.warn({ error: reasonOf(error) }, 'leases were not given back; they end by themselves')
    }
  }

  #arm(): void {
    const { clock, hold } = this.#options
    if (this.#closed) return
    this.#timer = clock.after(hold / 3, () => void this.#turn().finally(() => this.#arm()))
  }

  async #turn(): Promise<void> {
    const { clock, log, hold, shared, shards } = this.#options
    try {
      if (!(await this.#renew())) await this.#drop()
      // One node alone, once it has everything, only has to renew.
      if (shared || this.#held.size < shards) await this.#claim()
    } catch (error) {
      const left = Math.max(0, this.#until - clock.now())
      log.error({ error: reasonOf(error), holdMs: hold, leftMs: left }, 'leases could not be renewed')
    }
  }

  async #renew(): Promise<boolean> {
    const { storage, clock, hold, node } = this.#options
    const until = clock.now() + hold
    const value = Buffer.from(String(until))
    const ops: Op[] = [{ type: 'put', key: nodeKey(node), value }]
    for (const shard of this.#held.keys()) ops.push({ type: 'put', key: untilKey(shard), value })
    const written = await storage.write(ops, { when: [...this.#held.values()] })
    if (!written) return false
    // We slept past our own lease and nobody took it: what was put off meanwhile has to be looked at again.
    const slept = this.#held.size > 0 && this.#until <= clock.now()
    this.#until = until
    if (slept) this.#options.gained(this.shards)
    return true
  }

  /** Somebody took over what we thought ours. */
  async #drop(): Promise<void> {
    const { leases } = await this.#read()
    for (const [shard, fence] of [...this.#held]) {
      const now = leases.get(shard)?.value ?? null
      if (now !== null && fence.equals !== null && Buffer.compare(now, fence.equals) === 0) continue
      this.#held.delete(shard)
      this.#leaving.delete(shard)
      this.#options.log.warn({ shard, owner: leases.get(shard)?.node }, 'lost the lease on lanes to another node')
      this.#options.lost(shard)
    }
    await this.#renew()
  }

  async #claim(): Promise<void> {
    const { clock, shards, shared, node, busy } = this.#options
    const now = clock.now()
    const { leases, nodes } = await this.#read()
    const others = [...nodes].filter(([name, until]) => name !== node && until > now).length
    const fair = shared ? Math.ceil(shards / (others + 1)) : shards
    for (const shard of [...this.#held.keys()].reverse()) {
      if (this.#held.size - this.#leaving.size <= fair) break
      this.#leaving.add(shard)
    }
    for (const shard of this.#leaving) if (!busy(shard)) await this.#leave(shard)
    const gained: number[] = []
    // Nodes begin at different places, so that they do not fight for the same shard.
    const start = shardOf(node, shards)
    for (let i = 0; i < shards && this.#held.size < fair; i++) {
      const shard = (start + i) % shards
      if (this.#held.has(shard)) continue
      const lease = leases.get(shard)
      const free = lease === undefined || lease.node === node || lease.until <= now || !shared
      if (free && (await this.#take(shard, lease))) gained.push(shard)
    }
    if (gained.length > 0) this.#options.gained(gained)
  }

  async #take(shard: number, lease: Lease | undefined): Promise<boolean> {
    const { storage, clock, hold, node, log } = this.#options
    const value = Buffer.from(JSON.stringify({ node, epoch: (lease?.epoch ?? 0) + 1 }))
    const until = clock.now() + hold
    const taken = await storage.write(
      [
        { type: 'put', key: ownerKey(shard), value },
        { type: 'put', key: untilKey(shard), value: Buffer.from(String(until)) },
      ],
      {
        when: [
          { key: ownerKey(shard), equals: lease?.value ?? null },
          { key: untilKey(shard), equals: lease?.untilValue ?? null },
        ],
      },
    )
    if (!taken) return false
    this.#until = Math.min(this.#held.size === 0 ? until : this.#until, until)
    this.#held.set(shard, { key: ownerKey(shard), equals: value })
    if (lease !== undefined && lease.node !== node) log.info({ shard, from: lease.node }, 'took over lanes')
    return true
  }

  async #leave(shard: number): Promise<void> {
    const fence = this.#held.get(shard)
    this.#options.lost(shard)
    this.#held.delete(shard)
    this.#leaving.delete(shard)
    if (fence === undefined) return
    await this.#options.storage.write([{ type: 'put', key: untilKey(shard), value: Buffer.from('0') }], {
      when: [fence],
    })
  }

  async #read(): Promise<{ leases: Map<number, Lease>; nodes: Map<string, number> }> {
    const values = new Map<string, Uint8Array>()
    for await (const batch of this.#options.storage.range({ gte: 'l/', lt: 'l0' }))
      for (const [key, value] of batch) values.set(key, value)
    const leases = new Map<number, Lease>()
    const nodes = new Map<string, number>()
    for (const [key, value] of values) {
      const parts = key.split('/')
      if (parts[1] === 'node') nodes.set(decodeURIComponent(parts[2] ?? ''), Number(text(value)))
      else if (parts.length === 2) {
        const shard = Number(parts[1])
        const untilValue = values.get(untilKey(shard)) ?? null
        const owner = parseOwner(value)
        leases.set(shard, { ...owner, value, until: untilValue === null ? 0 : Number(text(untilValue)), untilValue })
      }
    }
    return { leases, nodes }
  }
}

// An owner record that cannot be read is nobody's: whoever comes next takes it, with an epoch of its own time.
function parseOwner(value: Uint8Array): { node: string; epoch: number } {
  try {
    const { node, epoch } = JSON.parse(text(value)) as { node: unknown; epoch: unknown }
    if (typeof node === 'string' && typeof epoch === 'number') return { node, epoch }
  } catch {}
  return { node: '', epoch: 1_000_000 }
}
