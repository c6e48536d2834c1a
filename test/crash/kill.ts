// Kill mode: the server is killed under load, again and again, with reloads and full disks in between; then the queue
// runs dry, and everything that was answered with 250 must be somewhere.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type QueueMessage, queueCheck } from '@posthorn/core/runtime'
import { fsck } from '@posthorn/plugin-storage-level/fsck'
import { seeded } from '@posthorn/testing'
import { openHops } from './hops.ts'
import { Ledger, type Verdict } from './ledger.ts'
import { arrived } from './letters.ts'
import { Load } from './load.ts'
import { CrashServer, freePort } from './server.ts'
import { maildirs } from './told.ts'

export interface KillOptions {
  readonly seed: number
  readonly kills: number
  readonly say: (line: string) => void
  /** Letters between two kills, at most. Default 250. */
  readonly letters?: number
}

export interface KillFigures extends Verdict {
  readonly kills: number
  readonly reloads: number
  readonly fullDisks: number
  readonly seconds: number
  /** Replies of a kind that clients got. */
  readonly replies: Readonly<Record<string, number>>
  readonly fsck: readonly string[]
}

const dryWithin = 120_000

export async function killRuns({ seed, kills, say, letters = 250 }: KillOptions): Promise<KillFigures> {
  const began = Date.now()
  // Streams of their own, so that the plan of the kills does not depend on how the mail went.
  const random = seeded(seed)
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-kill-'))
  const ledger = new Ledger(seed)
  const hops = await openHops(ledger, seeded(seed + 1))
  const port = await freePort()
  const server = await CrashServer.prepare({ folder, port, relays: hops.relays })
  const load = new Load({ port, connections: 10, ledger, random: seeded(seed + 2), pace: 20 })
  const counts = { reloads: 0, fullDisks: 0 }
  let failed = true
  try {
    for (let kill = 1; kill <= kills; kill++) {
      const duringStart = random() < 0.12
      ledger.troubled = false
      if (duringStart) {
        server.spawn()
        load.open(letters)
        await sleep(random() * 600)
      } else {
        await server.start()
        load.open(letters)
        const until = Date.now() + 100 + random() ** 2 * 1800
        await disturb(until)
        await sleep(Math.max(0, until - Date.now()))
      }
      await server.signal('SIGKILL')
      ledger.killed(Date.now())
      load.close()
      if (kill % 20 === 0) say(`${kill} kills, ${ledger.accepted} messages accepted`)
    }
    ledger.troubled = false
    await hops.calm()
    await server.start()
    // After all of that it must still take mail.
    load.open(100)
    for (const limit = Date.now() + 20_000; load.left > 0 && Date.now() < limit; ) await sleep(50)
    await load.stop()
    await runDry(server)
    const queued = await numbersOf(server)
    await server.signal('SIGTERM')
    for await (const { address, message } of maildirs(join(server.data, 'mail'))) {
      const what = arrived(message)
      if (what.n === undefined) ledger.report(message, 0)
      else ledger.took(what, [{ address, notify: '' }], 0)
    }
    const verdict = ledger.verdict({ queued })
    const findings = await check(server)
    failed = verdict.lost.length + verdict.wrong.length + findings.length > 0
    return {
      ...verdict,
      ...counts,
      kills,
      seconds: Math.round((Date.now() - began) / 1000),
      replies: Object.fromEntries(ledger.replies),
      fsck: findings,
    }
  } finally {
    load.close()
    await server.close()
    await load.stop()
    await hops.close()
    if (failed) say(`the folder is kept: ${folder}`)
    else await rm(folder, { recursive: true, force: true })
  }

  /** What else happens before the kill. */
  async function disturb(until: number): Promise<void> {
    const wait = () => sleep(random() * Math.max(0, until - Date.now()))
    const what = random()
    if (what < 0.25) {
      await wait()
      await server.signal('SIGHUP')
      counts.reloads++
    } else if (what < 0.42) {
      await wait()
      counts.fullDisks++
      ledger.troubled = true
      await server.limitFiles(Math.floor(random() * 200_000))
      // Sometimes there is room again before the end, sometimes the process dies with the disk full.
      if (random() < 0.3) return
      await sleep(100 + random() * 300)
      await server.limitFiles('unlimited')
      // It must come back to life, or there is nothing to be learned from it.
      await sleep(random() * 1500)
    } else if (what < 0.62) {
      const away = hops.sinks['d.test']
      await (away.listening ? away.close() : away.open())
    }
  }
}

/** Until nothing is queued that is not held. */
async function runDry(server: CrashServer): Promise<void> {
  // The totals are counted in the background after a start: until then they say nothing.
  await sleep(3000)
  for (const limit = Date.now() + dryWithin; Date.now() < limit; await sleep(300)) {
    const { totals, messages } = await server.list({})
    if (messages.every(({ state }) => state === 'held') && totals.messages <= messages.length) return
    await server.retryAll()
  }
}

/** The messages of the load that are still queued: by number, the state of each recipient. */
async function numbersOf(server: CrashServer): Promise<Map<number, Map<string, string>>> {
  const numbers = new Map<number, Map<string, string>>()
  for (const { id } of (await server.list({})).messages) {
    const { header = '', recipients } = await server.call<QueueMessage>('queue.show', { id })
    const n = /^X-Crash: (\d+)/m.exec(header)?.[1]
    if (n === undefined) continue
    const states = recipients.filter(one => one.state !== 'done').map(one => [one.address, one.state] as const)
    numbers.set(Number(n), new Map(states))
  }
  return numbers
}

/** What fsck has to say of what all that killing left. */
async function check(server: CrashServer): Promise<string[]> {
  const findings: string[] = []
  await fsck({
    path: join(server.data, 'store'),
    blobs: join(server.data, 'blobs'),
    checks: [queueCheck],
    report: ({ severity, what }) => {
      // Files that a kill left behind are removed by and by: no loss.
      if (severity !== 'waste') findings.push(`${severity}: ${what}`)
    },
  })
  return findings
}
