// How fast durable 4 KiB messages are accepted, into a queue that leads nowhere.

import type { Bench } from './bench.ts'
import { postfix } from './contenders/postfix.ts'
import { posthorn } from './contenders/posthorn.ts'
import { generator } from './load.ts'
import { contest } from './rounds.ts'
import { startSink } from './sink.ts'
import { contestTable } from './table.ts'

export const bench: Bench = {
  summary: 'accept into the durable queue, 4 KiB, 20 kept connections, queue to nowhere',
  async run({ rounds, scale, only, say }) {
    const contenders = [posthorn, postfix].filter(({ name }) => only.length === 0 || only.includes(name))
    const load = { messages: Math.ceil(10_000 * scale), sessions: 20, size: 4096, keep: true }
    const sink = await startSink()
    try {
      const result = await contest({ contenders, kind: 'accept', load, sink, rounds, scale, say })
      return {
        text: `accept: ${load.messages} messages of 4 KiB, 20 kept connections, by ${generator}\n${contestTable(result)}`,
        data: { load, generator, ...result },
      }
    } finally {
      await sink.stop()
    }
  },
}
