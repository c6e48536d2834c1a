// How fast mail goes through: accepted, durably queued, relayed to a counting sink. End to end, from the first connect
// to the last message at the sink.

import { type Bench, chosen } from './bench.ts'
import { haraka } from './contenders/haraka.ts'
import { postfix } from './contenders/postfix.ts'
import { posthorn } from './contenders/posthorn.ts'
import { generator } from './load.ts'
import { type Contest, contest } from './rounds.ts'
import { startSink } from './sink.ts'
import { contestTable } from './table.ts'

const modes = {
  kept: { what: 'kept connections, 4 KiB', messages: 10_000, sessions: 20, size: 4096, keep: true },
  single: { what: 'one connection a message, 4 KiB', messages: 5000, sessions: 20, size: 4096, keep: false },
  large: { what: 'kept connections, 1 MB', messages: 400, sessions: 10, size: 1_000_000, keep: true },
}

export const bench: Bench = {
  summary: 'accept, queue durably and relay to a sink: kept connections, one connection a message, 1 MB messages',
  async run({ rounds, scale, only, cases, say }) {
    const contenders = [posthorn, postfix, haraka].filter(({ name }) => only.length === 0 || only.includes(name))
    const text: string[] = []
    const data: Record<string, Contest> = {}
    const sink = await startSink()
    try {
      for (const [mode, { what, ...full }] of chosen(modes, cases)) {
        const load = { ...full, messages: Math.ceil(full.messages * scale) }
        say(what)
        const result = await contest({ contenders, kind: 'relay', load, sink, rounds, scale, say })
        data[mode] = result
        text.push(`relay: ${load.messages} messages, ${what}, by ${generator}\n${contestTable(result)}`)
      }
    } finally {
      await sink.stop()
    }
    return { text: text.join('\n\n'), data: { generator, modes: data } }
  },
}
