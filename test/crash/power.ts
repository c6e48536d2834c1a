// Power cuts: the calls of a server under load are recorded; then, for many moments of the recording, the data folder is
// built as a power cut may have left it, and everything must be in it that had been answered with 250 by then.
import { statfsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { seeded } from '@posthorn/testing'
import { Disk } from './disk.ts'
import { type Hops, openHops } from './hops.ts'
import { Ledger } from './ledger.ts'
import { Load } from './load.ts'
import { CrashServer, freePort } from './server.ts'
import { type Call, readTrace, straceTo } from './strace.ts'
import { survey } from './survey.ts'

export interface PowerOptions {
  readonly seed: number
  readonly cuts: number
  /** Each goes on from what a cut of the one before left. Default 1 for 250 cuts. */
  readonly recordings?: number
  /** Messages of a recording. Default 700. */
  readonly letters?: number
  readonly say: (line: string) => void
}

export interface PowerFigures {
  readonly cuts: number
  readonly recordings: number
  readonly accepted: number
  readonly calls: number
  readonly syncs: number
  readonly seconds: number
  readonly lost: readonly string[]
  readonly wrong: readonly string[]
}

interface Recording {
  readonly disk: Disk
  readonly calls: readonly Call[]
  /** When the 250 for each id began to be written. */
  readonly acked: ReadonlyMap<string, number>
}

export async function powerCuts(options: PowerOptions): Promise<PowerFigures> {
  const { seed, cuts, say, letters = 700, recordings = Math.ceil(cuts / 250) } = options
  const began = Date.now()
  const random = seeded(seed)
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-power-'))
  const copies = await mkdtemp(join(roomy('/dev/shm') ? '/dev/shm' : tmpdir(), 'posthorn-cut-'))
  const ledger = new Ledger(seed)
  const hops = await openHops(ledger, seeded(seed + 1))
  const figures = { calls: 0, syncs: 0, accepted: 0 }
  const lost: string[] = []
  const wrong: string[] = []
  const acked = new Set<string>()
  try {
    let data = join(folder, 'data')
    await mkdir(data, { mode: 0o700 })
    for (let nth = 0; nth < recordings; nth++) {
      const recording = await record({ folder, data, nth, hops, ledger, letters, random: seeded(seed + 2 + nth) })
      const { calls } = recording
      figures.calls += calls.length
      figures.syncs += calls.filter(({ name }) => name.endsWith('sync')).length
      say(`recording ${nth + 1}: ${calls.length} calls, ${recording.acked.size} messages answered with 250`)
      const share = Math.floor(cuts / recordings) + (nth < cuts % recordings ? 1 : 0)
      let last = { copy: '', cut: 0 }
      for (let i = 0; i < share; i++) {
        if (last.copy !== '') await rm(last.copy, { recursive: true })
        const cut = momentOf(recording, random)
        const copy = join(copies, `cut-${nth}-${i}`)
        last = { copy, cut }
        const faults = await cutAt(recording, cut, copy, i)
        lost.push(...faults.lost)
        wrong.push(...faults.wrong)
        if (lost.length + wrong.length > 0) break
      }
      if (lost.length + wrong.length > 0) break
      // The next goes on from here: what was promised after the cut was never heard of.
      for (const [id, at] of recording.acked) if (at <= last.cut) acked.add(id)
      ledger.forget(id => acked.has(id))
      await rm(data, { recursive: true })
      data = join(folder, `data-${nth + 1}`)
      await cp(last.copy, data, { recursive: true })
    }
    figures.accepted = acked.size
  } finally {
    await hops.close()
    if (lost.length + wrong.length > 0) say(`the folders are kept: ${folder}, ${copies}`)
    else for (const one of [folder, copies]) await rm(one, { recursive: true, force: true })
  }
  return { cuts, recordings, ...figures, seconds: Math.round((Date.now() - began) / 1000), lost, wrong }

  async function cutAt(recording: Recording, cut: number, copy: string, i: number) {
    const name = `cut ${i} at call ${cut}`
    await mkdir(copy, { mode: 0o700 })
    recording.disk.rebuild(copy, cut, random)
    const until = timeAt(recording.calls, cut) * 1000
    const promised = (id: string) => acked.has(id) || (recording.acked.get(id) ?? Infinity) <= cut
    try {
      const found = await survey(copy)
      const verdict = ledger.verdict({ ...found, promised, until })
      return {
        lost: verdict.lost.map(what => `${name}: ${what}`),
        wrong: [...found.wrong, ...verdict.wrong].map(what => `${name}: ${what}`),
      }
    } catch (error) {
      return { lost: [], wrong: [`${name}: the store cannot be read: ${(error as Error).message}`] }
    }
  }
}

interface RecordOptions {
  readonly folder: string
  readonly data: string
  readonly nth: number
  readonly hops: Hops
  readonly ledger: Ledger
  readonly letters: number
  readonly random: () => number
}

/** Runs the server over `data` under load, to its end by SIGKILL. */
async function record({ folder, data, nth, hops, ledger, letters, random }: RecordOptions): Promise<Recording> {
  const disk = new Disk(data)
  const file = join(folder, `trace-${nth}`)
  const port = await freePort()
  const server = await CrashServer.prepare({ folder, port, relays: hops.relays, data, under: straceTo(file) })
  const load = new Load({ port, connections: 10, ledger, random, pace: 10 })
  try {
    await server.start()
    load.open(letters)
    let reloaded = false
    for (const limit = Date.now() + 60_000; load.left > 0 && Date.now() < limit; await sleep(20)) {
      if (reloaded || load.left > letters / 2) continue
      await server.call('reload', {})
      reloaded = true
    }
    // Clients end before the server does, so that each reply that was written was read.
    await load.stop()
    await sleep(random() * 500)
    await server.signal('SIGKILL')
  } finally {
    await load.stop()
    await server.close()
  }
  const inside = `<${data}`
  const calls = await readTrace(file, (name, args) =>
    name.startsWith('send') || args.includes('<TCP:[') ? args.includes('queued as') : named(args, data, inside),
  )
  const acked = new Map<string, number>()
  const kept: Call[] = []
  for (const call of calls) {
    if (call.args.includes('<TCP:[')) {
      for (const [, id] of Buffer.concat(call.octets)
        .toString('latin1')
        .matchAll(/250 2\.0\.0 OK: queued as (\S+)/g))
        acked.set(id as string, call.begin)
    } else disk.apply(call)
    kept.push({ ...call, octets: [] })
  }
  const differences = disk.differences()
  if (differences.length > 0) throw new Error(`the recording is not complete: ${differences.slice(0, 5).join('; ')}`)
  return { disk, calls: kept, acked }
}

const named = (args: string, data: string, inside: string): boolean =>
  args.includes(`${inside}/`) || args.includes(`${inside}>`) || args.includes(`"${data}`)

/** Half of them right after a 250, when the least has happened since; the others anywhere. */
function momentOf({ calls, acked }: Recording, random: () => number): number {
  const after = [...acked.values()]
  const list = random() < 0.5 && after.length > 0 ? after : calls.map(({ begin }) => begin)
  return list[Math.floor(random() * list.length)] ?? 0
}

function timeAt(calls: readonly Call[], cut: number): number {
  let time = 0
  for (const call of calls) {
    if (call.begin > cut) break
    time = call.time
  }
  return time
}

/** Whether what is checked and thrown away fits into memory, where it costs no disk. */
function roomy(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path)
    return bavail * bsize > 2 ** 31
  } catch {
    return false
  }
}
