// Every report that a sender can get from us, for each NOTIFY, RET and outcome, read by Python's `email`: a reader that
// shares no line of code and no author with us. A whole server makes them, and scripted hops give it the reasons.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fakeClock, type PeerMessage, SmtpPeer, type SmtpScript } from '@posthorn/testing'
import { describe, expect, test } from 'vitest'
import { greeted, Rig, until } from '../integration/rig.ts'
import { needs } from './needs.ts'
import { succeed } from './program.ts'

const script = fileURLToPath(new URL('dsn-check.py', import.meta.url))
const fiveDays = 5 * 24 * 3_600_000
const received = Date.UTC(2026, 0, 5, 9)

/** What Python saw in a report. */
interface Seen {
  readonly problems: readonly string[]
  readonly to: readonly string[]
  readonly from: readonly string[]
  readonly header: Readonly<Record<string, string>>
  readonly parts: readonly string[]
  readonly encodings: readonly string[]
  readonly text: string
  readonly message: Readonly<Record<string, string>>
  readonly recipients: readonly Readonly<Record<string, string>>[]
  /** Base64, decoded otherwise. */
  readonly original: string
}

type Outcome = 'capable' | 'local' | 'plain' | 'failed' | 'delayed'

/** How the envelope and the message name people. `orcpt`, `envid`: as on the wire, and as they shall come back. */
interface Names {
  readonly from: string
  readonly local: string
  readonly orcpt?: readonly [wire: string, back: string]
  readonly envid?: readonly [wire: string, back: string]
  readonly smtputf8?: true
  readonly subject?: string
  /** The report is of RFC 6533's types. */
  readonly global?: true
}

const names: Readonly<Record<string, Names>> = {
  plain: { from: 'Alice@home.test', local: 'Bob' },
  xtext: {
    from: '"Alice A"@home.test',
    local: 'bob+tag=x',
    orcpt: ['rfc822;Bob+2BTag+3DX@Old.Example.Test', 'rfc822; Bob+Tag=X@Old.Example.Test'],
    envid: ['QQ+2B314+3D159+20(a)', 'QQ+314=159 (a)'],
  },
  'a UTF-8 ORCPT in an ASCII transaction': {
    from: 'alice@home.test',
    local: 'bob',
    orcpt: ['utf-8;\\x{394}ok\\x{2B}\\x{3D}@Old.Test', 'utf-8; \\x{394}ok\\x{2B}\\x{3D}@Old.Test'],
    envid: ['utf', 'utf'],
  },
  'SMTPUTF8, the sender in ASCII': {
    from: 'alice@home.test',
    local: 'δοκιμή',
    orcpt: ['utf-8;Δοκιμή@Old.Test', 'utf-8; Δοκιμή@Old.Test'],
    smtputf8: true,
    subject: 'Grüße',
    global: true,
  },
  SMTPUTF8: { from: 'jürgen@home.test', local: 'δοκιμή', smtputf8: true, subject: 'Grüße', global: true },
}

const notifies = [
  undefined,
  'NEVER',
  'SUCCESS',
  'FAILURE',
  'DELAY',
  'SUCCESS,FAILURE',
  'SUCCESS,DELAY',
  'FAILURE,DELAY',
  'SUCCESS,FAILURE,DELAY',
] as const
const rets = [undefined, 'FULL', 'HDRS'] as const
const outcomes: readonly Outcome[] = ['capable', 'local', 'plain', 'failed', 'delayed']

/** What the report says, where there is one; RFC 3461 §4.1 says when. */
const told = {
  capable: undefined,
  local: { event: 'SUCCESS', action: 'delivered', status: '2.0.0' },
  plain: { event: 'SUCCESS', action: 'relayed', status: '2.0.0', reply: '250 2.0.0 taken as 4711' },
  failed: { event: 'FAILURE', action: 'failed', status: '5.1.1', reply: '550 5.1.1 No such user try harder' },
  delayed: { event: 'DELAY', action: 'delayed', status: '4.2.2', reply: '450 4.2.2 Mailbox is busy' },
} as const

interface Case {
  readonly n: number
  readonly who: Names
  readonly notify: string | undefined
  readonly ret: string | undefined
  readonly outcome: Outcome
  readonly to: string
  readonly body: Buffer
  /** What is to come back. */
  readonly report: (typeof told)[Outcome]
}

function* cases(): Generator<Case> {
  let n = 0
  for (const who of Object.values(names)) {
    for (const outcome of outcomes) {
      for (const notify of notifies) {
        for (const ret of rets) {
          n++
          const event = told[outcome]?.event
          const wanted = notify === undefined ? event !== 'SUCCESS' : notify.split(',').includes(event ?? '')
          yield {
            n,
            who,
            notify,
            ret,
            outcome,
            to: `${who.local}@${outcome}.test`,
            body: message(n, who),
            report: wanted ? told[outcome] : undefined,
          }
        }
      }
    }
  }
}

/** Whatever could break a report: dots, long lines, 8 bits, lines like boundaries, no empty line at the end. */
function message(n: number, who: Names): Buffer {
  const header = `X-Case: ${n}\r\nMessage-ID: <${n}@home.test>\r\nSubject: ${who.subject ?? 'hello'}\r\n`
  const body = n % 2 === 0 ? 'plain text\r\n' : 'Grüße\r\n'
  return Buffer.from(`${header}\r\n${body}.\r\n..two\r\n--=_0123\r\n--=_0123--\r\n${'x'.repeat(998)}\r\n\r\nend\r\n`)
}

async function post(client: SmtpScript, one: Case): Promise<void> {
  const { who, ret, notify } = one
  const mail = ['BODY=8BITMIME', who.smtputf8 && 'SMTPUTF8', ret && `RET=${ret}`, who.envid && `ENVID=${who.envid[0]}`]
  const rcpt = [notify && `NOTIFY=${notify}`, who.orcpt && `ORCPT=${who.orcpt[0]}`]
  const line = (words: readonly (string | false | undefined)[]) => words.filter(Boolean).join(' ')
  client.send(`MAIL FROM:<${who.from}> ${line(mail)}\r\n${line([`RCPT TO:<${one.to}>`, ...rcpt])}\r\nDATA\r\n`)
  await client.expect('250 2.1.0 *')
  await client.expect('250 2.1.5 *')
  await client.expect('354 *')
  client.send(Buffer.from(`${one.body.toString('latin1').replace(/^\./gm, '..')}.\r\n`, 'latin1'))
  await client.expect('250 2.0.0 OK: queued *')
}

/** Lets Python read them all. */
async function read(folder: string, reports: readonly Buffer[]): Promise<readonly Seen[]> {
  const files = await Promise.all(
    reports.map(async (bytes, i) => {
      const file = join(folder, `report-${i}.eml`)
      await writeFile(file, bytes)
      return JSON.stringify({ file })
    }),
  )
  const { out } = await succeed('python3', ['-X', 'utf8', script], { input: `${files.join('\n')}\n` })
  return out
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Seen)
}

const caseOf = (message: Buffer) => Number(/^X-Case: (\d+)/m.exec(message.toString())?.[1])

const date = (at: number) => new Date(at).toUTCString().replace(/^(\w+), 0?(\d+ .*) GMT$/, '$1, $2 +0000')

/** The fields of one report, each as it has to be. */
function check(seen: Seen, one: Case): void {
  const { who, ret, report } = one
  if (report === undefined) throw new Error('no report was due')
  const { action, status } = report
  expect(seen.problems).toEqual([])
  expect(seen.to).toEqual([who.from])
  expect(seen.from).toEqual(['MAILER-DAEMON@mx.example.test'])
  expect(seen.header).toMatchObject({
    references: `<${one.n}@home.test>`,
    'auto-submitted': 'auto-replied',
    subject: {
      failed: 'Undelivered mail returned to sender',
      delayed: 'Delayed mail (still being tried)',
      delivered: 'Successful mail delivery report',
      relayed: 'Successful mail delivery report',
    }[action],
  })

  // RFC 3461 §6.3, RFC 3464 §2.2
  const { 'original-envelope-id': envid, ...about } = seen.message
  expect(envid).toBe(who.envid?.[1])
  expect(about).toEqual({
    'reporting-mta': 'dns; mx.example.test',
    'received-from-mta': 'dns; client.example.test ([127.0.0.1])',
    'arrival-date': date(received),
  })

  // RFC 3464 §2.3
  const [recipient = {}, ...others] = seen.recipients
  expect(others).toEqual([])
  const { 'original-recipient': orcpt, 'final-log-id': id, 'last-attempt-date': last, ...fields } = recipient
  expect(orcpt).toBe(who.orcpt?.[1])
  expect(id).toMatch(/^\S+$/)
  expect(last).toMatch(/^Mon, 5 Jan 2026 \d\d:\d\d:\d\d \+0000$/)
  expect(fields).toEqual({
    'final-recipient': `${who.smtputf8 ? 'utf-8' : 'rfc822'}; ${one.to}`,
    action,
    status,
    ...('reply' in report && { 'remote-mta': 'dns; [127.0.0.1]', 'diagnostic-code': `smtp; ${report.reply}` }),
    ...(action === 'delayed' && { 'will-retry-until': date(received + fiveDays) }),
  })

  // RFC 3461 §4.3: whole only where it failed, octet by octet below what we wrote above it.
  const whole = action === 'failed' && ret === 'FULL'
  const kind = whole ? (who.global ? 'global' : 'rfc822') : who.global ? 'global-headers' : 'rfc822-headers'
  const family = who.global || whole ? 'message' : 'text'
  const global = who.orcpt?.[1].match(/[^ -~]/) || who.smtputf8 ? 'global-' : ''
  expect(seen.parts).toEqual(['text/plain', `message/${global}delivery-status`, `${family}/${kind}`])
  const original = Buffer.from(seen.original, 'base64').toString('latin1')
  const sent = one.body.toString('latin1')
  const expected = whole ? sent : sent.slice(0, sent.indexOf('\r\n\r\n') + 2)
  expect(original.startsWith('Received: from client.example.test')).toBe(true)
  expect(original.slice(original.indexOf('X-Case:'))).toBe(expected)

  expect(seen.text).toContain(`<${one.to}>`)
  expect(seen.text.split('\n').every(text => text.length <= 78)).toBe(true)
  if ('reply' in report) expect(seen.text.replace(/\s+/g, ' ')).toContain(report.reply)
}

describe.runIf(needs('python3'))('delivery reports', () => {
  test('for each NOTIFY, RET and outcome, by Python and field by field', async () => {
    const without = ['PIPELINING', '8BITMIME', 'SMTPUTF8', 'ENHANCEDSTATUSCODES']
    await using home = await SmtpPeer.start()
    await using capable = await SmtpPeer.start()
    await using plain = await SmtpPeer.start({ offer: without, on: { dot: '250 2.0.0 taken as 4711' } })
    const refusal = '550-5.1.1 No such user\n550 5.1.1 try harder'
    await using failed = await SmtpPeer.start({ on: { rcpt: refusal } })
    await using delayed = await SmtpPeer.start({ on: { rcpt: '450 4.2.2 Mailbox is busy' } })
    const clock = fakeClock(received)
    const hops = { home, capable, plain, failed, delayed }
    await using rig = await Rig.start(
      {
        queue: { gather: 0, retry: ['4m'], delayReport: '5m' },
        plugins: [
          'storage-level',
          { domains: { domains: ['local.test'] } },
          'maildir',
          ...Object.entries(hops).map(([name, hop]) => ({
            use: 'relay',
            as: name,
            options: { to: hop.address, domains: [`${name}.test`] },
          })),
        ],
      },
      { clock },
    )
    const all = [...cases()]
    const due = all.filter(one => one.report !== undefined)
    const late = due.filter(one => one.outcome === 'delayed')
    await using client = await greeted(rig)
    for (const one of all) await post(client, one)
    // In steps much shorter than the queue's leases, which are renewed on a real disk.
    const moved = async (reports: number) => {
      await clock.advance(2_000)
      return home.count >= reports
    }
    await until('all reports of what came to an end', () => moved(due.length - late.length))
    await until('all reports of delay', () => moved(due.length), 60_000)

    const seen = await read(
      rig.folder,
      home.messages.map(({ bytes }) => bytes as Buffer),
    )
    expect(seen.map(one => caseOf(Buffer.from(one.original, 'base64'))).sort((a, b) => a - b)).toEqual(
      due.map(({ n }) => n),
    )
    for (const [i, one] of seen.entries()) {
      const about = all[caseOf(Buffer.from(one.original, 'base64')) - 1] as Case
      const { mailLine, rcptLines } = home.messages[i] as PeerMessage
      const { who, notify, ret, outcome } = about
      try {
        check(one, about)
        // RFC 3461 §6.1
        expect(mailLine).toMatch(/^MAIL FROM:<> (?!.*RET=)/)
        expect(rcptLines).toEqual([`RCPT TO:<${who.from}> NOTIFY=NEVER`])
      } catch (error) {
        throw new Error(`${outcome}, NOTIFY=${notify}, RET=${ret}, to ${about.to}`, { cause: error })
      }
    }
    // A hop that promises to report is told what was asked for, by the names that were given (RFC 3461 §5.2.1).
    expect(capable.messages.length).toBe(all.length / outcomes.length)
    for (const { mailLine, rcptLines, bytes } of capable.messages) {
      const { who, notify, ret } = all[caseOf(bytes as Buffer) - 1] as Case
      const given = (line: string, ...words: string[]) =>
        words.map(word => new RegExp(` ${word}=(\\S+)`).exec(line)?.[1])
      expect(given(mailLine, 'RET', 'ENVID')).toEqual([ret, who.envid?.[0]])
      expect(given(rcptLines[0] ?? '', 'NOTIFY', 'ORCPT')).toEqual([notify, who.orcpt?.[0]])
    }
  })

  test('failures and successes of one message come in one report', async () => {
    await using home = await SmtpPeer.start()
    await using hop = await SmtpPeer.start({
      offer: ['PIPELINING'],
      on: { rcpt: ({ line }) => (line.includes('gone') ? '551 5.1.6 Moved to "x"; (really)' : undefined) },
    })
    await using rig = await Rig.start({
      queue: { gather: '10m' },
      plugins: [
        'storage-level',
        { relay: { to: home.address, domains: ['home.test'] } },
        { use: 'relay', as: 'hop', options: { to: hop.address, domains: ['hop.test'] } },
      ],
    })
    await using client = await greeted(rig)
    const to = ['gone.1', 'there', '"gone 2"', 'silent'].map(local => `${local}@hop.test`)
    client.send(
      `MAIL FROM:<al@home.test> RET=FULL\r\n${to
        .map((one, i) => `RCPT TO:<${one}> NOTIFY=${i === 3 ? 'FAILURE' : 'SUCCESS,FAILURE'}\r\n`)
        .join('')}DATA\r\n`,
    )
    await client.expect('250 2.1.0 *')
    for (const _ of to) await client.expect('250 2.1.5 *')
    await client.expect('354 *')
    client.send('Subject: hello\r\n\r\nhello\r\n.\r\n')
    await client.expect('250 2.0.0 OK: queued *')
    await home.until(({ count }) => count === 1)
    await rig.empty()
    expect(home.count).toBe(1)
    const [seen] = await read(rig.folder, [home.messages[0]?.bytes as Buffer])
    expect(seen?.problems).toEqual([])
    expect(seen?.recipients.map(one => [one['final-recipient'], one.action, one.status])).toEqual([
      ['rfc822; gone.1@hop.test', 'failed', '5.1.6'],
      ['rfc822; there@hop.test', 'relayed', '2.0.0'],
      ['rfc822; "gone 2"@hop.test', 'failed', '5.1.6'],
    ])
    expect(seen?.recipients[0]?.['diagnostic-code']).toBe('smtp; 551 5.1.6 Moved to "x"; (really)')
    expect(seen?.parts[2]).toBe('message/rfc822')
  })
})
