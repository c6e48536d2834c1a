// Posthorn as its users run it: the real command, the real store, logs to a file.

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type Contender,
  freePort,
  greeted,
  spawnServer,
  stopChild,
  tracked,
  type Work,
  workFolder,
} from '../contender.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

const bin = join(root, 'packages/cli/bin/posthorn.js')
/** What the command's first line asks of the environment and of Node when a shell runs it. */
const [, settings = '', flags = ''] = /^#!\S+ -S (.*?)node (.*)/.exec(readFileSync(bin, 'utf8')) ?? []
const env = { ...process.env, ...Object.fromEntries(settings.match(/\S+/g)?.map(one => one.split('=')) ?? []) }

/** The arguments of Node for the command `posthorn`. */
export const command = [...flags.split(' '), '--conditions=@posthorn/source', bin]

/** One machine is all clients, and sends more over a connection than anybody else would. */
const limits = { connectionsPerIp: 10_000, messagesPerConnection: 1_000_000, messageSize: '100MB' }

/** How a bench may bend the configuration. */
export interface Variation {
  readonly tls?: 'starttls' | 'implicit'
  /** Plugins besides store and delivery, and sections of the configuration. */
  readonly plugins?: readonly object[]
  readonly config?: object
  /** A data folder that outlives the server; else one of its own. */
  readonly data?: string
  /** Instead of the plugins that do the work of `Work`. */
  readonly deliver?: readonly unknown[]
  readonly limits?: Readonly<Record<string, unknown>>
}

/** The plugin that delivers nowhere, as the configuration names it. */
export const nowhere = fileURLToPath(new URL('../plugins/nowhere.ts', import.meta.url))

/** Starts `posthorn start` on a configuration of its own. `ready`: milliseconds until it greeted. */
export async function startPosthorn(work: Work, variation: Variation = {}) {
  const folder = workFolder('posthorn')
  const port = await freePort()
  const deliver = variation.deliver ?? [
    work.kind === 'relay'
      ? { relay: { to: `127.0.0.1:${work.sink}`, domains: ['y.test'], tls: 'none' } }
      : { [nowhere]: { domains: ['y.test'] } },
  ]
  const file = join(folder, 'posthorn.config.json')
  const control = join(folder, 'control.sock')
  const config = {
    hostname: 'posthorn.test',
    data: variation.data ?? join(folder, 'data'),
    control: { socket: control },
    log: { level: 'info', file: join(folder, 'posthorn.log') },
    listeners: {
      mx: { listen: `127.0.0.1:${port}`, tls: variation.tls ?? 'none', limits: { ...limits, ...variation.limits } },
    },
    plugins: ['storage-level', ...(variation.plugins ?? []), ...deliver],
    ...variation.config,
  }
  writeFileSync(file, JSON.stringify(config, null, 2))
  const began = performance.now()
  const args = [...command, 'start', '--config', file]
  const { child, gone } = spawnServer(process.execPath, args, { cwd: folder, env })
  const stop = tracked(async () => {
    await stopChild(child)
    rmSync(folder, { recursive: true, force: true })
  })
  try {
    await greeted(port, gone, variation.tls === 'implicit')
  } catch (error) {
    await stop()
    throw error
  }
  const ready = performance.now() - began
  return { port, pid: child.pid as number, folder, file, control, ready, stop }
}

export const posthorn: Contender = {
  name: 'posthorn',
  async look() {
    const { version } = JSON.parse(readFileSync(join(root, 'packages/cli/package.json'), 'utf8'))
    return { version: String(version) }
  },
  start: work => startPosthorn(work),
}
