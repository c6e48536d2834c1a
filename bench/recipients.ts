// One message to many recipients, and a next hop that takes its time for each transaction and knows who sent it.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { monotonic } from './sink.ts'

/** Sends one message to `count` recipients, pipelined; milliseconds from MAIL to the 250 at the dot. */
export async function manyRecipients(port: number, count: number, from: string): Promise<number> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true }).setEncoding('latin1')
  let left = 0
  let told = () => {}
  let wrong: string | undefined
  let rest = ''
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\r\n')
    rest = lines.pop() as string
    for (const line of lines) {
      if (line[3] === '-') continue
      if (!/^[23]/.test(line)) wrong ??= line
      if (--left === 0) told()
    }
  })
  const replies = (n: number) =>
    new Promise<void>((resolve, reject) => {
      left = n
      told = () => (wrong === undefined ? resolve() : reject(new Error(wrong)))
      socket.once('close', () => reject(new Error(wrong ?? 'the server hung up')))
    })
  await replies(1)
  socket.write('EHLO many.test\r\n')
  await replies(1)
  const began = monotonic()
  const envelope = replies(count + 2)
  socket.write(`MAIL FROM:<${from}>\r\n`)
  for (let n = 0; n < count; n += 500) {
    let lines = ''
    for (let i = n; i < Math.min(n + 500, count); i++) lines += `RCPT TO:<u${i}@y.test>\r\n`
    if (!socket.write(lines)) await once(socket, 'drain')
  }
  socket.write('DATA\r\n')
  await envelope
  const dot = replies(1)
  socket.write(`From: ${from}\r\nSubject: many\r\n\r\nHello, all.\r\n.\r\n`)
  await dot
  const ms = monotonic() - began
  const bye = replies(1)
  socket.write('QUIT\r\n')
  await bye
  socket.destroy()
  return ms
}

/** A sink that answers each dot at once, and after `slow` with a pause of so many milliseconds. */
export async function startSlowSink() {
  let pause = 0
  const seen = new Map<string, { readonly at: number; recipients: number }>()
  const waiting = new Map<string, (at: number) => void>()
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
    socket.write('220 slow.test\r\n')
    let rest = ''
    let from = ''
    let recipients = 0
    let inBody = false
    const line = (text: string): string => {
      if (inBody) {
        if (text !== '.') return ''
        inBody = false
        const [sender, number] = [from, recipients]
        setTimeout(() => {
          const known = seen.get(sender)
          if (known !== undefined) known.recipients += number
          else {
            const at = monotonic()
            seen.set(sender, { at, recipients: number })
            waiting.get(sender)?.(at)
          }
          if (!socket.destroyed) socket.write('250 2.0.0 Ok\r\n')
        }, pause)
        return ''
      }
      const verb = text.slice(0, 4).toUpperCase()
      if (verb === 'EHLO') return '250-slow.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n'
      if (verb === 'MAIL') {
        from = /<(.*?)>/.exec(text)?.[1] ?? ''
        recipients = 0
      } else if (verb === 'RCPT') recipients++
      else if (verb === 'DATA') {
        inBody = true
        return '354 Go on\r\n'
      }
      return '250 2.0.0 Ok\r\n'
    }
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\r\n')
      rest = lines.pop() as string
      const out = lines.map(line).join('')
      if (out !== '') socket.write(out)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    slow(ms: number) {
      pause = ms
    },
    /** When the first message of that sender was through. */
    first: (from: string, within: number) =>
      new Promise<number>((resolve, reject) => {
        const known = seen.get(from)
        if (known !== undefined) return resolve(known.at)
        const timer = setTimeout(() => reject(new Error(`nothing of ${from} within ${within} ms`)), within)
        waiting.set(from, at => {
          clearTimeout(timer)
          resolve(at)
        })
      }),
    /** Recipients that have not had theirs. */
    left: (from: string, all: number) => all - (seen.get(from)?.recipients ?? 0),
    async stop() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
