// What plugins cost when they do nothing: ten async hooks a message, against none. In one process, since the answer is
// in microseconds.

import { type AnyPlugin, definePlugin } from '@posthorn/core'
import * as z from 'zod'
import type { Bench } from './bench.ts'
import { barePipeline, deliverOne } from './pipeline.ts'
import { table } from './table.ts'

/** Microseconds of CPU a message that ten no-op async hooks may add (issue 2's figure). */
const allowed = 25
/** Megabytes that RSS may move between a fifth of the run and its end. */
const drift = 25

const schema = z.strictObject({})
const nothing = async () => undefined

/** Ten async hooks on each message's way: three at MAIL, RCPT and before 354, and one at the queue. */
const idle: readonly AnyPlugin[] = [
  ...['a', 'b', 'c'].map(name =>
    definePlugin({ name: `idle-${name}`, schema, setup: () => ({ mail: nothing, rcpt: nothing, data: nothing }) }),
  ),
  definePlugin({ name: 'idle-queue', schema, setup: () => ({ queue: nothing }) }),
]

const message = Buffer.from(`Subject: bench\r\n\r\n${`${'x'.repeat(76)}\r\n`.repeat(52)}`)

/** CPU microseconds a message, over `count` messages in sessions of 1,000. */
async function cost(pipeline: Awaited<ReturnType<typeof barePipeline>>, count: number): Promise<number> {
  const began = process.cpuUsage()
  for (let sent = 0; sent < count; ) {
    const session = pipeline.open()
    await session.connect()
    await session.helo('EHLO', 'client.test')
    for (let i = 0; i < 1000 && sent < count; i++, sent++) await deliverOne(session, message)
    session.close()
  }
  const { user, system } = process.cpuUsage(began)
  return (user + system) / count
}

const middle = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] as number

export const bench: Bench = {
  summary: 'ten no-op async hooks a message: their cost, and memory over 100,000 messages',
  async run({ rounds, scale, say }) {
    const total = Math.ceil(100_000 * scale)
    const batch = Math.ceil(total / 10)
    const without = await barePipeline([])
    const withHooks = await barePipeline(idle)
    await cost(without, batch)
    await cost(withHooks, batch)
    const bare: number[] = []
    const hooked: number[] = []
    for (let n = 1; n <= rounds; n++) {
      bare.push(await cost(without, batch))
      hooked.push(await cost(withHooks, batch))
      say(`round ${n} of ${rounds}: ${hooked.at(-1)?.toFixed(1)} µs with, ${bare.at(-1)?.toFixed(1)} µs without`)
    }
    await cost(withHooks, Math.ceil(total / 5))
    const early = process.memoryUsage.rss() / 1e6
    await cost(withHooks, total - Math.ceil(total / 5))
    const late = process.memoryUsage.rss() / 1e6
    await without.close()
    await withHooks.close()

    // Of rounds side by side: the machine's speed may be another one a minute later.
    const added = middle(hooked.map((cost, n) => cost - (bare[n] as number)))
    const failed = [
      ...(added > allowed ? [`ten hooks add ${added.toFixed(1)} µs a message, more than ${allowed}`] : []),
      ...(late - early > drift ? [`RSS grew by ${(late - early).toFixed(0)} MB, more than ${drift}`] : []),
    ]
    const text = table([
      ['pipeline, no socket, no store', 'CPU µs a message'],
      ['no hooks', middle(bare).toFixed(1)],
      ['ten no-op async hooks', middle(hooked).toFixed(1)],
      [`added (at most ${allowed})`, added.toFixed(1)],
      ['RSS after a fifth, MB', early.toFixed(0)],
      [`RSS after ${total} messages, MB`, late.toFixed(0)],
    ])
    return { text, data: { bare, hooked, added, rss: { early, late } }, failed }
  },
}
