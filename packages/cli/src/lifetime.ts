import { tell } from './failure.ts'
import type { Io } from './io.ts'
import type { Server } from './server.ts'

/** Where signals come from: `process`. */
export interface Signals {
  on(signal: NodeJS.Signals, listener: () => void): unknown
  off(signal: NodeJS.Signals, listener: () => void): unknown
  exit(code: number): void
}

/**
 * Lives until the server was told to end: SIGTERM and SIGINT stop it in good order, a second one at once; SIGHUP
 * reloads. Signals that come while it starts count too. Rejects with what `start` rejects with.
 */
export async function untilStopped(
  start: () => Promise<Server>,
  started: (server: Server) => void,
  io: Io,
  signals: Signals,
): Promise<void> {
  // A boot waits for nothing that keeps the process alive; without this it could end half-way, with exit code 0.
  const awake = setInterval(() => {}, 2 ** 30)
  let server: Server | undefined
  let stopping = false
  let stopped = () => {}
  let failed = (_error: unknown) => {}
  const end = new Promise<void>((done, fail) => {
    stopped = done
    failed = fail
  })
  const stop = (signal: 'SIGTERM' | 'SIGINT') => () => {
    if (stopping) {
      signals.exit(signal === 'SIGINT' ? 130 : 143)
      return
    }
    stopping = true
    io.err(`${signal}: finishing what is under way; once more to end at once`)
    server?.stop().then(stopped, failed)
  }
  const hangup = () => {
    if (server === undefined || stopping) return
    server.reload().then(
      () => io.err('SIGHUP: reloaded'),
      error => {
        io.err('SIGHUP: not reloaded, the old configuration stays at work')
        tell(error, io, {})
      },
    )
  }
  const handlers = [
    ['SIGTERM', stop('SIGTERM')],
    ['SIGINT', stop('SIGINT')],
    ['SIGHUP', hangup],
  ] as const
  for (const [signal, handler] of handlers) signals.on(signal, handler)
  try {
    server = await start()
    if (stopping) await server.stop()
    else {
      started(server)
      await end
    }
  } finally {
    for (const [signal, handler] of handlers) signals.off(signal, handler)
    clearInterval(awake)
  }
}
