// One connection of the scripted peer: the server's side of RFC 5321, LMTP, CHUNKING, STARTTLS, AUTH and XCLIENT, in
// the plainest form that a test can trust. What it does at each step is the script's to say.
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { PeerAct, PeerMessage, PeerSteps, SmtpPeer } from './smtp-peer.ts'
import { PeerBody } from './smtp-peer-body.ts'

type Mode = 'command' | 'data' | 'bdat' | 'stalled'

export class PeerSession {
  readonly #peer: SmtpPeer
  readonly #number: number
  readonly #dialogue: string[]
  #socket: Socket
  #input: Buffer = Buffer.alloc(0)
  #mode: Mode = 'command'
  #busy = false
  #tls: boolean
  #in = 0
  #out = 0
  #user: string | undefined
  #xclient: Record<string, string> | undefined
  #from: string | undefined
  #mailLine = ''
  #recipients: { address: string; line: string }[] = []
  #body: PeerBody | undefined
  /** Octets of the present BDAT chunk that are still to come, whether it is the last, and whether it is refused. */
  #chunk = { left: 0, last: false, size: 0, refused: false }

  constructor(peer: SmtpPeer, socket: Socket, number: number, tls: boolean) {
    this.#peer = peer
    this.#number = number
    this.#tls = tls
    this.#dialogue = []
    if (peer.options.keep !== 'count') peer.dialogues.push(this.#dialogue)
    this.#socket = socket
    this.#attach(socket)
  }

  greet(): void {
    this.#busy = true
    void this.#answer('connect', '', '220 peer.example.test ESMTP').then(() => this.#resume())
  }

  hangUp(how: 'cut' | 'reset'): void {
    const tcp = this.#peer.path === '' && !(this.#socket instanceof TLSSocket)
    if (how === 'reset' && tcp) this.#socket.resetAndDestroy()
    else this.#socket.destroy()
  }

  say(reply: string): void {
    void this.#say(reply)
  }

  #attach(socket: Socket): void {
    socket.on('error', () => {})
    socket.on('data', chunk => {
      const { cutAfterInput, readAtMost } = this.#peer.options
      this.#in += chunk.length
      if (cutAfterInput !== undefined && this.#in >= cutAfterInput) return this.hangUp('cut')
      if (readAtMost !== undefined && this.#in >= readAtMost) socket.pause()
      this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk])
      if (!this.#busy) this.#resume()
    })
  }

  #resume(): void {
    this.#busy = true
    void this.#work().then(() => {
      this.#busy = false
      this.#peer.changed()
    })
  }

  async #work(): Promise<void> {
    while (this.#input.length > 0 && !this.#socket.destroyed) {
      if (this.#mode === 'stalled') return
      if (this.#mode === 'data') {
        const rest = this.#body?.data(this.#input)
        this.#input = rest ?? Buffer.alloc(0)
        if (rest === undefined) return
        await this.#dot('data')
      } else if (this.#mode === 'bdat') await this.#chunked()
      else {
        const end = this.#input.indexOf(10)
        if (end < 0) return
        const line = this.#input.toString('utf8', 0, end).replace(/\r$/, '')
        this.#input = this.#input.subarray(end + 1)
        await this.#command(line)
      }
    }
  }

  async #command(line: string): Promise<void> {
    this.#said('C', line)
    const verb = (line.split(' ', 1)[0] ?? '').toUpperCase()
    switch (verb) {
      case 'EHLO':
      case 'LHLO':
      case 'HELO':
        if ((verb === 'LHLO') !== (this.#peer.options.lmtp ?? false)) return this.#say('500 5.5.1 not here')
        this.#reset()
        await this.#answer('hello', line, verb === 'HELO' ? '250 peer.example.test' : this.#capabilities())
        return
      case 'STARTTLS':
        return this.#startTls(line)
      case 'AUTH':
        return this.#auth(line)
      case 'XCLIENT': {
        const good = await this.#answer('xclient', line, '220 peer.example.test ESMTP')
        if (good) this.#xclient = Object.fromEntries([...line.matchAll(/(\w+)=(\S+)/g)].map(m => [m[1], m[2]]))
        return
      }
      case 'XFORWARD':
        return this.#say('250 2.0.0 ok')
      case 'MAIL': {
        const good = await this.#answer('mail', line, this.#from === undefined ? '250 2.1.0 ok' : '503 5.5.1 nested')
        if (!good) return
        this.#from = between(line)
        this.#mailLine = line
        return
      }
      case 'RCPT':
        if (this.#from === undefined) return this.#say('503 5.5.1 MAIL first')
        if (await this.#answer('rcpt', line, '250 2.1.5 ok')) this.#recipients.push({ address: between(line), line })
        return
      case 'DATA': {
        const usual = this.#recipients.length === 0 ? '503 5.5.1 no valid recipients' : '354 go ahead'
        if (await this.#answer('data', line, usual)) this.#startData()
        return
      }
      case 'BDAT':
        return this.#bdat(line)
      case 'RSET':
        this.#reset()
        await this.#answer('rset', line, '250 2.0.0 ok')
        return
      case 'NOOP':
        return this.#say('250 2.0.0 ok')
      case 'QUIT':
        await this.#answer('quit', line, '221 2.0.0 bye')
        this.#socket.end()
        return
      default:
        return this.#say('500 5.5.2 what?')
    }
  }

  #capabilities(): string {
    const offered = this.#peer.offer.filter(keyword => keyword !== 'STARTTLS' || !this.#tls)
    const lines = ['peer.example.test', ...offered]
    return lines.map((line, i) => `250${i === lines.length - 1 ? ' ' : '-'}${line}`).join('\n')
  }

  async #startTls(line: string): Promise<void> {
    if (!(await this.#answer('starttls', line, '220 2.0.0 go'))) return
    const plain = this.#socket
    plain.removeAllListeners('data')
    this.#input = Buffer.alloc(0)
    const secure = new TLSSocket(plain, {
      isServer: true,
      ...this.#peer.tls,
      rejectUnauthorized: this.#peer.options.clientCertificate ?? false,
    })
    this.#tls = true
    this.#user = undefined
    this.#reset()
    this.#socket = secure
    this.#attach(secure)
  }

  async #auth(line: string): Promise<void> {
    const [, mechanism = '', initial = ''] = line.split(' ')
    const act = this.#peer.act('auth', { session: this.#number, line })
    if (act !== undefined) {
      await this.#perform(act)
      return
    }
    const decode = (text: string) => Buffer.from(text, 'base64').toString()
    let user = ''
    let password = ''
    if (mechanism === 'PLAIN') [, user = '', password = ''] = decode(initial).split('\0')
    else if (mechanism === 'XOAUTH2') {
      const [name = '', token = ''] = decode(initial).split('\u0001')
      user = name.replace(/^user=/, '')
      password = token.replace(/^auth=Bearer /, '')
    } else if (mechanism === 'LOGIN') {
      user = decode(initial === '' ? await this.#ask('VXNlcm5hbWU6') : initial)
      password = decode(await this.#ask('UGFzc3dvcmQ6'))
    }
    const good = user !== '' && this.#peer.options.users?.[user] === password
    if (!good && mechanism === 'XOAUTH2') await this.#ask(Buffer.from('{"status":"401"}').toString('base64'))
    if (good) this.#user = user
    await this.#say(good ? '235 2.7.0 welcome' : '535 5.7.8 no')
  }

  async #ask(challenge: string): Promise<string> {
    await this.#say(`334 ${challenge}`)
    while (this.#input.indexOf(10) < 0 && !this.#socket.destroyed) {
      await new Promise(resolve => this.#socket.once('data', resolve).once('close', resolve))
    }
    const end = this.#input.indexOf(10)
    const line = this.#input.toString('utf8', 0, Math.max(0, end)).trim()
    this.#input = this.#input.subarray(end + 1)
    this.#said('C', line)
    return line
  }

  #startData(): void {
    this.#body = new PeerBody(this.#peer.options)
    this.#mode = 'data'
  }

  async #bdat(line: string): Promise<void> {
    const [, size = '', last] = /^BDAT (\d+)( LAST)?$/i.exec(line) ?? []
    if (size === '') return this.#say('501 5.5.4 bad BDAT')
    this.#chunk = {
      left: Number(size),
      size: Number(size),
      last: last !== undefined,
      refused: this.#recipients.length === 0,
    }
    this.#body ??= new PeerBody(this.#peer.options)
    this.#mode = 'bdat'
    if (this.#chunk.left === 0) await this.#endOfChunk(line)
  }

  async #chunked(): Promise<void> {
    const part = this.#input.subarray(0, this.#chunk.left)
    this.#input = this.#input.subarray(part.length)
    this.#chunk.left -= part.length
    this.#body?.add(part)
    if (this.#chunk.left === 0) await this.#endOfChunk('')
  }

  async #endOfChunk(line: string): Promise<void> {
    const { size, last, refused } = this.#chunk
    this.#mode = 'command'
    if (refused) {
      this.#body = undefined
      return this.#say('503 5.5.1 no valid recipients')
    }
    if (!last) {
      if (!(await this.#answer('bdat', line, `250 2.0.0 ${size} octets`))) this.#reset()
      return
    }
    await this.#dot('bdat')
  }

  /** The end of a body: one reply, or in LMTP one for each recipient. */
  async #dot(via: 'data' | 'bdat'): Promise<void> {
    this.#mode = 'command'
    const body = this.#body
    const all = this.#recipients
    this.#said('C', `(${body?.size ?? 0} octets)`)
    const reply = `250 2.0.0 queued as ${this.#peer.count + 1}`
    const due = this.#peer.options.lmtp ? all.map(({ address }) => address) : [undefined]
    const acts = due.map(recipient => this.#choose('dot', '', recipient) ?? reply)
    const good = due.filter((_, i) => isTaken(acts[i] as PeerAct))
    const taken = this.#peer.options.lmtp
      ? (good as string[])
      : good.length > 0
        ? all.map(({ address }) => address)
        : []
    // Remembered before it is answered, so that a client that has its reply finds the message here.
    if (taken.length > 0 && body !== undefined) this.#peer.took(this.#message(via, taken, body))
    this.#reset()
    for (const act of acts) await this.#perform(act, reply)
  }

  #message(via: 'data' | 'bdat', to: string[], body: PeerBody): PeerMessage {
    return {
      session: this.#number,
      from: this.#from ?? '',
      to,
      mailLine: this.#mailLine,
      rcptLines: this.#recipients.map(({ line }) => line),
      via,
      size: body.size,
      ...body.kept(),
      tls: this.#tls,
      ...(this.#user === undefined ? {} : { user: this.#user }),
      ...(this.#xclient === undefined ? {} : { xclient: this.#xclient }),
    }
  }

  #reset(): void {
    this.#from = undefined
    this.#recipients = []
    this.#body = undefined
  }

  /** Does what the script says, else sends `reply`; whether the answer was a good one (2xx or 3xx). */
  async #answer(step: PeerSteps, line: string, reply: string): Promise<boolean> {
    return this.#perform(this.#choose(step, line) ?? reply, reply)
  }

  #choose(step: PeerSteps, line: string, recipient?: string): PeerAct | undefined {
    return this.#peer.act(step, { session: this.#number, line, ...(recipient === undefined ? {} : { recipient }) })
  }

  async #perform(act: PeerAct, reply?: string): Promise<boolean> {
    if (act === 'stall') this.#mode = 'stalled'
    else if (act === 'cut' || act === 'reset') this.hangUp(act)
    else if (typeof act === 'string') {
      await this.#say(act)
      return /^[23]/.test(act)
    } else {
      if (act.after !== undefined) await act.after
      const said = act.raw === undefined ? (act.reply ?? (act.end === undefined ? reply : undefined)) : undefined
      if (act.raw !== undefined) await this.#write(Buffer.from(act.raw as string))
      if (said !== undefined) await this.#say(said)
      if (act.end === 'stall') this.#mode = 'stalled'
      else if (act.end !== undefined) {
        await new Promise(resolve => this.#socket.write('', resolve))
        this.hangUp(act.end)
      }
      return said !== undefined && /^[23]/.test(said) && act.end === undefined
    }
    return false
  }

  #say(reply: string): Promise<void> {
    for (const line of reply.split('\n')) this.#said('S', line)
    return this.#write(Buffer.from(`${reply.replaceAll('\n', '\r\n')}\r\n`))
  }

  async #write(bytes: Buffer): Promise<void> {
    const { bytewise, cutAfterOutput } = this.#peer.options
    const left = (cutAfterOutput ?? Number.POSITIVE_INFINITY) - this.#out
    const part = bytes.length >= left ? bytes.subarray(0, left) : bytes
    this.#out += part.length
    if (bytewise) {
      for (const octet of part) {
        this.#socket.write(Buffer.of(octet))
        await new Promise(resolve => setImmediate(resolve))
      }
    } else this.#socket.write(part)
    if (bytes.length < left) return
    await new Promise(resolve => this.#socket.write('', resolve))
    this.hangUp('cut')
  }

  #said(who: 'C' | 'S', line: string): void {
    if (this.#peer.options.keep !== 'count') this.#dialogue.push(`${who}: ${line}`)
  }
}

function isTaken(act: PeerAct): boolean {
  if (typeof act === 'string') return /^2/.test(act)
  return act.taken ?? (act.reply === undefined ? act.end === undefined && act.raw === undefined : /^2/.test(act.reply))
}

/** The address between the brackets. */
function between(line: string): string {
  return /<(.*?)>(?= |$)/.exec(line)?.[1] ?? ''
}
