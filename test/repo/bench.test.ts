// The benches' own instruments: a sink that miscounts or a source that lies would make every figure worthless.

import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sample } from '../../bench/latency.ts'
import { cpuOf, rssOf } from '../../bench/processes.ts'
import { quantile } from '../../bench/rounds.ts'
import { type Sink, startSink } from '../../bench/sink.ts'
import { source } from '../../bench/source.ts'
import { contestTable } from '../../bench/table.ts'

let sink: Sink

beforeAll(async () => {
  sink = await startSink()
})
afterAll(() => sink.stop())

test.each([
  { keep: true, content: 'text', size: 4096 },
  { keep: false, content: 'text', size: 4096 },
  { keep: true, content: 'dots', size: 300_000 },
] as const)('the sink counts what the source sent: $content, $size octets, kept: $keep', async load => {
  await sink.reset()
  const sent = await source({ port: sink.port, sessions: 3, messages: 20, ...load })
  expect(sent).toMatchObject({ accepted: 20, refused: 0 })
  const { messages, octets } = await sink.count()
  expect(messages).toBe(20)
  expect(octets).toBeGreaterThan(20 * load.size)
})

test('the sink counts a message once, wherever the stream is cut', async () => {
  await sink.reset()
  // A lone dot at once, a line that ends like the end, a stuffed dot, pipelined envelopes, chunks that hold
  // ends and commands.
  const dialogue = [
    'EHLO a.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n.\r\n',
    'MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\na\r\n..\r\n.\n.\r\r\n.\r\n',
    'MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nBDAT 6\r\n\r\n.\r\naBDAT 0 LAST\r\n',
    'MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nBDAT 12 LAST\r\nBDAT 1 LAST\nQUIT\r\n',
  ].join('')
  for (let cut = 1; cut < dialogue.length; cut++) {
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ port: sink.port, host: '127.0.0.1', noDelay: true })
      socket.once('data', () => {
        socket.write(dialogue.slice(0, cut))
        setImmediate(() => socket.write(dialogue.slice(cut)))
      })
      socket.on('data', () => {})
      socket.once('close', () => resolve())
      socket.once('error', reject)
    })
  }
  expect((await sink.count()).messages).toBe(4 * (dialogue.length - 1))
})

test('the sampling client measures each of its messages, and all arrive', async () => {
  await sink.reset()
  const sampler = sample(sink.port, 1000, 0)
  await expect.poll(async () => (await sink.count()).messages).toBeGreaterThan(5)
  const times = await sampler.stop()
  expect((await sink.count()).messages).toBe(times.length)
  expect(times.every(ms => ms > 0)).toBe(true)
})

test.runIf(process.platform === 'linux')('CPU and memory are of the tree: ours holds the sink', () => {
  expect(cpuOf(process.pid)).toBeGreaterThan(0)
  expect(rssOf(process.pid)).toBeGreaterThan(process.memoryUsage.rss() * 0.8)
  expect(cpuOf(2 ** 30)).toBeNaN()
})

test('quantiles are of the sorted values', () => {
  expect(quantile([5, 1, 4, 2, 3], 0.5)).toBe(3)
  expect(quantile([1, 2], 0.99)).toBe(2)
  expect(quantile([], 0.5)).toBeNaN()
})

test('the table names each rival and the ratio to it, of rounds next to each other', () => {
  const median = { rate: 5000, megabytes: 20, p50: 1.234, p99: 9.876, cpu: 0.2, rss: 150 }
  const rounds = (...rates: number[]) => rates.map(rate => ({ ...median, rate }))
  const scores = [
    { contender: 'posthorn', version: '0.1.0', rounds: rounds(4000, 2500, 9000), median },
    { contender: 'postfix', version: '3.7', rounds: rounds(1000, 500, 3000), median: { ...median, rate: 1000 } },
  ]
  expect(contestTable({ scores, notes: ['haraka skipped: no network'] })).toBe(
    `                msg/s  MB/s  p50 ms  p99 ms  CPU s/1000  peak RSS MB  × posthorn  × postfix
posthorn 0.1.0   5000  20.0    1.23    9.88       0.200          150                   4.00
postfix 3.7      1000  20.0    1.23    9.88       0.200          150        0.25
haraka skipped: no network`,
  )
})
