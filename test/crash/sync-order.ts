// The order of things: no 250 at the dot before the syncs that it rests on; and how many syncs a message costs when
// twenty clients share them.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openHops } from './hops.ts'
import { Ledger } from './ledger.ts'
import { logRecords } from './level-log.ts'
import { CrashServer, freePort } from './server.ts'
import { type Call, readTrace, straceTo } from './strace.ts'
import { Wire } from './wire.ts'

export interface OrderFigures {
  readonly clients: number
  readonly messages: number
  /** Of which had their body in a file. */
  readonly files: number
  readonly syncs: number
  readonly syncsPerMessage: number
  readonly seconds: number
  /** 250s before their sync, or without one. */
  readonly early: readonly string[]
}

const clients = 20

/** `large`: bodies that become files, one in so many messages; 0 for none. */
export async function syncOrder(messages: number, large = 0): Promise<OrderFigures> {
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-order-'))
  const data = join(folder, 'data')
  await mkdir(data, { mode: 0o700 })
  const hops = await openHops(new Ledger(1), Math.random, false)
  const port = await freePort()
  const trace = join(folder, 'trace')
  const server = await CrashServer.prepare({ folder, port, relays: hops.relays, data, under: straceTo(trace) })
  let seconds = 0
  try {
    await server.start()
    const began = performance.now()
    let next = 0
    const client = async () => {
      const wire = await Wire.connect(port)
      wire.write('EHLO client.test\r\n')
      await wire.reply()
      while (next++ < messages) await send(wire, large > 0 && next % large === 0 ? 60_000 : 4000)
      wire.close()
    }
    await Promise.all(Array.from({ length: clients }, client))
    seconds = (performance.now() - began) / 1000
    await server.signal('SIGKILL')
    const figures = judge(await readTrace(trace, (_, args) => args.includes('queued as') || args.includes(data)))
    return { clients, ...figures, seconds: Math.round(seconds * 10) / 10 }
  } finally {
    await server.close()
    await hops.close()
    await rm(folder, { recursive: true, force: true })
  }
}

async function send(wire: Wire, size: number): Promise<void> {
  wire.write('MAIL FROM:<sender@home.test>\r\nRCPT TO:<user@a.test>\r\nDATA\r\n')
  for (let i = 0; i < 3; i++) await wire.reply()
  wire.write(`From: <sender@home.test>\r\nSubject: order\r\n\r\n${'All in good order.\r\n'.repeat(size / 20)}.\r\n`)
  const { code, text } = await wire.reply()
  if (code !== 250) throw new Error(`a message was answered with ${code} ${text}`)
}

function judge(calls: readonly Call[]): Omit<OrderFigures, 'clients' | 'seconds'> {
  const syncs = new Map<string, Call[]>()
  const logs = new Map<string, Call[]>()
  const renamed = new Map<string, Call>()
  const acked = new Map<string, number>()
  for (const call of calls) {
    const { name, path, args, octets, begin } = call
    if (args.includes('<TCP:[')) {
      for (const [, id] of Buffer.concat(octets)
        .toString('latin1')
        .matchAll(/250 2\.0\.0 OK: queued as (\S+)/g))
        acked.set(id as string, begin)
    } else if (name.endsWith('sync')) add(syncs, path, call)
    else if (path.endsWith('.log') && name === 'write') add(logs, path, call)
    else if (name === 'rename') renamed.set(octets[1]?.toString().split('/').at(-1) ?? '', call)
  }
  /** When all that had been written to a file or folder at `from` was durable. */
  const durable = (path: string, from: number): number =>
    Math.min(...(syncs.get(path) ?? []).filter(({ begin, result }) => begin > from && result === 0).map(s => s.end))

  const stored = new Map<string, { log: string; written: number; blob: string | undefined }>()
  for (const [log, writes] of logs) {
    for (const { written, keys } of logRecords(writes)) {
      const owners = new Map(
        keys.map(key => key.split('/')).map(([kind, ref, owner]) => [kind === 'b' ? owner : '', ref]),
      )
      for (const key of keys) {
        const id = key.slice(2)
        if (key.startsWith('m/') && !stored.has(id)) stored.set(id, { log, written, blob: owners.get(id) })
      }
    }
  }
  const early: string[] = []
  let files = 0
  for (const [id, at] of acked) {
    const record = stored.get(id)
    if (record === undefined) {
      early.push(`${id}: never written to the log`)
      continue
    }
    if (!(durable(record.log, record.written) < at)) early.push(`${id}: 250 before the sync of the log`)
    if (record.blob?.startsWith('f') !== true) continue
    files++
    const rename = renamed.get(record.blob)
    const [from = '', to = ''] = rename?.octets.map(String) ?? []
    const written = calls.findLast(({ name, path }) => name.startsWith('pwrite') && path === from)?.end ?? Infinity
    // A descriptor is shown by the name that its file has by then.
    if (rename === undefined || !(Math.min(durable(from, written), durable(to, written)) < at))
      early.push(`${id}: 250 before the sync of its file`)
    else if (!(durable(to.slice(0, to.lastIndexOf('/')), rename.end) < at))
      early.push(`${id}: 250 before the sync of its file's name`)
  }
  const [first, last] = [Math.min(...acked.values()), Math.max(...acked.values())]
  let count = 0
  for (const list of syncs.values()) count += list.filter(({ begin }) => begin > first && begin <= last).length
  return {
    messages: acked.size,
    files,
    syncs: count,
    syncsPerMessage: Math.round((count / acked.size) * 1000) / 1000,
    early,
  }
}

function add(map: Map<string, Call[]>, key: string, call: Call): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [call])
  else list.push(call)
}
