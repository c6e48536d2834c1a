// A private Dovecot: LMTP into Maildir folders, and SASL for a Postfix beside it, all in a folder of its own. Needs root
// and the users of Debian's package.

import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stopChild } from '../../bench/contender.ts'
import { until } from './mailbox.ts'
import { program } from './needs.ts'
import { succeed } from './program.ts'

export interface RunningDovecot {
  /** For `relay: { lmtp: true }`. */
  readonly lmtp: { readonly tcp: string; readonly unix: string }
  /** For Postfix's smtpd_sasl_path. */
  readonly sasl: string
  maildir(user: string): string
  log(): string
  /** Starts it once more after `stop`. */
  start(): Promise<void>
  stop(): Promise<void>
}

const settings = (folder: string, port: number) => `
base_dir = ${folder}/run
state_dir = ${folder}/state
log_path = ${folder}/dovecot.log
ssl = no
protocols = lmtp
listen = 127.0.0.1
mail_location = maildir:${folder}/mail/%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
first_valid_gid = 1
mail_fsync = always
disable_plaintext_auth = no
auth_mechanisms = plain login
recipient_delimiter = +
passdb {
  driver = passwd-file
  args = ${folder}/users
}
userdb {
  driver = passwd-file
  args = ${folder}/users
}
service lmtp {
  unix_listener ${folder}/lmtp {
    mode = 0600
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = ${port}
  }
}
service auth {
  unix_listener ${folder}/sasl {
    mode = 0666
  }
}
`

/** Makes a Dovecot in `folder` that knows `users` with their passwords, and starts it. */
export async function startDovecot(
  folder: string,
  port: number,
  users: Readonly<Record<string, string>>,
): Promise<RunningDovecot> {
  chmodSync(folder, 0o755)
  for (const name of ['run', 'state', 'mail']) mkdirSync(join(folder, name))
  await succeed('chown', ['nobody:nogroup', join(folder, 'mail')])
  const lines = Object.entries(users).map(([user, password]) => `${user}:{PLAIN}${password}:::::\n`)
  writeFileSync(join(folder, 'users'), lines.join(''), { mode: 0o644 })
  writeFileSync(join(folder, 'dovecot.conf'), settings(folder, port))
  const log = () => {
    const file = join(folder, 'dovecot.log')
    return existsSync(file) ? readFileSync(file, 'utf8') : ''
  }
  let child: ChildProcess | undefined
  const stop = async () => {
    if (child !== undefined) await stopChild(child)
  }
  const start = async () => {
    const started = spawn(program('dovecot') as string, ['-F', '-c', join(folder, 'dovecot.conf')], { stdio: 'ignore' })
    child = started
    try {
      await until(
        () => existsSync(join(folder, 'lmtp')) && started.exitCode === null,
        () => `dovecot does not listen: ${log()}`,
      )
    } catch (error) {
      await stop()
      throw error
    }
  }
  await start()
  return {
    lmtp: { tcp: `127.0.0.1:${port}`, unix: `unix:${join(folder, 'lmtp')}` },
    sasl: join(folder, 'sasl'),
    maildir: user => join(folder, 'mail', user),
    log,
    start,
    stop,
  }
}
