// Our own load generator, in a process of its own: sessions that send messages of a given size and content, pipelined.
// For bodies that smtp-source cannot make, and where smtp-source is not installed.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export interface SourceOptions {
  readonly port: number
  readonly sessions: number
  readonly messages: number
  /** Octets of each message. */
  readonly size: number
  /** Send all messages of a session over one connection. */
  readonly keep: boolean
  /** `dots`: every line is `..`, the worst case of dot-stuffing. */
  readonly content?: 'text' | 'dots'
  /** A file with the message itself, line ends of the wire, no line that begins with a dot; `size` then says nothing. */
  readonly file?: string
  /** Recipients in so many domains below y.test, in turn; else all in y.test. */
  readonly domains?: number
}

export interface Sent {
  readonly accepted: number
  readonly refused: number
  /** The first refusal. */
  readonly refusal?: string
  /** From the first connect to the last reply. */
  readonly seconds: number
}

const marker = 'posthorn-bench-source'

export async function source(options: SourceOptions): Promise<Sent> {
  const args = [fileURLToPath(import.meta.url), marker, JSON.stringify(options)]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  return JSON.parse(stdout) as Sent
}

/** The octets of one message, dot-stuffed, without the final dot; the same buffer for all. */
function body({ size, content, file }: SourceOptions): readonly Buffer[] {
  if (file !== undefined) return [readFileSync(file)]
  const header = Buffer.from('From: a@x.test\r\nTo: b@y.test\r\nSubject: bench\r\nMessage-ID: <bench@x.test>\r\n\r\n')
  const line = content === 'dots' ? '..\r\n' : `${'x'.repeat(76)}\r\n`
  const left = Math.max(line.length, size - header.length)
  const block = Buffer.from(line.repeat(Math.ceil(Math.min(left, 1 << 18) / line.length)))
  const whole = Math.floor(left / block.length)
  const tail = Buffer.from(line.repeat(Math.ceil((left - whole * block.length) / line.length)))
  return [header, ...Array.from({ length: whole }, () => block), tail]
}

async function session(
  options: SourceOptions,
  next: () => number | undefined,
  answered: (reply: string) => void,
): Promise<void> {
  const parts = body(options)
  const { domains } = options
  for (let n = next(); n !== undefined; n = next()) {
    const socket = connect({ port: options.port, host: '127.0.0.1', noDelay: true })
    let text = ''
    let wake = () => {}
    const feed = (chunk: string) => {
      text += chunk
      wake()
    }
    socket.setEncoding('latin1').on('data', feed)
    const closed = new Promise<never>((_, reject) => {
      socket.once('error', reject)
      socket.once('close', () => reject(new Error('the server hung up')))
    })
    closed.catch(() => {})
    /** Reads one reply, its last line. */
    const reply = async (): Promise<string> => {
      for (;;) {
        const match = /^(?:\d{3}-.*\r\n)*(\d{3} .*)\r\n/.exec(text)
        if (match !== null) {
          text = text.slice(match[0].length)
          return match[1] as string
        }
        const more = new Promise<void>(resolve => {
          wake = resolve
        })
        await Promise.race([more, closed])
      }
    }
    await reply()
    socket.write('EHLO source.test\r\n')
    await reply()
    do {
      const domain: string = domains === undefined ? 'y.test' : `d${n % domains}.y.test`
      socket.write(`MAIL FROM:<a@x.test>\r\nRCPT TO:<b@${domain}>\r\nDATA\r\n`)
      const before = [await reply(), await reply(), await reply()]
      const bad = before.find(line => !/^[23]/.test(line))
      if (bad !== undefined) {
        answered(bad)
        break
      }
      for (const part of parts) {
        if (socket.write(part)) continue
        await Promise.race([new Promise<void>(resolve => socket.once('drain', resolve)), closed])
      }
      socket.write('.\r\n')
      answered(await reply())
      n = options.keep ? next() : undefined
    } while (n !== undefined)
    closed.catch(() => {})
    socket.end('QUIT\r\n')
    socket.removeAllListeners('data').resume()
  }
}

async function main(options: SourceOptions) {
  let left = options.messages
  let accepted = 0
  let refused = 0
  let refusal: string | undefined
  const began = performance.now()
  await Promise.all(
    Array.from({ length: options.sessions }, () =>
      session(
        options,
        () => (left > 0 ? --left : undefined),
        reply => {
          if (reply.startsWith('2')) accepted++
          else {
            refused++
            refusal ??= reply
          }
        },
      ),
    ),
  )
  const seconds = (performance.now() - began) / 1000
  process.stdout.write(JSON.stringify({ accepted, refused, refusal, seconds } satisfies Record<keyof Sent, unknown>))
}

if (process.argv[2] === marker) await main(JSON.parse(process.argv[3] as string) as SourceOptions)
