// The crash suite's own instruments: a ledger that counts nothing as lost, or a disk that forgets nothing, would make its
// figures worthless.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seeded } from '@posthorn/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { targetsOf } from '../crash/aliases.ts'
import { Disk } from '../crash/disk.ts'
import { Ledger } from '../crash/ledger.ts'
import { arrived, letter, octets } from '../crash/letters.ts'
import { logRecords } from '../crash/level-log.ts'
import { Sink, type Temper, type Took } from '../crash/sink.ts'
import { readTrace } from '../crash/strace.ts'
import { toldIn } from '../crash/told.ts'
import { Wire } from '../crash/wire.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'posthorn-crash-test-'))
})
afterAll(() => rm(folder, { recursive: true }))

describe('a letter', () => {
  test('is the same each time, and knows when it was damaged', () => {
    const one = letter(7, 3)
    expect(letter(7, 3)).toEqual(one)
    const message = octets(7, one)
    expect(arrived(message)).toEqual({ n: 3, damaged: false, messageId: '3.7@crash.test' })
    message.writeUInt8(message.readUInt8(message.length - 5) ^ 1, message.length - 5)
    expect(arrived(message).damaged).toBe(true)
    expect(arrived(message.subarray(0, -20)).damaged).toBe(true)
  })

  test('has no line that begins with a dot', () => {
    for (let n = 0; n < 50; n++) expect(octets(7, letter(7, n)).includes('\n.')).toBe(false)
  })
})

describe('the ledger', () => {
  const seed = 11
  const queued = new Map()
  /** The first letter of which all recipients are plain, and its recipients. */
  const plain = () => {
    for (let n = 0; ; n++) {
      const one = letter(seed, n)
      const simple = one.to.every(({ address, notify }) => /@[bd]\.test$/.test(address) && notify === undefined)
      if (simple && one.to.length > 1 && one.from !== '') return { n, to: one.to.map(({ address }) => address) }
    }
  }
  const { n, to } = plain()
  const items = to.map(address => ({ address, notify: '' }))
  const what = { n, damaged: false, messageId: 'x' }
  let ledger: Ledger
  beforeEach(() => {
    ledger = new Ledger(seed)
    ledger.promise(n, 'id', to)
  })

  test('misses what never came', () => {
    ledger.took(what, items.slice(1), 5)
    expect(ledger.verdict({ queued }).lost).toEqual([`message ${n} (id) for ${to[0]}`])
    expect(ledger.verdict({ queued: new Map([[n, new Map([[to[0] as string, 'queued']])]]) }).lost).toEqual([])
  })

  test('misses what came after the moment in question', () => {
    ledger.took(what, items, 5)
    expect(ledger.verdict({ queued, until: 5 }).lost).toEqual([])
    expect(ledger.verdict({ queued, until: 4 }).lost).toHaveLength(to.length)
    expect(ledger.verdict({ queued, until: 4, promised: () => false }).lost).toEqual([])
  })

  test('takes a report for an end, and a refusal for none where a report was wanted', () => {
    ledger.took(what, items.slice(1), 5)
    ledger.refused(n, to[0] as string, 5)
    expect(ledger.verdict({ queued }).lost).toEqual([`message ${n} (id) for ${to[0]}, refused by its sink`])
    const told = [{ report: 'r', envelope: String(n), recipient: to[0] as string, action: 'failed' }]
    expect(ledger.verdict({ queued, told })).toMatchObject({ lost: [], bounced: 1, delivered: to.length - 1 })
  })

  test('wants the report on success where the next hop gives none', () => {
    for (let k = 0; ; k++) {
      const one = letter(seed, k)
      const asked = one.to.find(({ address, notify }) => address.endsWith('@a.test') && notify === 'SUCCESS')
      if (asked === undefined || one.from === '') continue
      ledger.promise(k, 'other', [asked.address])
      ledger.took({ ...what, n: k }, [{ address: asked.address, notify: '' }], 5)
      ledger.took(what, items, 5)
      expect(ledger.verdict({ queued }).lost).toEqual([
        `the report 'relayed' of message ${k} (other) for ${asked.address}`,
      ])
      return
    }
  })

  test('counts duplicates, and which of them a cut excuses', () => {
    const names = ledger.took(what, items, 100)
    ledger.unread(names.slice(1), 100, 110)
    ledger.killed(150)
    ledger.took(what, items, 200)
    const { duplicates, outstanding, unrecorded } = ledger.verdict({ queued })
    expect({ duplicates, outstanding, unrecorded }).toEqual({
      duplicates: to.length,
      outstanding: to.length - 1,
      unrecorded: { count: 1, fullDisk: 0, longest: 50 },
    })
  })

  test('excuses nothing that was answered long before', () => {
    ledger.unread(ledger.took(what, items, 100), 100, 5000)
    expect(ledger.verdict({ queued }).outstanding).toBe(0)
  })

  test('finds half and damaged messages, and refusals for no reason', () => {
    ledger.abandon(n)
    ledger.took({ ...what, damaged: true }, items, 5)
    ledger.replied(452, '4.3.1 later')
    ledger.troubled = true
    ledger.replied(452, '4.3.1 later')
    expect(ledger.verdict({ queued }).wrong).toHaveLength(3)
  })
})

test('an alias stands for two in different lanes', () => {
  expect(targetsOf('team0@list.test')).toEqual(['member0@a.test', 'member0@b.test'])
  expect(targetsOf('user@a.test')).toEqual(['user@a.test'])
})

test('a report is read: of which message, of whom, what', () => {
  const text =
    'Message-ID: <r@x>\r\n\r\n--b\r\n\r\nReporting-MTA: dns; x\r\nOriginal-Envelope-Id: 5\r\n\r\n' +
    'Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\n\r\nFinal-Recipient: rfc822; c@b.test\r\nAction: relayed\r\n'
  expect(toldIn(text)).toEqual([
    { report: 'r@x', envelope: '5', recipient: 'a@b.test', action: 'failed' },
    { report: 'r@x', envelope: '5', recipient: 'c@b.test', action: 'relayed' },
  ])
})

describe('a sink', () => {
  const temper: Temper = { dsn: true, chunking: true, delay: () => 0, rcpt: () => 'take', dot: () => 'take' }

  test('knows what was read of it: who goes on has read the reply, who hangs up has not', async () => {
    const took: Took[] = []
    const unread: string[][] = []
    const sink = new Sink(temper, {
      took: what => [`delivery ${took.push(what)}`],
      refused: () => {},
      unread: items => unread.push([...items]),
    })
    await sink.open()
    const message = octets(1, letter(1, 1))
    const send = async (bdat: boolean) => {
      const wire = await Wire.connect(sink.port)
      wire.write(`EHLO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test> NOTIFY=NEVER\r\n${bdat ? '' : 'DATA\r\n'}`)
      for (let i = 0; i < (bdat ? 3 : 4); i++) await wire.reply()
      wire.write(bdat ? `BDAT ${message.length} LAST\r\n` : '')
      wire.write(message)
      if (!bdat) wire.write('.\r\n')
      expect((await wire.reply()).code).toBe(250)
      return wire
    }
    const first = await send(false)
    first.write('NOOP\r\n')
    await first.reply()
    first.close()
    const second = await send(true)
    second.close()
    while (unread.length === 0) await new Promise(resolve => setImmediate(resolve))
    await sink.close()
    expect(took.map(one => arrived(one.message))).toEqual(
      [1, 1].map(n => ({ n, damaged: false, messageId: '1.1@crash.test' })),
    )
    expect(took[0]?.to).toEqual([{ address: 'c@d.test', notify: 'NEVER' }])
    expect(unread).toEqual([['delivery 2']])
  })
})

describe('a recording', () => {
  /** Plays lines of strace below a folder of its own; gives the disk, and where it began. */
  async function play(...lines: string[]) {
    const root = await mkdtemp(join(folder, 'data-'))
    const file = `${root}.trace`
    await writeFile(file, lines.map((line, i) => `77 1700000000.00000${i} ${line.replaceAll('ROOT', root)}\n`).join(''))
    const disk = new Disk(root)
    for (const call of await readTrace(file, () => true)) disk.apply(call)
    return { root, disk }
  }
  /** What all files may be after a cut, over many throws of the dice. */
  async function outcomes(disk: Disk, cut: number): Promise<Set<string>> {
    const found = new Set<string>()
    const random = seeded(1)
    for (let i = 0; i < 80; i++) {
      const target = await mkdtemp(join(folder, 'cut-'))
      disk.rebuild(target, cut, random)
      const files = (await readdir(target)).sort()
      const texts = await Promise.all(
        files.map(async name => `${name}=${await readFile(join(target, name), 'latin1')}`),
      )
      found.add(texts.join(' '))
      await rm(target, { recursive: true })
    }
    return found
  }
  const create = 'openat(AT_FDCWD</>, "ROOT/log", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 5<ROOT/log>'
  const write = 'write(5<ROOT/log>, "ab\\0\\"\\n", 5) = 5'

  test('keeps what was synced, whatever happens', async () => {
    const { disk } = await play(create, write, 'fdatasync(5<ROOT/log>) = 0')
    expect([...(await outcomes(disk, 3))]).toEqual(['log=ab\0"\n'])
  })

  test('loses, tears or blanks what was not', async () => {
    const long = 'x'.repeat(4100)
    const { disk } = await play(
      create,
      write,
      'fdatasync(5<ROOT/log>) = 0',
      `write(5<ROOT/log>, "${long}", 4100) = 4100`,
    )
    const found = [...(await outcomes(disk, 4))]
    const kept = 'log=ab\0"\n'
    expect(found.every(text => text.startsWith(kept))).toBe(true)
    expect(found).toContain(kept)
    expect(found).toContain(kept + long)
    expect(found.some(text => text.length < kept.length + 4000 && text.endsWith('x'))).toBe(true)
    expect(found.some(text => text.length === kept.length + 4100 && text.endsWith('\0'))).toBe(true)
  })

  test('takes no sync for one that began before the write had ended, or ended after the cut', async () => {
    const late = await play(create, write, 'fdatasync(5<ROOT/log> <unfinished ...>', '<... fdatasync resumed>) = 0')
    expect((await outcomes(late.disk, 3)).size).toBeGreaterThan(2)
    expect((await outcomes(late.disk, 4)).size).toBe(1)
  })

  test('may lose a name that nobody synced, and keeps one whose folder was', async () => {
    const rename = 'rename("ROOT/log", "ROOT/final") = 0'
    const { disk } = await play(create, write, 'fsync(5<ROOT/log>) = 0', rename, 'fsync(6<ROOT>) = 0')
    expect([...(await outcomes(disk, 4))].sort()).toEqual(['final=ab\0"\n', 'log=ab\0"\n'])
    expect([...(await outcomes(disk, 5))]).toEqual(['final=ab\0"\n'])
  })

  test('puts octets where a call says, of several buffers too', async () => {
    const at = 'pwrite64(5<ROOT/log>, "xy", 2, 4) = 2'
    const several = 'pwritev(5<ROOT/log>, [{iov_base="0123", iov_len=4}, {iov_base="..", iov_len=2}], 2, 0) = 6'
    const { disk } = await play(create, several, at, 'fsync(5<ROOT/log>) = 0')
    expect([...(await outcomes(disk, 4))]).toEqual(['log=0123xy'])
  })

  test('sees where it does not understand what happened', async () => {
    const { root, disk } = await play(create, write)
    await mkdir(root, { recursive: true })
    await writeFile(join(root, 'log'), 'ab\0"\n')
    expect(disk.differences()).toEqual([])
    await writeFile(join(root, 'log'), 'other')
    expect(disk.differences()).toEqual([`${join(root, 'log')} has other octets`])
  })
})

test("LevelDB's log is read across blocks: the keys of a batch, and the write that completed it", () => {
  const batch = Buffer.concat([Buffer.alloc(12), put('m/one', 40_000), put('r/one/0', 3), Buffer.from([0, 2, 98, 47])])
  const first = 32_768 - 7
  const log = Buffer.concat([record(2, batch.subarray(0, first)), record(4, batch.subarray(first))])
  const call = (octets: Buffer, end: number) =>
    ({ name: 'write', begin: end - 1, end, time: 0, args: '', octets: [octets], path: 'x.log', result: 0 }) as const
  const calls = [call(log.subarray(0, 35_000), 5), call(log.subarray(35_000), 9)]
  expect(logRecords(calls)).toEqual([{ written: 9, keys: ['m/one', 'r/one/0'] }])
  expect(logRecords(calls.slice(0, 1))).toEqual([])
})

function record(type: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(7)
  header.writeUInt16LE(payload.length, 4)
  header[6] = type
  return Buffer.concat([header, payload])
}

function put(key: string, size: number): Buffer {
  const length: number[] = []
  let left = size
  for (; left >= 0x80; left >>>= 7) length.push((left & 0x7f) | 0x80)
  return Buffer.concat([
    Buffer.from([1, key.length]),
    Buffer.from(key),
    Buffer.from([...length, left]),
    Buffer.alloc(size),
  ])
}
