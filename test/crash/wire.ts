// A client's end of an SMTP connection: replies as promises, in order.
import { connect, type Socket } from 'node:net'

export interface Reply {
  readonly code: number
  readonly text: string
}

interface Waiter {
  resolve(reply: Reply): void
  reject(error: Error): void
}

export class Wire {
  readonly #socket: Socket
  readonly #replies: Reply[] = []
  readonly #waiting: Waiter[] = []
  #text = ''
  #lines: string[] = []
  #over: Error | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1')
    socket.setNoDelay(true)
    socket.on('data', chunk => this.#feed(chunk as unknown as string))
    socket.on('error', error => this.#end(error))
    socket.on('close', () => this.#end(new Error('the server hung up')))
  }

  static async connect(port: number): Promise<Wire> {
    const wire = new Wire(connect({ port, host: '127.0.0.1' }))
    const { code } = await wire.reply()
    if (code !== 220) throw new Error(`greeted with ${code}`)
    return wire
  }

  write(octets: string | Uint8Array): void {
    this.#socket.write(octets)
  }

  /** Rejects when the connection ends first. */
  reply(): Promise<Reply> {
    const known = this.#replies.shift()
    if (known !== undefined) return Promise.resolve(known)
    if (this.#over !== undefined) return Promise.reject(this.#over)
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  close(): void {
    this.#socket.destroy()
  }

  #feed(chunk: string): void {
    this.#text += chunk
    for (let at = this.#text.indexOf('\r\n'); at !== -1; at = this.#text.indexOf('\r\n')) {
      const line = this.#text.slice(0, at)
      this.#text = this.#text.slice(at + 2)
      this.#lines.push(line.slice(4))
      if (line[3] === '-') continue
      const reply = { code: Number(line.slice(0, 3)), text: this.#lines.join('\n') }
      this.#lines = []
      const waiter = this.#waiting.shift()
      if (waiter === undefined) this.#replies.push(reply)
      else waiter.resolve(reply)
    }
  }

  #end(error: Error): void {
    this.#over ??= error
    for (const waiter of this.#waiting.splice(0)) waiter.reject(this.#over)
  }
}
