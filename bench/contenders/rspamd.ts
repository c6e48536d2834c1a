// Postfix with rspamd from Debian's packages behind it as a milter, of its modules only those that say who sent it.

import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { program } from '../../test/interop/needs.ts'
import { startPostfix } from '../../test/interop/postfix.ts'
import { succeed } from '../../test/interop/program.ts'
import { type Contender, freePort, spawnServer, stopChild, tracked, workFolder } from '../contender.ts'
import { postfix } from './postfix.ts'

const plugins = '/usr/share/rspamd/plugins'
/** In Lua; DKIM is a part of the daemon. */
const modules = ['spf', 'dmarc']

/** `dns`: the server to ask, as `127.0.0.1:5353`. */
export const postfixWithRspamd = (dns: string): Contender => ({
  name: 'postfix+rspamd',

  async look() {
    const mta = await postfix.look()
    if ('absent' in mta) return mta
    const rspamd = program('rspamd')
    if (rspamd === undefined || !existsSync(plugins)) return { absent: 'the package rspamd is not installed' }
    const { out } = await succeed(rspamd, ['--version'])
    return { version: `${mta.version}+${/\d[\d.]*/.exec(out)?.[0] ?? '?'}` }
  },

  async start() {
    const folder = workFolder('rspamd')
    const mta = workFolder('postfix')
    const milter = await freePort()
    const filter = spawnServer(program('rspamd') as string, rspamdArguments(folder, milter, dns), { cwd: folder })
    let server: Awaited<ReturnType<typeof startPostfix>> | undefined
    const stop = tracked(async () => {
      await server?.stop()
      await stopChild(filter.child)
      for (const used of [folder, mta]) rmSync(used, { recursive: true, force: true })
    })
    try {
      await listens(milter, filter.gone)
      server = await startPostfix(mta, await freePort(), {
        default_process_limit: 100,
        default_transport: 'discard:',
        smtpd_milters: `inet:127.0.0.1:${milter}`,
        // A filter that fails must not win by doing nothing.
        milter_default_action: 'tempfail',
      })
      const running = server
      return { port: running.port, pid: running.pid(), stop }
    } catch (error) {
      await stop()
      throw error
    }
  },
})

/** Settings of our own: three modules and none of the distribution's rules, which are about spam. */
function rspamdArguments(folder: string, milter: number, dns: string): string[] {
  const file = join(folder, 'rspamd.conf')
  for (const name of ['data', 'run', 'log']) mkdirSync(join(folder, name))
  const local = 'check_local = true; check_authed = true;'
  writeFileSync(
    file,
    `options {
  filters = "dkim";
  pidfile = "${folder}/run/rspamd.pid";
  cache_file = "${folder}/data/symbols.cache";
  history_file = "${folder}/data/history";
  dynamic_conf = "${folder}/data/dynamic";
  tempdir = "${folder}/data";
  local_addrs = [];
  dns { nameserver = ["${dns}"]; timeout = 1s; sockets = 16; retransmits = 5; }
}
logging { type = "file"; filename = "${folder}/log/rspamd.log"; level = "warning"; }
worker "rspamd_proxy" {
  bind_socket = "127.0.0.1:${milter}";
  count = 2;
  milter = yes;
  timeout = 120s;
  upstream "local" { default = yes; self_scan = yes; }
}
modules { ${modules.map(name => `path = "${plugins}/${name}.lua";`).join(' ')} }
actions { unknown_weight = 1.0; reject = 999; }
dkim { ${local} }
spf { ${local} }
dmarc { ${local} actions = {}; }
`,
  )
  return ['--no-fork', '--insecure', '--config', file]
}

async function listens(port: number, gone: () => string | undefined): Promise<void> {
  for (const until = performance.now() + 20_000; performance.now() < until; ) {
    const reason = gone()
    if (reason !== undefined) throw new Error(reason)
    const open = await new Promise<boolean>(resolve => {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (open) return
    await wait(100)
  }
  throw new Error(`rspamd does not listen on port ${port}`)
}
