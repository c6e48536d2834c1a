// The real pipeline with nothing around it: no socket, no store, no log. What it takes is what the core takes.

import { tmpdir } from 'node:os'
import { type AnyPlugin, Blobs, definePlugin, Place, Storage, Submission, silentLog, systemClock } from '@posthorn/core'
import { configOf, createPipeline, Generations, Observers, type PipelineSession } from '@posthorn/core/runtime'
import type { Mailbox } from '@posthorn/mail'
import { memoryBlobs, memoryStorage } from '@posthorn/testing'
import * as z from 'zod'

const accept = definePlugin({
  name: 'accept',
  schema: z.strictObject({}),
  setup: () => ({ rcpt: () => 'accept' as const }),
})

export interface BarePipeline {
  open(): PipelineSession
  close(): Promise<void>
}

/** A pipeline that accepts every recipient, runs `plugins` too, and commits into nothing. */
export async function barePipeline(plugins: readonly AnyPlugin[]): Promise<BarePipeline> {
  const all = [accept, ...plugins]
  const config = await configOf({ hostname: 'bench.test', listeners: { mx: { listen: '127.0.0.1:0' } } }, tmpdir())
  const storage = memoryStorage()
  const blobs = memoryBlobs(storage)
  const never = { submit: () => Promise.reject(new Error('no submissions in this bench')) }
  const generations = new Generations({
    services: [
      [Storage, storage],
      [Blobs, blobs],
      [Place, { data: tmpdir() }],
      [Submission, never],
    ],
    clock: systemClock,
    log: silentLog,
  })
  const entry = { onError: 'fail', objection: 'keep', options: {} } as const
  await generations.start({
    config: { ...config, plugins: all.map(({ name }, i) => ({ ...entry, use: name, at: `plugins[${i}]` })) },
    plugins: all.map(plugin => ({ plugin, from: 'bench' })),
  })
  const pipeline = createPipeline({
    generation: () => generations.current,
    blobs,
    queue: { commit: async () => {}, knows: async () => false },
    traces: { append() {} },
    clock: systemClock,
    log: silentLog,
    runtime: generations.runtime,
    observers: new Observers(generations.runtime, silentLog),
    observed() {},
    background: work => void work.catch(() => {}),
  })
  return {
    open: () =>
      pipeline.open({
        protocol: 'smtp',
        listener: { name: 'mx', role: 'mx' },
        local: { ip: '127.0.0.1', port: 25, hostname: 'bench.test' },
        client: { ip: '192.0.2.1', port: 50_000, via: 'direct', trusted: false },
        pendingInput: () => false,
      }),
    close: () => generations.close(),
  }
}

const address = (local: string, domain: string): Mailbox => ({ local, domain, raw: `${local}@${domain}` })

/** One message of `bytes` through a session that has greeted. */
export async function deliverOne(session: PipelineSession, bytes: Uint8Array): Promise<void> {
  await session.mail(address('a', 'x.test'), { smtputf8: false, requireTls: false, other: {} })
  await session.rcpt(address('b', 'y.test'), { other: {} })
  const sink = await session.data('data')
  if ('code' in sink) throw new Error(`refused: ${sink.code} ${sink.lines.join(' ')}`)
  await sink.write(bytes)
  const reply = await sink.end()
  if (Array.isArray(reply) || (reply as { code: number }).code !== 250)
    throw new Error(`refused: ${JSON.stringify(reply)}`)
}
