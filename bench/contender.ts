// What a mail server must offer to take part in a bench, and how its process is started, watched and stopped.

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, statfsSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'

export interface Work {
  /** `accept`: into the durable queue and then nowhere. `relay`: through it to the sink. */
  readonly kind: 'accept' | 'relay'
  readonly sink: number
}

export interface Contender {
  readonly name: string
  /** Why it cannot take part here, or its version. */
  look(): Promise<{ readonly absent: string } | { readonly version: string }>
  start(work: Work): Promise<Running>
}

export interface Running {
  readonly port: number
  /** The root of its process tree. */
  readonly pid: number
  stop(): Promise<void>
}

const stops = new Set<() => Promise<void>>()

/** Remembers how to stop a server until it has been, so that a bench that is interrupted leaves none behind. */
export function tracked(stop: () => Promise<void>): () => Promise<void> {
  const once = async () => {
    if (stops.delete(once)) await stop()
  }
  stops.add(once)
  return once
}

/** Stops every server that still runs. */
export const stopAll = () => Promise.all([...stops].map(stop => stop()))

/** A fresh folder on a real disk: what is synced in memory costs nothing. */
export function workFolder(name: string): string {
  const parent = process.env.POSTHORN_BENCH_DIR ?? '/var/tmp'
  mkdirSync(parent, { recursive: true })
  // TMPFS_MAGIC of statfs(2).
  if (statfsSync(parent).type === 0x01021994) {
    throw new Error(`${parent} is in memory; set POSTHORN_BENCH_DIR to a folder on a disk`)
  }
  return mkdtempSync(join(parent, `posthorn-bench-${name}-`))
}

/** A port of loopback that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Waits until a server greets on `port`, at most 20 s; `tls`: from the first octet. */
export async function greeted(port: number, gone: () => string | undefined, tls = false): Promise<void> {
  const where = { port, host: '127.0.0.1' }
  const until = performance.now() + 20_000
  while (performance.now() < until) {
    const reason = gone()
    if (reason !== undefined) throw new Error(reason)
    const ok = await new Promise<boolean>(resolve => {
      const socket = tls ? connectTls({ ...where, rejectUnauthorized: false }) : connect(where)
      socket.once('data', () => {
        socket.end('QUIT\r\n')
        resolve(true)
      })
      socket.once('error', () => resolve(false))
      socket.setTimeout(2000, () => {
        socket.destroy()
        resolve(false)
      })
    })
    if (ok) return
    await wait(50)
  }
  throw new Error(`nobody greeted on port ${port} within 20 s`)
}

/**
 * A server as a child process; what it says is kept for the error where it ends too early. `log`: a file that standard
 * output goes to instead, of a server that logs there.
 */
export function spawnServer(
  file: string,
  args: readonly string[],
  { log, ...options }: { cwd?: string; env?: NodeJS.ProcessEnv; log?: string },
) {
  const out = log === undefined ? undefined : openSync(log, 'a', 0o600)
  const child = spawn(file, args, { ...options, stdio: ['ignore', out ?? 'pipe', 'pipe'] })
  if (out !== undefined) closeSync(out)
  let said = ''
  const keep = (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4000)
  }
  child.stdout?.on('data', keep)
  child.stderr?.on('data', keep)
  child.on('error', error => keep(Buffer.from(String(error))))
  return {
    child,
    gone: () => (child.exitCode !== null || child.signalCode !== null ? `${file} ended: ${said}` : undefined),
  }
}

/** Asks a child to end, and after 15 s makes it. */
export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000)
  await exit
  clearTimeout(timer)
}
