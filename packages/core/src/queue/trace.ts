// Decision traces, refused mail's too: relaxed writes in buckets of an hour, so that age is a range of keys and size a
// number for each bucket. Bounded by `trace.keep` and `trace.max`; the oldest goes first.
//   t/<hour>/<id>/<n> entries   T/<hour>/<node> octets of the bucket
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { Op, Storage } from '../storage/contract.ts'
import type { TraceEntry, TraceSink } from './contract.ts'
import { reasonOf } from './errors.ts'

export interface TraceOptions {
  readonly storage: Storage
  readonly clock: Clock
  readonly log: Log
  /** Milliseconds and octets. */
  readonly limits: () => { readonly keep: number; readonly max: number }
  readonly node?: string
}

const hourMs = 3_600_000
/** Entries gather for so long, so that a message accepted and delivered at once is one write. */
const gatherMs = 250
const mostBuffered = 20_000
const mostOctets = 64 * 1024
const sweepBatch = 1000

const hourText = (at: number): string => String(Math.floor(at / hourMs)).padStart(7, '0')

export class Traces implements TraceSink {
  readonly #options: TraceOptions
  /** JSON, not entries: what outlives a collection or two should be a few strings, not a few dozen objects. */
  #buffer = new Map<string, string[]>()
  #flushing: Promise<void> = Promise.resolve()
  #timer: (() => void) | undefined
  #serial = 0
  #dropped = 0
  #hour = ''
  #octets = 0
  #sweeping = false
  #stopped = false

  constructor(options: TraceOptions) {
    this.#options = options
  }

  /** Never throws: what a plugin said of an outcome may be no JSON, and the outcome counts all the same. */
  append(id: string, entries: readonly TraceEntry[]): void {
    if (this.#stopped || entries.length === 0) return
    const known = this.#buffer.get(id)
    if (known === undefined && this.#buffer.size >= mostBuffered) {
      this.#dropped++
      return
    }
    const text = this.#json(id, entries)
    if (text === undefined) return
    if (known === undefined) this.#buffer.set(id, [text])
    else known.push(text)
    this.#timer ??= this.#options.clock.after(gatherMs, () => {
      this.#timer = undefined
      void this.flush()
    })
  }

  /** Everything known of the id, in order; empty where nothing is kept. */
  async read(id: string): Promise<TraceEntry[]> {
    await this.flush()
    const { storage } = this.#options
    const found: TraceEntry[] = []
    for await (const buckets of storage.range({ gte: 'T/', lt: 'T0' })) {
      const hours = new Set(buckets.map(([key]) => key.split('/')[1]))
      for (const hour of hours) {
        for await (const batch of storage.range({ gte: `t/${hour}/${id}/`, lt: `t/${hour}/${id}0` })) {
          for (const [, value] of batch) found.push(...parse(value))
        }
      }
    }
    return found.sort((a, b) => a.at - b.at)
  }

  /** Writes what was gathered. Never rejects: a lost trace is logged, mail goes on. */
  flush(): Promise<void> {
    this.#timer?.()
    this.#timer = undefined
    if (this.#buffer.size === 0) return this.#flushing
    const buffer = this.#buffer
    this.#buffer = new Map()
    const before = this.#flushing
    this.#flushing = (async () => {
      await before
      await this.#write(buffer)
    })()
    return this.#flushing
  }

  async close(): Promise<void> {
    await this.flush()
    this.#stopped = true
  }

  #json(id: string, entries: readonly TraceEntry[]): string | undefined {
    try {
      return JSON.stringify(entries)
    } catch (error) {
      this.#options.log.warn({ id, error: reasonOf(error) }, 'a trace was not stored')
      return undefined
    }
  }

  async #write(buffer: ReadonlyMap<string, readonly string[]>): Promise<void> {
    const { storage, clock, log, node = 'posthorn' } = this.#options
    const hour = hourText(clock.now())
    const sizeKey = `T/${hour}/${encodeURIComponent(node)}`
    try {
      if (hour !== this.#hour) {
        // After a restart the bucket of this hour may have been begun.
        this.#octets = Number(Buffer.from((await storage.get(sizeKey)) ?? []).toString()) || 0
        this.#hour = hour
        void this.sweep()
      }
      const ops: Op[] = []
      for (const [id, texts] of buffer) {
        const value = encode(texts)
        this.#octets += value.length
        // Unique over restarts and nodes, and in order within a run.
        const n = `${clock.now().toString(36)}-${encodeURIComponent(node)}-${(this.#serial++).toString(36).padStart(7, '0')}`
        ops.push({ type: 'put', key: `t/${hour}/${id}/${n}`, value })
      }
      ops.push({ type: 'put', key: sizeKey, value: Buffer.from(String(this.#octets)) })
      await storage.write(ops, { relaxed: true })
      if (this.#dropped > 0) {
        log.warn({ dropped: this.#dropped }, 'traces were dropped: more came than could be written')
        this.#dropped = 0
      }
    } catch (error) {
      if (!this.#stopped) log.warn({ traces: buffer.size, error: reasonOf(error) }, 'traces were not stored')
    }
  }

  /** Removes buckets over the age, then the oldest until the size is kept. */
  async sweep(): Promise<void> {
    if (this.#sweeping) return
    this.#sweeping = true
    const { storage, clock, limits, log } = this.#options
    const { keep, max } = limits()
    try {
      const buckets = new Map<string, { octets: number; keys: string[] }>()
      let total = 0
      for await (const batch of storage.range({ gte: 'T/', lt: 'T0' })) {
        for (const [key, value] of batch) {
          const hour = key.split('/')[1] ?? ''
          const octets = Number(Buffer.from(value).toString()) || 0
          const bucket = buckets.get(hour) ?? { octets: 0, keys: [] }
          bucket.octets += octets
          bucket.keys.push(key)
          buckets.set(hour, bucket)
          total += octets
        }
      }
      const oldest = hourText(clock.now() - keep)
      for (const [hour, { octets, keys }] of buckets) {
        if (hour >= oldest && total <= max) break
        // The bucket that is being written stays, whatever its size.
        if (hour === this.#hour) break
        await this.#remove(hour, keys)
        total -= octets
      }
    } catch (error) {
      if (!this.#stopped) log.warn({ error: reasonOf(error) }, 'old traces could not be removed')
    } finally {
      this.#sweeping = false
    }
  }

  async #remove(hour: string, sizeKeys: readonly string[]): Promise<void> {
    const { storage } = this.#options
    for await (const batch of storage.range({ gte: `t/${hour}/`, lt: `t/${hour}0` })) {
      for (let i = 0; i < batch.length; i += sweepBatch) {
        const ops = batch.slice(i, i + sweepBatch).map(([key]): Op => ({ type: 'del', key }))
        await storage.write(ops, { relaxed: true })
      }
    }
    await storage.write(
      sizeKeys.map((key): Op => ({ type: 'del', key })),
      { relaxed: true },
    )
  }
}

/** `texts`: JSON arrays. */
function encode(texts: readonly string[]): Uint8Array {
  const text = texts.length === 1 ? (texts[0] as string) : `[${texts.map(one => one.slice(1, -1)).join()}]`
  const whole = Buffer.from(text)
  if (whole.length <= mostOctets) return whole
  const entries: readonly TraceEntry[] = JSON.parse(text)
  const kept: TraceEntry[] = []
  let size = 0
  for (const entry of entries) {
    size += JSON.stringify(entry).length
    if (size > mostOctets / 2) break
    kept.push(entry)
  }
  const at = entries.at(-1)?.at ?? 0
  const left = entries.length - kept.length
  return Buffer.from(JSON.stringify([...kept, { at, stage: 'trace', verdict: 'cut', reason: 'too long', count: left }]))
}

function parse(value: Uint8Array): TraceEntry[] {
  try {
    const entries: unknown = JSON.parse(Buffer.from(value).toString())
    return Array.isArray(entries) ? entries : []
  } catch {
    return []
  }
}
