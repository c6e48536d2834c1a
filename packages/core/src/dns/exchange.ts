// One question to one server: UDP from a port of its own, TCP where the answer is too large for it. Ends exactly once, with
// an answer or the reason why there is none. Callbacks, not promises: nothing here races, and all of it can be taken back.
import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { connect, isIPv6 } from 'node:net'
import type { Clock } from '../clock.ts'
import type { DnsError } from './contract.ts'
import { encodeQuestion, type Question, type Reading, readAnswer, type WireAnswer } from './message.ts'

export interface Server {
  readonly host: string
  readonly port: number
}

export type Ending =
  | { readonly answer: WireAnswer }
  /** `text` completes "127.0.0.1 …". `silent`: it did not speak, so it may be dead. */
  | { readonly failure: DnsError['kind']; readonly text: string; readonly silent: boolean }

interface Way {
  readonly clock: Clock
  /** Milliseconds for all of it. */
  readonly timeout: number
}

const failed = (failure: DnsError['kind'], text: string, silent = false): Ending => ({ failure, text, silent })

/** Asks; `ended` is called once, later, unless the returned function is called first. */
export function exchange(server: Server, question: Question, way: Way, ended: (ending: Ending) => void): () => void {
  let close = () => {}
  let edns = true
  const stopTimer = way.clock.after(way.timeout, () => end(failed('timeout', 'did not answer', true)))

  const end = (ending: Ending | undefined) => {
    stopTimer()
    const wasOpen = close
    close = () => {}
    wasOpen()
    const tell = ended
    ended = () => {}
    if (ending !== undefined) tell(ending)
  }
  const go = (transport: typeof overUdp) => {
    close()
    // A fresh id and a fresh port for each: 32 bits to guess for whoever would answer in the server's place (RFC 5452 §4).
    const id = randomInt(0x10000)
    close = transport(server, encodeQuestion(question, id, edns), octets => readAnswer(octets, question, id), take, end)
  }
  const take = (reading: Reading) => {
    if (reading.kind === 'answer') return end({ answer: reading.answer })
    if (reading.kind === 'truncated') return go(overTcp)
    if (reading.kind === 'foreign') return end(failed('malformed', 'answered something else'))
    if (reading.why !== 'no-edns') return end(failed(reading.why, reading.text))
    if (!edns) return end(failed('servfail', reading.text))
    edns = false
    go(overUdp)
  }
  go(overUdp)
  return () => end(undefined)
}

type Read = (octets: Buffer) => Reading
type Take = (reading: Reading) => void
type End = (ending: Ending) => void

const unreachable = (error: Error) =>
  failed('timeout', `cannot be reached (${(error as NodeJS.ErrnoException).code ?? error.message})`, true)

function overUdp({ host, port }: Server, query: Buffer, read: Read, take: Take, end: End): () => void {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4')
  let open = true
  socket.on('error', error => open && end(unreachable(error)))
  // Connected: the kernel drops what comes from elsewhere, and tells at once where nobody listens.
  socket.connect(port, host, () => {
    if (open) socket.send(query)
  })
  socket.on('message', message => {
    if (!open) return
    const reading = read(message)
    // Somebody guesses, or an answer of an earlier user of this port: the right one may still come.
    if (reading.kind !== 'foreign') take(reading)
  })
  return () => {
    open = false
    socket.close()
  }
}

function overTcp({ host, port }: Server, query: Buffer, read: Read, take: Take, end: End): () => void {
  const socket = connect({ host, port, noDelay: true })
  const length = Buffer.alloc(2)
  length.writeUInt16BE(query.length)
  socket.write(Buffer.concat([length, query]))
  let chunks: Buffer[] = []
  let got = 0
  socket.on('data', chunk => {
    chunks.push(chunk)
    got += chunk.length
    if (got < 2) return
    if (chunks.length > 1) chunks = [Buffer.concat(chunks)]
    const all = chunks[0] as Buffer
    const wanted = 2 + all.readUInt16BE(0)
    if (got < wanted) return
    socket.destroy()
    const reading = read(all.subarray(2, wanted))
    take(reading.kind === 'truncated' ? { kind: 'failed', why: 'malformed', text: 'truncated by TCP too' } : reading)
  })
  let open = true
  socket.on('error', error => open && end(unreachable(error)))
  socket.on('close', () => open && end(failed('timeout', 'closed the connection without an answer', true)))
  return () => {
    open = false
    socket.destroy()
  }
}
