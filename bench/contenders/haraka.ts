// Haraka from npm as a rival: installed on demand beside the benches, never a dependency of ours. It
// syncs each file of its queue, and not the folder.

import { execFile } from 'node:child_process'
import { appendFileSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Contender, freePort, greeted, spawnServer, stopChild, tracked, workFolder } from '../contender.ts'

const version = '3.3.4'
const home = fileURLToPath(new URL('../.cache/haraka/', import.meta.url))
const installed = () => existsSync(join(home, 'node_modules/Haraka/package.json'))

export const haraka: Contender = {
  name: 'haraka',

  async look() {
    if (!installed()) {
      mkdirSync(home, { recursive: true })
      writeFileSync(join(home, 'package.json'), '{ "private": true }')
      const args = ['install', `Haraka@${version}`, '--no-audit', '--no-fund', '--fetch-retries=0']
      const done = await promisify(execFile)('npm', args, { cwd: home, timeout: 180_000 }).catch((e: Error) => e)
      if (!installed()) {
        const why = done instanceof Error ? done.message.split('\n').slice(0, 2).join(' ') : 'npm put nothing there'
        return { absent: `could not be installed from npm: ${why}` }
      }
    }
    const { version: found } = JSON.parse(readFileSync(join(home, 'node_modules/Haraka/package.json'), 'utf8'))
    return { version: String(found) }
  },

  async start({ kind, sink }) {
    if (kind !== 'relay') throw new Error('Haraka has no queue that ends nowhere')
    const folder = workFolder('haraka')
    const port = await freePort()
    for (const name of ['config', 'plugins', 'queue']) mkdirSync(join(folder, name))
    // Its own defaults, as `haraka -i` lays them out; then what every rival here is told.
    for (const name of ['connection.ini', 'log.ini', 'outbound.ini']) {
      copyFileSync(join(home, 'node_modules/Haraka/config', name), join(folder, 'config', name))
    }
    const config = (name: string, text: string) => writeFileSync(join(folder, 'config', name), text)
    config('smtp.ini', `listen=127.0.0.1:${port}\nnodes=0\n`)
    config('me', 'haraka.test\n')
    config('plugins', 'relay\nto_sink\n')
    config('relay.ini', '[relay]\nacl=true\n')
    config('relay_acl_allow', '127.0.0.0/8\n')
    appendFileSync(join(folder, 'config/outbound.ini'), '\nconcurrency_max=100\nenable_tls=false\n')
    writeFileSync(
      join(folder, 'plugins/to_sink.js'),
      `exports.hook_get_mx = (next) => next(OK, { priority: 0, exchange: '127.0.0.1', port: ${sink} })
// No rival looks up names: what a resolver takes is not what we measure.
exports.hook_lookup_rdns = (next) => next(OK, 'localhost')
`,
    )
    const bin = join(home, 'node_modules/Haraka/bin/haraka')
    const { child, gone } = spawnServer(process.execPath, [bin, '-c', folder], {
      cwd: folder,
      log: join(folder, 'haraka.log'),
    })
    const stop = tracked(async () => {
      await stopChild(child)
      rmSync(folder, { recursive: true, force: true })
    })
    try {
      await greeted(port, gone)
    } catch (error) {
      await stop()
      throw error
    }
    return { port, pid: child.pid as number, stop }
  },
}
