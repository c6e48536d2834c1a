// What it costs to know who sent it: SPF, DKIM and DMARC of 4 KiB signed mail, DNS answered on loopback.

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { dnsServer } from '@posthorn/testing'
import { sign, signer } from '../packages/plugins/mailauth/test/signed.ts'
import type { Bench } from './bench.ts'
import { type Contender, freePort, workFolder } from './contender.ts'
import { posthorn, startPosthorn } from './contenders/posthorn.ts'
import { postfixWithRspamd } from './contenders/rspamd.ts'
import { type Contest, contest, ratio } from './rounds.ts'
import { startSink } from './sink.ts'
import { contestTable } from './table.ts'

/** Milliseconds that the p99 of the event loop's delay may have, and the least ratio to the rival. */
const allowedDelay = 20
const wanted = 1.5

const by = signer('x.test', { kind: 2048 })
const zones = {
  'x.test': { TXT: 'v=spf1 ip4:127.0.0.1 -all' },
  '_dmarc.x.test': { TXT: 'v=DMARC1; p=reject' },
  [by.name]: { TXT: by.record },
  '127.0.0.1': { PTR: 'source.test' },
  'source.test': { A: '127.0.0.1', TXT: 'v=spf1 a -all' },
}

export const bench: Bench = {
  summary: 'SPF, DKIM and DMARC of signed 4 KiB mail, 20 kept connections, queue to nowhere',
  async run({ rounds, scale, only, say }) {
    const folder = workFolder('inbound')
    const file = join(folder, 'signed.eml')
    writeFileSync(file, await signed())
    await using dns = await dnsServer(zones)
    const metrics = await freePort()
    const ours: Contender = { ...posthorn, start: work => startPosthorn(work, withMailauth(dns.address, metrics)) }
    const rivals = [ours, postfixWithRspamd(dns.address)]
    const contenders = rivals.filter(({ name }) => only.length === 0 || only.includes(name))
    const load = { messages: Math.ceil(5_000 * scale), sessions: 20, size: 4096, keep: true, file }
    const sink = await startSink()
    const delays: number[] = []
    const watched: readonly Contender[] = contenders.map(one => (one === ours ? observed(ours, metrics, delays) : one))
    try {
      const result = await contest({ contenders: watched, kind: 'accept', load, sink, rounds, scale, say })
      const delay = Math.max(...delays, 0) * 1_000
      const failed = judged(result, delay)
      return {
        text: `inbound: ${load.messages} signed messages of 4 KiB, 20 kept connections, by bench/source.ts\n${contestTable(result)}\nevent-loop delay of posthorn, p99: ${delay.toFixed(1)} ms`,
        data: { load, delay, ...result },
        failed,
      }
    } finally {
      await sink.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  },
}

/** 4 KiB with an RSA signature of 2,048 bits, which is what most mail has. */
async function signed(): Promise<string> {
  const header =
    'From: a@x.test\r\nTo: b@y.test\r\nSubject: bench\r\nDate: Sun, 4 Jan 2026 10:00:00 +0000\r\nMessage-ID: <1@x.test>\r\n\r\n'
  return sign(header + `${'x'.repeat(76)}\r\n`.repeat(45), [by])
}

const withMailauth = (dns: string, metrics: number) => ({
  plugins: [{ metrics: { port: metrics } }, { mailauth: {} }],
  config: { dns: { servers: [dns] } },
})

/** Reads the delay when the server is about to stop: it is the one since the last scrape, all rounds together. */
function observed(contender: Contender, metrics: number, delays: number[]): Contender {
  return {
    ...contender,
    async start(work) {
      const running = await contender.start(work)
      return {
        ...running,
        async stop() {
          const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text()
          delays.push(Number(/^posthorn_event_loop_delay_p99_seconds\S* (\S+)$/m.exec(text)?.[1]))
          await running.stop()
        },
      }
    },
  }
}

function judged({ scores }: Contest, delay: number): string[] {
  const [first, rival] = scores
  const times = first === undefined || rival === undefined ? undefined : ratio(first, rival)
  return [
    ...(delay > allowedDelay ? [`event-loop delay p99 is ${delay.toFixed(1)} ms, more than ${allowedDelay}`] : []),
    ...(times !== undefined && times < wanted ? [`${times.toFixed(2)} times the rival, less than ${wanted}`] : []),
  ]
}
