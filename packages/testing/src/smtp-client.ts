// A scripted SMTP client that speaks transcripts. A wrong answer fails with the whole dialogue in the message, so that
// a test needs no other words.
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'

export interface SmtpScriptOptions {
  readonly host?: string
  readonly port?: number
  /** A unix socket, instead of host and port. */
  readonly path?: string
  readonly localAddress?: string
  /** TLS from the first octet. */
  readonly tls?: ConnectionOptions
  /** Milliseconds without the awaited answer until the test fails. Default 5,000. */
  readonly patience?: number
}

/**
 * One connection of a client. `await using client = await SmtpScript.connect({ port })`, then transcripts:
 *
 * ```
 * await client.speak(`
 *   S: 220 *
 *   C: EHLO client.example.test
 *   S: 250 ...
 *   C: MAIL FROM:<a@example.test>
 *   C: RCPT TO:<b@example.test>
 *   S: 250 2.1.0 *
 *   S: 550 5.1.1 *
 * `)
 * ```
 *
 * `C:` lines that follow each other go out in one write. An `S:` line is one line of the server; `*` stands for any
 * text, and `S: 250 ...` for a whole reply of that code, however many lines. `S: (closed)` is the end of the
 * connection, `C: (close)` ours. In `C:` lines `\0`, `\r`, `\n`, `\t`, `\\` and `\xNN` are octets.
 */
export class SmtpScript {
  #socket: Socket
  #input = ''
  #closed = false
  #wake: (() => void) | undefined
  readonly #patience: number
  /** What was said so far. */
  readonly dialogue: string[] = []

  private constructor(socket: Socket, patience: number) {
    this.#socket = socket
    this.#patience = patience
    this.#attach(socket)
  }

  static connect(options: SmtpScriptOptions | number): Promise<SmtpScript> {
    const given = typeof options === 'number' ? { port: options } : options
    const { host = '127.0.0.1', port = 25, path, localAddress, tls, patience = 5000 } = given
    const target =
      path === undefined ? { host, port, ...(localAddress === undefined ? {} : { localAddress }) } : { path }
    return new Promise((resolve, reject) => {
      const socket = tls === undefined ? connect(target) : connectTls({ ...target, ...tls })
      const script = new SmtpScript(socket, patience)
      socket.once('error', reject)
      socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
        socket.setNoDelay(true)
        resolve(script)
      })
    })
  }

  get socket(): Socket {
    return this.#socket
  }

  /** The server hung up. */
  get closed(): boolean {
    return this.#closed
  }

  /** Runs a transcript; see the class. */
  async speak(transcript: string): Promise<void> {
    let out = ''
    const flush = () => {
      if (out !== '') this.send(Buffer.from(out, 'latin1'))
      out = ''
    }
    for (const line of transcript.split('\n')) {
      const step = /^\s*([CS]):(?: (.*))?$/.exec(line)
      if (step === null) {
        assert.equal(line.trim(), '', 'a transcript has only C: and S: lines')
        continue
      }
      const text = step[2] ?? ''
      if (step[1] === 'S') {
        flush()
        await this.expect(text)
      } else if (text === '(close)') {
        flush()
        this.close()
      } else {
        this.dialogue.push(`C: ${text}`)
        out += `${octets(text)}\r\n`
      }
    }
    flush()
  }

  /** Octets as they are. */
  send(bytes: string | Uint8Array): void {
    this.#socket.write(bytes)
  }

  /** Resolves when `bytes` have been handed to the system, so that a slow reader can be seen. */
  sent(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => this.#socket.write(bytes, error => (error ? reject(error) : resolve())))
  }

  /** One `S:` line of a transcript. */
  async expect(pattern: string): Promise<void> {
    if (pattern === '(closed)') {
      const more = await this.#line()
      if (more !== undefined) this.dialogue.push(`S: ${more}`)
      this.#check(more === undefined, pattern, more)
      this.dialogue.push('S: (closed)')
      return
    }
    const whole = /^(\d{3}) \.\.\.$/.exec(pattern)?.[1]
    if (whole === undefined) {
      const line = await this.#heard()
      const form = pattern.split('*').map(escapeRegExp).join('.*')
      return this.#check(new RegExp(`^${form}$`, 's').test(line ?? ''), pattern, line)
    }
    for (;;) {
      const line = await this.#heard()
      this.#check(line?.startsWith(whole) === true, pattern, line)
      if (line?.[3] !== '-') return
    }
  }

  /** The next whole reply: its lines, codes included. */
  async reply(): Promise<string[]> {
    const lines: string[] = []
    for (;;) {
      const line = await this.#heard()
      this.#check(line !== undefined, 'a reply', line)
      lines.push(line ?? '')
      if (line?.[3] !== '-') return lines
    }
  }

  /** After STARTTLS was answered: the handshake. Certificates are not verified unless asked for. */
  startTls(options: ConnectionOptions = {}): Promise<void> {
    const plain = this.#socket
    plain.removeAllListeners('data')
    return new Promise((resolve, reject) => {
      const secure = connectTls({ socket: plain, rejectUnauthorized: false, ...options })
      secure.once('error', reject)
      secure.once('secureConnect', () => {
        this.#socket = secure
        this.#attach(secure)
        resolve()
      })
    })
  }

  /** Hangs up without a word. */
  close(): void {
    this.#socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    const closed = new Promise(resolve => this.#socket.once('close', resolve))
    this.close()
    await closed
  }

  #attach(socket: Socket): void {
    socket.on('error', () => {})
    socket.on('data', chunk => {
      this.#input += chunk.toString('latin1')
      this.#wake?.()
    })
    socket.on('close', () => {
      this.#closed = true
      this.#wake?.()
    })
  }

  async #heard(): Promise<string | undefined> {
    const line = await this.#line()
    if (line !== undefined) this.dialogue.push(`S: ${line}`)
    return line
  }

  /** The next line without its end, or undefined where the connection ended first. */
  async #line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#input.indexOf('\n')
      if (end >= 0) {
        const line = this.#input.slice(0, end).replace(/\r$/, '')
        this.#input = this.#input.slice(end + 1)
        return Buffer.from(line, 'latin1').toString()
      }
      if (this.#closed) return undefined
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(this.#fault('an answer', 'silence')), this.#patience)
        this.#wake = () => {
          clearTimeout(timer)
          this.#wake = undefined
          resolve()
        }
      })
    }
  }

  #check(good: boolean, expected: string, actual: string | undefined): void {
    if (!good) throw this.#fault(expected, actual ?? '(closed)')
  }

  #fault(expected: string, actual: string): Error {
    const said = this.dialogue.map(line => `  ${line}`).join('\n')
    return new assert.AssertionError({ message: `the server did not answer as expected:\n${said}`, expected, actual })
  }
}

const escapes: Readonly<Record<string, string>> = { '0': '\0', r: '\r', n: '\n', t: '\t', '\\': '\\' }

/** Transcript text as the octets of its UTF-8, escapes resolved, in a latin1 string. */
function octets(text: string): string {
  return Buffer.from(text)
    .toString('latin1')
    .replace(/\\(?:x([0-9a-fA-F]{2})|([0rnt\\]))/g, (_, hex?: string, name?: string) =>
      hex === undefined ? (escapes[name ?? ''] ?? '') : String.fromCharCode(Number.parseInt(hex, 16)),
    )
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}
