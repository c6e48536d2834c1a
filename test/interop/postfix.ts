// A private Postfix: configuration, queue, data and log in a folder of its own, Debian's programs, no chroot, loopback
// only. Needs root, since its master does. Used by interop tests and by the benches.

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { greeted } from '../../bench/contender.ts'
import { until } from './mailbox.ts'
import { program } from './needs.ts'
import { succeed } from './program.ts'

/** service type private unpriv chroot wakeup maxproc command: Debian's, without chroot and without what nobody uses. */
const services = (port: number, more: readonly string[]) => `
127.0.0.1:${port} inet n - n - - smtpd
${more.map(line => `${line}\n`).join('')}pickup unix n - n 60 1 pickup
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

const always = (folder: string) => ({
  compatibility_level: '3.6',
  queue_directory: join(folder, 'queue'),
  data_directory: join(folder, 'data'),
  command_directory: '/usr/sbin',
  daemon_directory: '/usr/lib/postfix/sbin',
  maillog_file: join(folder, 'mail.log'),
  maillog_file_prefixes: folder,
  myhostname: 'postfix.test',
  mynetworks: '127.0.0.0/8',
  mydestination: '',
  inet_interfaces: '127.0.0.1',
  inet_protocols: 'ipv4',
  alias_maps: '',
  alias_database: '',
  disable_dns_lookups: 'yes',
  smtp_host_lookup: 'native',
  smtpd_client_connection_count_limit: '0',
  smtpd_relay_restrictions: 'permit_mynetworks, reject',
})

/** A line of master.cf: one more smtpd, at another address, with settings of its own. */
export const smtpd = (host: string, port: number, settings: Readonly<Record<string, string>> = {}): string =>
  [
    `${host}:${port} inet n - n - - smtpd`,
    ...Object.entries(settings).map(([name, value]) => `-o ${name}=${value}`),
  ].join(' ')

export interface RunningPostfix {
  readonly port: number
  /** Of its master; another one after each start. */
  pid(): number
  log(): string
  /** Runs `postfix <command>`: start, stop, flush. */
  command(name: string): Promise<unknown>
  /** Whether its own queue is empty. */
  empty(): Promise<boolean>
  /** Waits until it greets. */
  ready(): Promise<void>
  /** All its processes end at once, wherever they are: what they had under way is cut. */
  crash(): Promise<void>
  stop(): Promise<void>
}

/** Whether a process, or with a minus a group of them, lives. */
function there(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/**
 * Makes a Postfix in `folder`, which its own users can pass through, with `settings` for main.cf and `more` lines of
 * master.cf, see {@link smtpd}, and starts it.
 */
export async function startPostfix(
  folder: string,
  port: number,
  settings: Readonly<Record<string, string | number>>,
  more: readonly string[] = [],
): Promise<RunningPostfix> {
  const config = join(folder, 'config')
  chmodSync(folder, 0o755)
  for (const name of ['config', 'queue', 'data']) mkdirSync(join(folder, name))
  // `postfix start` writes the log as this user where it finds something to say about the queue, else as root.
  writeFileSync(join(folder, 'mail.log'), '')
  await succeed('chown', ['postfix', join(folder, 'data'), join(folder, 'mail.log')])
  const lines = Object.entries({ ...always(folder), ...settings }).map(([name, value]) => `${name} = ${value}\n`)
  writeFileSync(join(config, 'main.cf'), lines.join(''))
  writeFileSync(join(config, 'master.cf'), services(port, more))
  const log = () => {
    try {
      return readFileSync(join(folder, 'mail.log'), 'utf8')
    } catch {
      return ''
    }
  }
  // The file outlives the process that it names.
  const pid = () => Number(readFileSync(join(folder, 'queue/pid/master.pid'), 'utf8'))
  const alive = () => {
    try {
      return there(pid())
    } catch {
      return false
    }
  }
  const command = (name: string) => succeed(program('postfix') as string, ['-c', config, name])
  const ready = () => greeted(port, () => (alive() ? undefined : `postfix ended: ${log()}`))
  const stop = async () => {
    if (!alive()) return
    await command('stop').catch(() => {})
    for (let i = 0; i < 100 && alive(); i++) await wait(50)
    if (alive()) process.kill(pid(), 'SIGKILL')
  }
  await command('start')
  try {
    await ready()
  } catch (error) {
    await stop()
    throw error
  }
  return {
    port,
    pid,
    log,
    command,
    empty: async () =>
      (await succeed(program('postqueue') as string, ['-c', config, '-p'])).out.startsWith('Mail queue is empty'),
    ready,
    // Its master leads a process group, in which all its daemons are.
    async crash() {
      const group = -pid()
      process.kill(group, 'SIGKILL')
      await until(
        () => !there(group),
        () => `processes of the group ${-group} live on`,
      )
      // A message whose file was made and not yet renamed: some crashes leave one, and the next start warns of it.
      writeFileSync(join(folder, 'queue/incoming/315053.22152'), '')
    },
    stop,
  }
}
