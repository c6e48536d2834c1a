import { silentLog } from '@posthorn/core'
import { fakeDns } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import { Lookups } from '../src/lookups.ts'
import { JobFailed, Pool } from '../src/pool.ts'
import type { VerifyJob } from '../src/wire.ts'

const file = new URL('./fixtures/odd-worker.ts', import.meta.url)
const job = {} as VerifyJob
const lookups = () => new Lookups(fakeDns(), 29)

async function pool(options: { workers?: number; stall?: number; patience?: number; file?: URL } = {}) {
  const made = new Pool({ workers: 1, stall: 1_500, patience: 20_000, log: silentLog, file, ...options })
  await made.warm()
  return Object.assign(made, { [Symbol.asyncDispose]: () => made.close() })
}
const send = (to: Pool, text: string) => {
  const stream = to.verify(job, lookups())
  void stream.write(Buffer.from(text))
  return stream.end()
}

describe('a worker', () => {
  it('that hangs is ended, its neighbours with it, and the next message finds another', async () => {
    await using workers = await pool({ stall: 250 })
    const neighbour = send(workers, 'MUTE')
    const hangs = send(workers, 'SPIN')
    await expect(hangs).rejects.toThrow(/silent for 250 ms/)
    await expect(neighbour).rejects.toThrow(JobFailed)
    expect(await send(workers, 'fine')).toMatchObject({ held: 1 })
  })

  it('that dies gives its messages back as failures', async () => {
    await using workers = await pool()
    for (const [text, why] of [
      ['EXIT', /exit 3/],
      ['THROW', /as the test says/],
    ] as const) {
      const neighbour = send(workers, 'MUTE')
      neighbour.catch(() => undefined)
      await expect(send(workers, text)).rejects.toThrow(why)
      await expect(neighbour).rejects.toThrow(why)
    }
    expect(await send(workers, 'fine')).toMatchObject({ held: 1 })
  })

  it('that forgets a message is not waited for', async () => {
    await using workers = await pool({ patience: 250 })
    await expect(send(workers, 'MUTE')).rejects.toThrow(/no result within 250 ms/)
    expect(await send(workers, 'fine')).toMatchObject({ held: 2 })
  })

  it('that cannot start is a boot that fails', async () => {
    await expect(pool({ file: new URL('./fixtures/no-such-worker.ts', import.meta.url) })).rejects.toThrow(/loading/)
  })

  it('is shared out by how much it has to do', async () => {
    await using workers = await pool({ workers: 2, stall: 250 })
    const hangs = send(workers, 'SPIN')
    const fine = send(workers, 'fine')
    expect(await fine).toMatchObject({ held: 1 })
    await expect(hangs).rejects.toThrow(JobFailed)
  })
})

describe('a stream', () => {
  it('makes its client wait when the worker is behind, and no more than two chunks are between', async () => {
    await using workers = await pool()
    const stream = workers.verify(job, lookups())
    const chunk = Buffer.from(`SLOW${'x'.repeat(65_536)}`)
    expect(stream.write(chunk)).toBeUndefined()
    const second = stream.write(chunk)
    expect(second).toBeInstanceOf(Promise)
    await second
    expect(await stream.end()).toMatchObject({ held: 3 })
  })

  it('of small chunks is one message to the worker', async () => {
    await using workers = await pool()
    const stream = workers.verify(job, lookups())
    for (let i = 0; i < 60; i++) expect(stream.write(Buffer.alloc(1_000, 0x61))).toBeUndefined()
    expect(await stream.end()).toMatchObject({ held: 1 })
  })

  it('that is given up is forgotten, before and in the middle', async () => {
    await using workers = await pool()
    const early = workers.verify(job, lookups())
    early.drop()
    const late = workers.verify(job, lookups())
    void late.write(Buffer.alloc(70_000, 0x61))
    late.drop()
    late.drop()
    await expect(late.end()).rejects.toThrow(JobFailed)
    expect(await send(workers, 'fine')).toMatchObject({ held: 2 })
  })

  it('does not keep its client waiting for a worker that has died', async () => {
    await using workers = await pool({ stall: 250 })
    const stream = workers.verify(job, lookups())
    const hold = Buffer.from(`HOLD${'x'.repeat(65_536)}`)
    void stream.write(hold)
    const waits = stream.write(hold)
    await expect(send(workers, 'SPIN')).rejects.toThrow(JobFailed)
    await waits
    expect(stream.write(hold)).toBeUndefined()
    await expect(stream.end()).rejects.toThrow(JobFailed)
  })

  it('after the end of everything fails at once', async () => {
    const workers = await pool()
    await workers.close()
    await expect(send(workers, 'fine')).rejects.toThrow(/closing/)
  })
})
