// The other end of a relay bench: a fast SMTP server that offers what a Postfix of today does (PIPELINING, CHUNKING,
// 8BITMIME, DSN), counts messages and keeps nothing. Runs in a process of its own, so that it does not share a thread with
// the contender or the clock.

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
const nothing = Buffer.alloc(0)
const offers = ['sink.test', 'PIPELINING', '8BITMIME', 'CHUNKING', 'DSN']
const hello = `${offers.map(keyword => `250-${keyword}\r\n`).join('')}250 ENHANCEDSTATUSCODES\r\n`

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
    /** Octets of a chunk (RFC 3030) that are still to come, and whether it is the last. */
    let toCome = 0
    let lastChunk = false
    /** An unfinished command line, or the last octets of a body so far. */
    let rest: Buffer = nothing
    const chunkTaken = () => {
      if (lastChunk) {
        messages++
        last = monotonic()
      }
      return '250 2.0.0 Ok\r\n'
    }
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
        if (toCome > 0) {
          const taken = Math.min(toCome, data.length)
          toCome -= taken
          data = data.subarray(taken)
          if (toCome > 0) {
            rest = nothing
            break
          }
          out += chunkTaken()
          continue
        }
        const at = data.indexOf(10)
        if (at === -1) {
          rest = Buffer.from(data)
          break
        }
        const verb = data.toString('latin1', 0, 4).toUpperCase()
        const argument = verb === 'BDAT' ? data.toString('latin1', 5, at) : ''
        data = data.subarray(at + 1)
        if (verb === 'EHLO') out += hello
        else if (verb === 'BDAT') {
          toCome = Number.parseInt(argument, 10)
          lastChunk = /LAST/i.test(argument)
          if (toCome === 0) out += chunkTaken()
        } else if (verb === 'DATA') {
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
