// Bodies and connections at their worst: lines that all need unstuffing, fifty large messages at once, thousands of
// clients that say nothing. Posthorn alone; the limits are ours.

import { once } from 'node:events'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Bench } from './bench.ts'
import { startPosthorn } from './contenders/posthorn.ts'
import { rssOf, watchPeak } from './processes.ts'
import { source } from './source.ts'
import { table } from './table.ts'

/** MB/s of a body whose every line is dot-stuffed; peak RSS with 50 × 50 MB; RSS with 5,000 idle connections (issue 2). */
const limits = { dots: 100, large: 350, idle: 400 }

interface Idle {
  readonly rss: number
  readonly open: number
}

/** Opens `count` connections that greet and say EHLO, 100 at a time, and measures the server. */
async function idle(count: number, tls: boolean): Promise<Idle> {
  const server = await startPosthorn({ kind: 'accept', sink: 0 }, tls ? { tls: 'implicit' } : {})
  const sockets = new Set<{ destroy(): void }>()
  try {
    const open = async () => {
      const where = { port: server.port, host: '127.0.0.1' }
      const socket = tls ? connectTls({ ...where, rejectUnauthorized: false }) : connect(where)
      sockets.add(socket)
      socket.on('error', () => sockets.delete(socket))
      socket.on('close', () => sockets.delete(socket))
      await once(socket, 'data')
      socket.write('EHLO idle.test\r\n')
      await once(socket, 'data')
      socket.on('data', () => {})
    }
    for (let left = count; left > 0; left -= 100) {
      await Promise.all(Array.from({ length: Math.min(100, left) }, open))
    }
    return { rss: rssOf(server.pid) / 1e6, open: sockets.size }
  } finally {
    for (const socket of sockets) socket.destroy()
    await server.stop()
  }
}

export const bench: Bench = {
  summary: 'dot-stuffed bodies, 50 clients with 50 MB each, 5,000 idle connections with TLS off and on',
  async run({ scale, say }) {
    const server = await startPosthorn({ kind: 'accept', sink: 0 })
    const failed: string[] = []
    let dots: number
    let plain: number
    let large: number
    let baseline: number
    const size = 20_000_000
    const speed = async (content: 'dots' | 'text') => {
      const load = { port: server.port, sessions: 1, messages: Math.max(1, Math.ceil(10 * scale)), size, keep: true }
      const sent = await source({ ...load, content })
      if (sent.refused > 0) throw new Error(`refused: ${sent.refusal}`)
      return (sent.accepted * size) / 1e6 / sent.seconds
    }
    try {
      baseline = rssOf(server.pid) / 1e6
      await speed('text')
      plain = await speed('text')
      dots = await speed('dots')
      say(`plain ${plain.toFixed(0)} MB/s, dots ${dots.toFixed(0)} MB/s`)
      const peak = watchPeak(server.pid)
      const clients = Math.max(1, Math.ceil(50 * scale))
      const sent = await source({
        port: server.port,
        sessions: clients,
        messages: clients,
        size: 50_000_000,
        keep: false,
      })
      if (sent.refused > 0) throw new Error(`refused: ${sent.refusal}`)
      large = peak.stop() / 1e6
      say(`${clients} × 50 MB: ${large.toFixed(0)} MB`)
    } finally {
      await server.stop()
    }
    const count = Math.ceil(5000 * scale)
    const off = await idle(count, false)
    say(`${off.open} idle: ${off.rss.toFixed(0)} MB`)
    const on = await idle(count, true)
    if (dots < limits.dots) failed.push(`dot-stuffed bodies pass at ${dots.toFixed(0)} MB/s, less than ${limits.dots}`)
    if (large > limits.large) failed.push(`large bodies take ${large.toFixed(0)} MB, more than ${limits.large}`)
    if (off.rss > limits.idle) failed.push(`idle connections take ${off.rss.toFixed(0)} MB, more than ${limits.idle}`)
    if (off.open < count || on.open < count) failed.push(`only ${off.open} and ${on.open} of ${count} stayed open`)
    const text = table([
      ['posthorn', '', 'limit'],
      ['plain body, one client, MB/s', plain.toFixed(0), ''],
      ['body of `..` lines, one client, MB/s', dots.toFixed(0), `≥ ${limits.dots}`],
      ['RSS at start, MB', baseline.toFixed(0), ''],
      ['peak RSS, 50 clients × 50 MB, MB', large.toFixed(0), `≤ ${limits.large}`],
      [`RSS, ${count} idle connections, TLS off, MB`, off.rss.toFixed(0), `≤ ${limits.idle}`],
      [`RSS, ${count} idle connections, TLS on, MB`, on.rss.toFixed(0), 'published'],
    ])
    return { text, data: { plain, dots, baseline, large, idle: { off, on } }, failed }
  },
}
