// Postfix from Debian's package as a rival: own configuration, queue and data folders, its default durability.

import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { program } from '../../test/interop/needs.ts'
import { type Contender, freePort, greeted, tracked, workFolder } from '../contender.ts'

const run = promisify(execFile)

/** service type private unpriv chroot wakeup maxproc command: Debian's, without chroot and without what no bench uses. */
const services = (port: number) => `
127.0.0.1:${port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

export const postfix: Contender = {
  name: 'postfix',

  async look() {
    if (program('postfix') === undefined) return { absent: 'the package postfix is not installed' }
    if (process.getuid?.() !== 0) return { absent: 'its master runs as root only' }
    const { stdout } = await run(program('postconf') as string, ['-dh', 'mail_version'])
    return { version: stdout.trim() }
  },

  async start({ kind, sink }) {
    const folder = workFolder('postfix')
    const [config, queue, data] = ['config', 'queue', 'data'].map(name => join(folder, name)) as [
      string,
      string,
      string,
    ]
    // Its processes run as the user postfix and must pass through.
    chmodSync(folder, 0o755)
    for (const path of [config, queue, data]) mkdirSync(path)
    await run('chown', ['postfix', data])
    const port = await freePort()
    const where = kind === 'relay' ? `relayhost = [127.0.0.1]:${sink}` : 'default_transport = discard:'
    writeFileSync(
      join(config, 'main.cf'),
      `compatibility_level = 3.6
queue_directory = ${queue}
data_directory = ${data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = ${folder}/mail.log
maillog_file_prefixes = ${folder}
myhostname = postfix.test
mynetworks = 127.0.0.0/8
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
disable_dns_lookups = yes
smtp_host_lookup = native
default_process_limit = 100
default_destination_concurrency_limit = 100
smtpd_client_connection_count_limit = 0
message_size_limit = 104857600
smtpd_relay_restrictions = permit_mynetworks, reject
${where}
`,
    )
    writeFileSync(join(config, 'master.cf'), services(port))
    const postfix = (command: string) => run(program('postfix') as string, ['-c', config, command])
    await postfix('start')
    const pid = Number(readFileSync(join(queue, 'pid/master.pid'), 'utf8'))
    const alive = () => {
      try {
        return process.kill(pid, 0)
      } catch {
        return false
      }
    }
    const stop = tracked(async () => {
      await postfix('stop').catch(() => {})
      for (let i = 0; i < 100 && alive(); i++) await wait(50)
      if (alive()) process.kill(pid, 'SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    })
    try {
      await greeted(port, () =>
        alive() ? undefined : `postfix ended: ${readFileSync(join(folder, 'mail.log'), 'utf8')}`,
      )
    } catch (error) {
      await stop()
      throw error
    }
    return { port, pid, stop }
  },
}
