// A client that sends one message after another while a load runs, and measures what a user would feel: the time from
// the dot to its 250.

import { connect, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

export interface Sampler {
  /** Stops after the message under way; milliseconds of each 250. */
  stop(): Promise<readonly number[]>
}

async function* replies(socket: Socket): AsyncGenerator<string, string> {
  let text = ''
  for await (const chunk of socket.setEncoding('latin1')) {
    text += chunk
    for (;;) {
      const match = /^(?:\d{3}-.*\r\n)*(\d{3} .*)\r\n/.exec(text)
      if (match === null) break
      text = text.slice(match[0].length)
      yield match[1] as string
    }
  }
  throw new Error('the server hung up on the sampling client')
}

/** Begins to sample, with messages of `size` octets, one every `pause` ms or so. */
export function sample(port: number, size: number, pause = 5): Sampler {
  let stopped = false
  const head = 'From: sampler@x.test\r\nSubject: sample\r\n\r\n'
  const line = `${'y'.repeat(76)}\r\n`
  const message = head + line.repeat(Math.max(1, Math.ceil((size - head.length) / line.length)))
  const run = async () => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const reply = replies(socket)
    const expect = async (code: string) => {
      const line = (await reply.next()).value
      if (!line.startsWith(code)) throw new Error(`the sampling client got ${line}`)
    }
    const times: number[] = []
    await expect('220')
    socket.write('EHLO sampler.test\r\n')
    await expect('250')
    while (!stopped) {
      socket.write('MAIL FROM:<sampler@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n')
      await expect('250')
      await expect('250')
      await expect('354')
      const began = performance.now()
      socket.write(`${message}.\r\n`)
      await expect('250')
      times.push(performance.now() - began)
      await wait(pause)
    }
    socket.end('QUIT\r\n')
    socket.destroySoon()
    return times
  }
  const running = run()
  running.catch(() => {})
  return {
    stop() {
      stopped = true
      return running
    },
  }
}
