// The other end of a relay bench: a fast SMTP server that speaks PIPELINING, counts messages and keeps nothing. Runs in
// a process of its own, so that it does not share a thread with the contender or the clock.

import { fork } from 'node:child_process'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'

export interface Count {
  readonly messages: number
  readonly octets: number
  /** When the latest message was complete, on the machine's monotonic clock, in ms. */
  readonly last: number
}

export interface Sink {
  readonly port: number
  reset(): Promise<void>
  count(): Promise<Count>
  stop(): Promise<void>
}

/** CLOCK_MONOTONIC, which all processes of a machine share. */
export const monotonic = (): number => Number(process.hrtime.bigint() / 1000n) / 1000

const marker = 'posthorn-bench-sink'
const end = Buffer.from('\r\n.\r\n')

export async function startSink(): Promise<Sink> {
  const child = fork(fileURLToPath(import.meta.url), [marker], { execArgv: [] })
  const exit = new Promise<never>((_, reject) => {
    child.once('exit', code => reject(new Error(`the sink ended with ${code}`)))
  })
  exit.catch(() => {})
  const ask = <T>(question: string) => {
    const answer = new Promise<T>(resolve => child.once('message', message => resolve(message as T)))
    child.send(question)
    return Promise.race([answer, exit])
  }
  const { port } = await ask<{ port: number }>('port')
  return {
    port,
    reset: () => ask('reset'),
    count: () => ask('count'),
    async stop() {
      child.kill()
      await exit.catch(() => {})
    },
  }
}

function serve() {
  let messages = 0
  let octets = 0
  let last = 0

  const session = (socket: Socket) => {
    let inBody = false
    /** An unfinished command line, or the last octets of a body so far. */
    let rest: Buffer = Buffer.alloc(0)
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.write('220 sink.test ESMTP\r\n')
    socket.on('data', chunk => {
      octets += chunk.length
      let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      let out = ''
      for (;;) {
        if (inBody) {
          const at = data.indexOf(end)
          if (at === -1) {
            rest = data.subarray(Math.max(0, data.length - 4))
            break
          }
          inBody = false
          messages++
          last = monotonic()
          out += '250 2.0.0 Ok\r\n'
          data = data.subarray(at + end.length)
          continue
        }
        const at = data.indexOf(10)
        if (at === -1) {
          rest = Buffer.from(data)
          break
        }
        const verb = data.toString('latin1', 0, 4).toUpperCase()
        data = data.subarray(at + 1)
        if (verb === 'EHLO')
          out += '250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n'
        else if (verb === 'DATA') {
          out += '354 Go on\r\n'
          inBody = true
          // The empty line end before a lone dot may be the command's own (RFC 5321 §4.1.1.4).
          data = Buffer.concat([Buffer.from('\r\n'), data])
        } else if (verb === 'QUIT') {
          socket.end(`${out}221 2.0.0 Bye\r\n`)
          return
        } else out += '250 2.0.0 Ok\r\n'
      }
      if (out !== '') socket.write(out)
    })
  }

  const server = createServer(session)
  server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 })
  process.on('message', question => {
    if (question === 'reset') messages = octets = last = 0
    if (question !== 'port') process.send?.({ messages, octets, last } satisfies Count)
    else if (server.listening) process.send?.({ port: (server.address() as AddressInfo).port })
    else server.once('listening', () => process.send?.({ port: (server.address() as AddressInfo).port }))
  })
  process.on('disconnect', () => process.exit())
}

if (process.argv[2] === marker) serve()
