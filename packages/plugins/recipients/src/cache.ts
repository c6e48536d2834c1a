// What the back end said of recipients, kept in the store: over restarts, for a time, and not more than so many.
import { crc32 } from 'node:zlib'
import { type Log, type Op, type Storage, under } from '@posthorn/core'

export interface Known {
  readonly exists: boolean
  /** Milliseconds since the epoch; afterwards it is asked for again. */
  readonly until: number
}

/** A yes that is past its time still counts while the back end is down, for so long. */
const grace = 7 * 86_400_000
const sweepEvery = 3_600_000
const format = 1
const length = 14

export class Cache {
  readonly #storage: Storage
  readonly #prefix: string
  readonly #max: number
  readonly #log: Log
  #written = 0
  #swept: number | undefined
  #sweeping: Promise<void> | undefined

  /** `name`: the plugin's, so that two of them keep to themselves. `max`: entries. */
  constructor(storage: Storage, name: string, max: number, log: Log) {
    this.#storage = storage
    this.#prefix = `recipients/${name}/`
    this.#max = max
    this.#log = log
  }

  /** Also what is past its time, within the grace. A value that was damaged is none. */
  async get(key: string): Promise<Known | undefined> {
    const value = await this.#storage.get(this.#prefix + key)
    return value === undefined ? undefined : decoded(value)
  }

  /** Relaxed: what is lost is asked for again. Never rejects. */
  async set(key: string, known: Known, now: number): Promise<void> {
    const value = encoded(known)
    await this.#write([{ type: 'put', key: this.#prefix + key, value }])
    this.#written++
    this.#swept ??= now
    if (this.#written < this.#max / 10 && now - this.#swept < sweepEvery) return
    this.#written = 0
    this.#swept = now
    this.#sweeping ??= this.#sweep(now).finally(() => {
      this.#sweeping = undefined
    })
  }

  /** Resolves when nothing of it is under way. */
  async idle(): Promise<void> {
    await this.#sweeping
  }

  /** Removes what is over, and what is too much: who guesses at names must not fill the store. */
  async #sweep(now: number): Promise<void> {
    const spare: string[] = []
    let left = 0
    try {
      for await (const batch of this.#storage.range(under(this.#prefix))) {
        const over: Op[] = []
        for (const [key, value] of batch) {
          const known = decoded(value)
          if (known === undefined || now > known.until + (known.exists ? grace : 0)) over.push({ type: 'del', key })
          else if (++left > this.#max * 0.9) spare.push(key)
        }
        await this.#write(over)
      }
      for (let i = 0; i < spare.length; i += 1000) {
        await this.#write(spare.slice(i, i + 1000).map(key => ({ type: 'del', key })))
      }
    } catch (error) {
      this.#log.warn({ err: error }, 'the cache of recipients was not swept')
    }
  }

  async #write(ops: readonly Op[]): Promise<void> {
    if (ops.length === 0) return
    try {
      await this.#storage.write(ops, { relaxed: true })
    } catch (error) {
      this.#log.warn({ err: error }, 'a recipient was not kept')
    }
  }
}

/** Format, yes or no, until when, and a checksum: a flipped bit must not refuse somebody. */
function encoded({ exists, until }: Known): Buffer {
  const value = Buffer.alloc(length)
  value.writeUInt8(format, 0)
  value.writeUInt8(exists ? 1 : 0, 1)
  value.writeDoubleBE(until, 2)
  value.writeUInt32BE(crc32(value.subarray(0, 10)), 10)
  return value
}

function decoded(bytes: Uint8Array): Known | undefined {
  const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (value.length !== length || value[0] !== format || value.readUInt32BE(10) !== crc32(value.subarray(0, 10))) {
    return undefined
  }
  return { exists: value[1] === 1, until: value.readDoubleBE(2) }
}
