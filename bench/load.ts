// Sends the load of a bench: by smtp-source from Debian's postfix package, which costs the machine least, else by our own.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { program } from '../test/interop/needs.ts'
import { source } from './source.ts'

export interface Load {
  readonly messages: number
  readonly sessions: number
  /** Octets of each message. */
  readonly size: number
  /** One connection for many messages, or one each. */
  readonly keep: boolean
  /** This message, as `source` takes it. */
  readonly file?: string
}

const smtpSource = program('smtp-source')

export const generator =
  smtpSource === undefined ? 'bench/source.ts, since smtp-source is not installed' : 'smtp-source'

/** Sends all and resolves when the last was answered; rejects where any was refused. */
export async function send(port: number, { messages, sessions, size, keep, file }: Load): Promise<void> {
  if (smtpSource === undefined || file !== undefined) {
    const sent = await source({ port, messages, sessions, size, keep, ...(file === undefined ? {} : { file }) })
    if (sent.accepted !== messages) throw new Error(`${sent.refused} of ${messages} refused: ${sent.refusal}`)
    return
  }
  const args = ['-s', sessions, '-m', messages, '-l', size, '-f', 'a@x.test', '-t', 'b@y.test', `127.0.0.1:${port}`]
  await promisify(execFile)(smtpSource, [...(keep ? ['-d'] : []), ...args.map(String)], { timeout: 600_000 })
}
