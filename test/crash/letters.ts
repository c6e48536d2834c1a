// The numbered mail that the load is made of: sender, recipients, DSN wishes, size and octets follow from seed and number.
import { crc32 } from 'node:zlib'
import { seeded } from '@posthorn/testing'

export interface Recipient {
  readonly address: string
  /** The NOTIFY parameter; absent where the client says nothing. */
  readonly notify?: string
}

export interface Letter {
  readonly n: number
  /** `''`: the null reverse-path. */
  readonly from: string
  readonly to: readonly Recipient[]
  /** Sent by BDAT instead of DATA. */
  readonly bdat: boolean
  /** The client takes a break in the middle of the body; or hangs up there, and nobody may ever see the message. */
  readonly pause: 'none' | 'break' | 'hang up'
  readonly size: number
}

/** Octets above which a body is a file, in the configuration of the suite. */
export const inlineLimit = 32 * 1024

const notifies = ['SUCCESS', 'SUCCESS,FAILURE', 'FAILURE', 'SUCCESS,FAILURE,DELAY', 'DELAY', 'NEVER']

export function letter(seed: number, n: number): Letter {
  const random = seeded(Math.imul(seed, 0x9e3779b1) ^ Math.imul(n + 1, 0x85ebca6b))
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const recipient = (): Recipient => {
    const k = Math.floor(random() * 50)
    const address = pick([
      ...[`user${k}@a.test`, `user${k}@a.test`, `user${k}@b.test`, `user${k}@b.test`],
      ...[`user${k}@c.test`, `no${k}@c.test`, `user${k}@d.test`, `box${k % 3}@home.test`, `team${k % 9}@list.test`],
    ])
    return random() < 0.6 ? { address } : { address, notify: pick(notifies) }
  }
  const many = random() < 0.01 ? 40 : 1 + Math.floor(random() ** 2 * 6)
  const to = new Map(Array.from({ length: many }, recipient).map(one => [one.address, one]))
  const kind = random()
  const chance = random()
  return {
    n,
    from: pick(['sender@home.test', 'sender@home.test', 'back@a.test', ...(random() < 0.1 ? [''] : [])]),
    to: [...to.values()],
    bdat: random() < 0.25,
    pause: chance < 0.05 ? 'break' : chance < 0.06 ? 'hang up' : 'none',
    size:
      kind < 0.7
        ? 300 + Math.floor(random() * 6000)
        : kind < 0.95
          ? 6000 + Math.floor(random() * 24_000)
          : 40_000 + Math.floor(random() * 200_000),
  }
}

const filler = 'All mail that was promised arrives, whatever dies on its way. 0123456789abc'

/** The message as sent. No line of it begins with a dot, so it is the same within DATA and BDAT. */
export function octets(seed: number, { n, from, to, size }: Letter): Buffer {
  const lines: string[] = []
  for (let length = 0, i = 0; length < size; i++) {
    const line = `${n} ${i} ${filler}\r\n`
    length += line.length
    lines.push(line)
  }
  const body = Buffer.from(lines.join(''))
  const header = [
    `From: <${from === '' ? 'nobody@home.test' : from}>`,
    `To: <${to[0]?.address}>`,
    `Subject: message ${n}`,
    `Message-ID: <${n}.${seed}@crash.test>`,
    `X-Crash: ${n}`,
    `X-Sum: ${sum(body)}`,
    '',
    '',
  ]
  return Buffer.concat([Buffer.from(header.join('\r\n')), body])
}

const sum = (octets: Uint8Array) => `${octets.length}-${crc32(octets)}`

/** What a message that arrived says of itself. */
export interface Arrived {
  /** The number; undefined where it is none of the load. */
  readonly n?: number
  /** Its body is not what was sent. */
  readonly damaged: boolean
  readonly messageId: string
}

export function arrived(message: Buffer): Arrived {
  const end = message.indexOf('\r\n\r\n')
  const header = message.toString('latin1', 0, end)
  const messageId = /^Message-ID:\s*<?([^>\r\n]+)/im.exec(header)?.[1] ?? ''
  const n = /^X-Crash: (\d+)\r?$/m.exec(header)?.[1]
  if (n === undefined) return { damaged: end === -1, messageId }
  const said = /^X-Sum: (\S+)\r?$/m.exec(header)?.[1]
  return { n: Number(n), damaged: said !== sum(message.subarray(end + 4)), messageId }
}
