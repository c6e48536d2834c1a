// The clients: connections that send letters as long as the gate is open, and note which of them were promised.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Ledger } from './ledger.ts'
import { type Letter, octets } from './letters.ts'
import { Wire } from './wire.ts'

export interface LoadOptions {
  readonly port: number
  readonly connections: number
  readonly ledger: Ledger
  readonly random: () => number
  /** Milliseconds between two letters of a connection, at most. */
  readonly pace: number
}

export class Load {
  readonly #options: LoadOptions
  readonly #running: Promise<void>[]
  readonly #wires = new Set<Wire>()
  #open = false
  #over = false
  #left = 0

  constructor(options: LoadOptions) {
    this.#options = options
    this.#running = Array.from({ length: options.connections }, () => this.#client())
  }

  /** Lets at most `letters` more go. */
  open(letters: number): void {
    this.#left = letters
    this.#open = true
  }

  /** Ends when no client is in the middle of a letter, or the server hung up on it. */
  close(): void {
    this.#open = false
  }

  get left(): number {
    return this.#left
  }

  /** Closes, and hangs up after the letters under way. */
  async stop(): Promise<void> {
    this.#open = false
    this.#over = true
    await Promise.all(this.#running)
  }

  async #client(): Promise<void> {
    while (!this.#over) {
      if (!this.#open || this.#left <= 0) {
        await sleep(5)
        continue
      }
      let wire: Wire | undefined
      try {
        wire = await Wire.connect(this.#options.port)
        this.#wires.add(wire)
        await this.#session(wire)
      } catch {
        // Killed, or told to come again: both are the point of this.
        await sleep(10)
      } finally {
        wire?.close()
        if (wire !== undefined) this.#wires.delete(wire)
      }
    }
  }

  async #session(wire: Wire): Promise<void> {
    const { ledger, random, pace } = this.#options
    wire.write('EHLO client.test\r\n')
    await wire.reply()
    while (this.#open && this.#left > 0) {
      this.#left--
      if (!(await this.#send(wire, ledger.next()))) return
      await sleep(random() * pace)
    }
    wire.write('QUIT\r\n')
    await wire.reply()
  }

  /** False: the connection is of no use any more. Rejects where it ended. */
  async #send(wire: Wire, letter: Letter): Promise<boolean> {
    const { ledger } = this.#options
    const { n, from, to, bdat, pause } = letter
    const message = octets(ledger.seed, letter)
    const rcpts = to.map(({ address, notify }) => `RCPT TO:<${address}>${notify ? ` NOTIFY=${notify}` : ''}\r\n`)
    wire.write(`MAIL FROM:<${from}> RET=HDRS ENVID=${n}\r\n${rcpts.join('')}${bdat ? '' : 'DATA\r\n'}`)
    const mail = await wire.reply()
    const accepted: string[] = []
    for (const { address } of to) if ((await wire.reply()).code === 250) accepted.push(address)
    if (!bdat && (await wire.reply()).code !== 354) return mail.code !== 421
    if (bdat && accepted.length === 0) {
      wire.write('RSET\r\n')
      return (await wire.reply()).code === 250
    }
    const half = Math.floor(message.length / 2)
    if (bdat) wire.write(`BDAT ${message.length} LAST\r\n`)
    wire.write(message.subarray(0, half))
    if (pause === 'hang up') {
      ledger.abandon(n)
      return false
    }
    if (pause === 'break') await sleep(this.#options.random() * 30)
    wire.write(message.subarray(half))
    if (!bdat) wire.write('.\r\n')
    const { code, text } = await wire.reply()
    ledger.replied(code, text)
    if (code === 250 && accepted.length > 0) ledger.promise(n, /queued as (\S+)/.exec(text)?.[1] ?? '?', accepted)
    return code !== 421
  }
}
