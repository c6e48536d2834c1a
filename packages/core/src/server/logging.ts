// The process's log: pino, one JSON object a line, to a file or to standard error.
import pino from 'pino'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/contract.ts'
import type { Log } from '../log.ts'
import { LogFile } from './log-file.ts'

export interface ProcessLog extends Log {
  /** Writes out what is buffered; the file is opened again, for log rotation. */
  reopen(): void
  /** Writes out what is buffered and stops. */
  close(): void
}

/** Throws where the file cannot be opened. `complain` is told of lines that cannot be written; by default standard error is. */
export function openLog(
  { level, file }: Config['log'],
  clock: Clock,
  complain: (text: string) => void = text => void process.stderr.write(`${text}\n`),
): ProcessLog {
  // Standard error stays synchronous: what a crash says must be on the screen.
  if (file === undefined) {
    const log = pino({ level, base: null }, pino.destination({ dest: 2, sync: true }))
    return { ...levels(log), reopen() {}, close() {} }
  }
  const lines = new LogFile(file, clock, complain)
  const log = pino({ level, base: null }, lines)
  return { ...levels(log, () => lines.flush()), reopen: () => lines.reopen(), close: () => lines.close() }
}

/** `urgent` is called behind what somebody will look for after a crash. */
function levels(log: pino.Logger, urgent = () => {}): Log {
  return {
    debug: (fields, message) => log.debug(fields, message),
    info: (fields, message) => log.info(fields, message),
    warn: (fields, message) => log.warn(fields, message),
    error: (fields, message) => {
      log.error(fields, message)
      urgent()
    },
  }
}
