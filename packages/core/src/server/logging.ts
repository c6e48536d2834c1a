// The process's log: pino, one JSON object a line, to a file or to standard error. Buffered, so that a busy server does
// not wait for it; flushed every second and at the end.
import pino from 'pino'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/contract.ts'
import type { Log } from '../log.ts'

export interface ProcessLog extends Log {
  /** Writes out what is buffered; the file is opened again, for log rotation. */
  reopen(): void
  /** Writes out what is buffered and stops. */
  close(): void
}

const buffered = 8_192
const flushEvery = 1_000

/** Throws where the file cannot be opened. */
export function openLog({ level, file }: Config['log'], clock: Clock): ProcessLog {
  // Standard error stays synchronous: what a crash says must be on the screen.
  const destination =
    file === undefined
      ? pino.destination({ dest: 2, sync: true })
      : pino.destination({ dest: file, sync: false, minLength: buffered, mkdir: true, append: true, mode: 0o600 })
  const log = pino({ level, base: null }, destination)
  let cancel = () => {}
  const flush = () => {
    destination.flush()
    cancel = clock.after(flushEvery, flush)
  }
  if (file !== undefined) flush()
  return {
    debug: (fields, message) => log.debug(fields, message),
    info: (fields, message) => log.info(fields, message),
    warn: (fields, message) => log.warn(fields, message),
    error: (fields, message) => log.error(fields, message),
    reopen() {
      if (file !== undefined) destination.reopen()
    },
    close() {
      cancel()
      destination.flushSync()
    },
  }
}
