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
const nowhere = fileURLToPath(new URL('../plugins/nowhere.ts', import.meta.url))

/** One machine is all clients, and sends more over a connection than anybody else would. */
const limits = { connectionsPerIp: 10_000, messagesPerConnection: 1_000_000, messageSize: '100MB' }

/** How a bench may bend the configuration. */
export interface Variation {
  readonly tls?: 'starttls' | 'implicit'
  /** Plugins besides store and delivery, and sections of the configuration. */
  readonly plugins?: readonly object[]
  readonly config?: object
}

/** Starts `posthorn start` on a configuration of its own. */
export async function startPosthorn(work: Work, variation: Variation = {}) {
  const folder = workFolder('posthorn')
  const port = await freePort()
  const deliver =
    work.kind === 'relay'
      ? { relay: { to: `127.0.0.1:${work.sink}`, domains: ['y.test'], tls: 'none' } }
      : { [nowhere]: { domains: ['y.test'] } }
  const config = {
    hostname: 'posthorn.test',
    data: join(folder, 'data'),
    log: { level: 'info', file: join(folder, 'posthorn.log') },
    listeners: {
      mx: { listen: `127.0.0.1:${port}`, tls: variation.tls ?? 'none', limits },
    },
    plugins: ['storage-level', ...(variation.plugins ?? []), deliver],
    ...variation.config,
  }
  writeFileSync(join(folder, 'posthorn.config.json'), JSON.stringify(config, null, 2))
  const bin = join(root, 'packages/cli/bin/posthorn.js')
  const args = ['--conditions=@posthorn/source', bin, 'start', '--config', join(folder, 'posthorn.config.json')]
  const { child, gone } = spawnServer(process.execPath, args, { cwd: folder })
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
  return { port, pid: child.pid as number, folder, stop }
}

export const posthorn: Contender = {
  name: 'posthorn',
  async look() {
    const { version } = JSON.parse(readFileSync(join(root, 'packages/cli/package.json'), 'utf8'))
    return { version: String(version) }
  },
  start: work => startPosthorn(work),
}
