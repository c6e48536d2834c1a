// The cases of the queue bench. Rates are compared A B A B in one run: medians of the rounds, and of their ratios, since a
// round sees the same machine as the one beside it and not as the one a minute later.

import { execFile } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { ControlClient } from '@posthorn/core/runtime'
import { fill } from './backlog.ts'
import { freePort, tracked, workFolder } from './contender.ts'
import { command, nowhere, startPosthorn } from './contenders/posthorn.ts'
import { send } from './load.ts'
import { rssOf, settle, watchPeak } from './processes.ts'
import type { Case, Figure } from './queue.ts'
import { manyRecipients, startSlowSink } from './recipients.ts'
import { middle } from './rounds.ts'
import { monotonic, startSink } from './sink.ts'
import { source } from './source.ts'

type Server = Awaited<ReturnType<typeof startPosthorn>>

const load = (messages: number) => ({ messages, sessions: 20, size: 4096, keep: true })
const perSecond = (messages: number, ms: number) => (messages / ms) * 1000
const percent = (ratio: number) => `${(ratio * 100).toFixed(0)} %`

/** A data folder with a backlog in it, removed at the end. */
async function withBacklog<T>(backlog: Parameters<typeof fill>[1], use: (data: string) => Promise<T>): Promise<T> {
  const folder = workFolder('backlog')
  const remove = tracked(async () => rmSync(folder, { recursive: true, force: true }))
  const data = join(folder, 'data')
  mkdirSync(data, { mode: 0o700 })
  try {
    await fill(data, backlog)
    return await use(data)
  } finally {
    await remove()
  }
}

async function accepts(server: Server, messages: number): Promise<number> {
  const began = monotonic()
  await send(server.port, load(messages))
  const rate = perSecond(messages, monotonic() - began)
  await settle(server.pid, 5000)
  return rate
}

/** Rates of two by turns, and how much of `a`'s `b` has. */
async function byTurns(
  rounds: number,
  a: () => Promise<number>,
  b: () => Promise<number>,
  say: (line: string) => void,
) {
  const rates: [number[], number[]] = [[], []]
  for (let n = 0; n < rounds; n++) {
    const order = n % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)
    for (const which of order) rates[which].push(await (which === 0 ? a() : b()))
    say(`round ${n + 1} of ${rounds}: ${rates.map(r => r.at(-1)?.toFixed(0)).join(' and ')} msg/s`)
  }
  const ratio = middle(rates[1].map((rate, n) => rate / (rates[0][n] as number)))
  return { a: middle(rates[0]), b: middle(rates[1]), ratio }
}

const million: Case = ({ rounds, scale, say }) => {
  const count = Math.ceil(1_000_000 * scale)
  const hour = 3_600_000
  const backlog = {
    messages: count,
    size: 1000,
    deferred: true,
    to: (n: number) => ({ lane: `nowhere/d${n % 1000}.y.test`, domain: `d${n % 1000}.y.test` }),
    due: (n: number) => 2 * hour + (n % 7200) * 500,
  }
  const deliver = [{ [nowhere]: { domains: ['y.test'], lanes: true } }]
  return withBacklog(backlog, async data => {
    say(`${count} messages are there`)
    const figures: Figure[] = []
    const empty = await startPosthorn({ kind: 'accept', sink: 0 }, { deliver })
    let full = await startPosthorn({ kind: 'accept', sink: 0 }, { deliver, data })
    try {
      await accepts(empty, 2000)
      await accepts(full, 2000)
      await full.stop()
      full = await startPosthorn({ kind: 'accept', sink: 0 }, { deliver, data })
      const ready = full.ready
      const lists: number[] = []
      for (let n = 0; n < 3; n++) {
        const began = performance.now()
        const args = [...command, 'queue', 'list', '--limit', '20', '--config', full.file]
        await promisify(execFile)(process.execPath, args)
        lists.push(performance.now() - began)
      }
      const peak = watchPeak(full.pid)
      const messages = Math.ceil(10_000 * scale)
      const { a, b, ratio } = await byTurns(
        rounds,
        () => accepts(empty, messages),
        () => accepts(full, messages),
        say,
      )
      const rss = peak.stop() / 1e6
      const list = middle(lists)
      figures.push(
        {
          what: `accept rate with ${count} deferred, msg/s`,
          is: `${b.toFixed(0)} of ${a.toFixed(0)}, ${percent(ratio)}`,
          limit: '≥ 80 %',
          ok: ratio >= 0.8,
        },
        { what: 'posthorn queue list --limit 20, ms', is: list.toFixed(0), limit: '< 1000', ok: list < 1000 },
        { what: 'restart until it greets, ms', is: ready.toFixed(0), limit: '< 5000', ok: ready < 5000 },
        { what: 'peak RSS, MB', is: rss.toFixed(0), limit: '< 500', ok: rss < 500 },
      )
    } finally {
      await empty.stop()
      await full.stop()
    }
    return figures
  })
}

/** One that takes connections and never says a word: each delivery to it takes a slot for minutes. */
async function silence() {
  const server = createServer(socket => void socket.on('error', () => {}))
  const port = await freePort()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  return { port, stop: () => server.close() }
}

const dead: Case = async ({ rounds, scale, say }) => {
  const count = Math.ceil(100_000 * scale)
  const sink = await startSink()
  const mute = await silence()
  const lane = `dead/127.0.0.1:${mute.port}`
  const backlog = { messages: count, size: 1000, to: () => ({ lane, domain: 'dead.test' }), due: () => 0 }
  const relay = (port: number, domain: string) => ({ to: `127.0.0.1:${port}`, domains: [domain], tls: 'none' })
  const deliver = [
    { relay: relay(sink.port, 'y.test') },
    { use: 'relay', as: 'dead', options: relay(mute.port, 'dead.test') },
  ]
  try {
    return await withBacklog(backlog, async data => {
      say(`${count} messages are there`)
      const alone = await startPosthorn({ kind: 'relay', sink: sink.port }, { deliver })
      const beside = await startPosthorn({ kind: 'relay', sink: sink.port }, { deliver, data })
      const messages = Math.ceil(6000 * scale)
      const relays = (server: Server) => async () => {
        await sink.reset()
        const began = monotonic()
        await send(server.port, load(messages))
        let counted = await sink.count()
        for (const limit = monotonic() + 60_000; counted.messages < messages && monotonic() < limit; ) {
          await wait(10)
          counted = await sink.count()
        }
        if (counted.messages < messages) throw new Error(`only ${counted.messages} of ${messages} reached the sink`)
        await settle(server.pid, 5000)
        return perSecond(messages, counted.last - began)
      }
      try {
        await relays(alone)()
        await relays(beside)()
        const { a, b, ratio } = await byTurns(rounds, relays(alone), relays(beside), say)
        const is = `${b.toFixed(0)} of ${a.toFixed(0)}, ${percent(ratio)}`
        return [{ what: `relay beside a dead lane of ${count}, msg/s`, is, limit: '≥ 90 %', ok: ratio >= 0.9 }]
      } finally {
        await alone.stop()
        await beside.stop()
      }
    })
  } finally {
    mute.stop()
    await sink.stop()
  }
}

const recipients: Case = async ({ scale, say }) => {
  const count = Math.ceil(50_000 * scale)
  const sink = await startSlowSink()
  const server = await startPosthorn({ kind: 'relay', sink: sink.port }, { limits: { recipients: count } })
  try {
    // A server at work, whose heap is as large as small messages make it.
    for (let n = 0; n < 20; n++) {
      await Promise.all(Array.from({ length: 20 }, (_, i) => manyRecipients(server.port, 100, `warm${n}-${i}@x.test`)))
    }
    await settle(server.pid, 15_000)
    // Each transaction takes a second from now on: the message needs far longer than its neighbour may.
    sink.slow(1000)
    const before = rssOf(server.pid) / 1e6
    const peak = watchPeak(server.pid, 20)
    const ms = await manyRecipients(server.port, count, 'list@x.test')
    say(`${count} recipients accepted in ${ms.toFixed(0)} ms`)
    const sent = monotonic()
    await manyRecipients(server.port, 1, 'neighbour@x.test')
    const arrived = (await sink.first('neighbour@x.test', 60_000)) - sent
    const grown = peak.stop() / 1e6 - before
    const left = sink.left('list@x.test', count)
    return [
      { what: `${count} recipients accepted, ms`, is: ms.toFixed(0), limit: '< 5000', ok: ms < 5000 },
      { what: 'RSS more by then, MB', is: grown.toFixed(0), limit: '< 50', ok: grown < 50 },
      {
        what: `neighbour's message out, ms (${left} recipients still waited)`,
        is: arrived.toFixed(0),
        limit: '< 10000',
        ok: arrived < 10_000 && (scale < 1 || left > 0),
      },
    ]
  } finally {
    await server.stop()
    await sink.stop()
  }
}

/** The control socket of a server that greets already: it opens last. */
async function controlOf(server: Server): Promise<ControlClient> {
  for (const limit = monotonic() + 20_000; ; await wait(10)) {
    try {
      return await ControlClient.connect(server.control)
    } catch (error) {
      if (monotonic() > limit) throw error
    }
  }
}

/** Delivered since the server started. */
async function delivered(control: ControlClient): Promise<number> {
  const { counts } = await control.call<{ counts: { delivered: number } }>('status')
  return counts.delivered
}

/** Waits until `count` more are delivered than `before`; the time of it. */
async function until(control: ControlClient, count: number): Promise<number> {
  for (const limit = monotonic() + 120_000; monotonic() < limit; ) {
    if ((await delivered(control)) >= count) return monotonic()
    await wait(25)
  }
  throw new Error(`only ${await delivered(control)} of ${count} were delivered`)
}

const lanes: Case = async ({ rounds, scale, say }) => {
  const count = Math.ceil(100_000 * scale)
  const deliver = [{ [nowhere]: { domains: ['y.test'], lanes: true } }]
  const drain = (many: boolean) => {
    const domain = (n: number) => (many ? `d${n}.y.test` : 'y.test')
    const to = (n: number) => ({ lane: `nowhere/${domain(n)}`, domain: domain(n) })
    return withBacklog({ messages: count, size: 1000, to, due: () => 0 }, async data => {
      const server = await startPosthorn({ kind: 'accept', sink: 0 }, { deliver, data })
      try {
        const control = await controlOf(server)
        const began = monotonic()
        const already = await delivered(control)
        const rate = perSecond(count - already, (await until(control, count)) - began)
        control.close()
        return rate
      } finally {
        await server.stop()
      }
    })
  }
  const boot = await byTurns(
    rounds,
    () => drain(false),
    () => drain(true),
    say,
  )
  const server = await startPosthorn({ kind: 'accept', sink: 0 }, { deliver })
  const control = await controlOf(server)
  const messages = Math.ceil(100_000 * scale * 0.2)
  let total = 0
  const live = (many: boolean) => async () => {
    const began = monotonic()
    const sent = await source({ ...load(messages), port: server.port, domains: many ? messages : 1 })
    if (sent.accepted !== messages) throw new Error(`refused: ${sent.refusal}`)
    total += messages
    const rate = perSecond(messages, (await until(control, total)) - began)
    await settle(server.pid, 5000)
    return rate
  }
  try {
    await live(true)()
    const now = await byTurns(rounds, live(false), live(true), say)
    const line = (what: string, { a, b, ratio }: Awaited<ReturnType<typeof byTurns>>): Figure => ({
      what: `${count} lanes against one, ${what}, msg/s`,
      is: `${b.toFixed(0)} of ${a.toFixed(0)}, ${percent(ratio)}`,
      limit: '≥ 80 %',
      ok: ratio >= 0.8,
    })
    return [line('a backlog after boot', boot), line('as it comes', now)]
  } finally {
    control.close()
    await server.stop()
  }
}

const syncs: Case = async ({ scale }) => {
  const sink = await startSink()
  const port = await freePort()
  const server = await startPosthorn({ kind: 'relay', sink: sink.port }, { plugins: [{ metrics: { port } }] })
  const count = async () => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    return Number(/^posthorn_store\{name="syncs"\} (\d+)/m.exec(text)?.[1])
  }
  try {
    const messages = Math.ceil(10_000 * scale)
    await send(server.port, load(Math.ceil(messages / 5)))
    const before = await count()
    await send(server.port, load(messages))
    await settle(server.pid, 5000)
    const each = ((await count()) - before) / messages
    return [{ what: 'syncs a message, 20 clients', is: each.toFixed(3), limit: '≤ 0.3', ok: each <= 0.3 }]
  } finally {
    await server.stop()
    await sink.stop()
  }
}

export const cases: Readonly<Record<string, Case>> = { million, dead, recipients, lanes, syncs }
