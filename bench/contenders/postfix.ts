// Postfix from Debian's package as a rival: own configuration, queue and data folders, its default durability.

import { rmSync } from 'node:fs'
import { program } from '../../test/interop/needs.ts'
import { startPostfix } from '../../test/interop/postfix.ts'
import { succeed } from '../../test/interop/program.ts'
import { type Contender, freePort, tracked, workFolder } from '../contender.ts'

export const postfix: Contender = {
  name: 'postfix',

  async look() {
    if (program('postfix') === undefined) return { absent: 'the package postfix is not installed' }
    if (process.getuid?.() !== 0) return { absent: 'its master runs as root only' }
    const { out } = await succeed(program('postconf') as string, ['-dh', 'mail_version'])
    return { version: out.trim() }
  },

  async start({ kind, sink }) {
    const folder = workFolder('postfix')
    const where = kind === 'relay' ? { relayhost: `[127.0.0.1]:${sink}` } : { default_transport: 'discard:' }
    const server = await startPostfix(folder, await freePort(), {
      default_process_limit: 100,
      default_destination_concurrency_limit: 100,
      message_size_limit: 104857600,
      ...where,
    })
    const stop = tracked(async () => {
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    })
    return { port: server.port, pid: server.pid(), stop }
  },
}
