import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  fieldValues,
  formatReport,
  type Mailbox,
  parseAddress,
  type RemoteReply,
  type Report,
  type ReportedRecipient,
  scanHeader,
} from '../src/index.ts'

const address = (text: string) => parseAddress(text) as Mailbox
const noSuchUser: RemoteReply = {
  host: 'mx.x.test',
  phase: 'rcpt',
  code: 550,
  enhanced: '5.1.1',
  lines: ['No such user', 'try harder'],
}
const bob: ReportedRecipient = { address: address('Bob@x.test'), action: 'failed', status: '5.1.1', remote: noSuchUser }
const original = 'From: al@ex.test\r\nMessage-ID: <1@ex.test>\r\nSubject: hi\r\n\r\nbody\r\n'

function report(change: Partial<Report> = {}): Report {
  return {
    id: 'dsn.01J.1',
    reportingMta: 'mx.example',
    to: address('al@ex.test'),
    date: 86_400_000,
    arrival: 0,
    recipients: [bob],
    original: { bytes: Buffer.from(original), what: 'full' },
    ...change,
  }
}

interface Part {
  readonly type: string
  readonly encoding: string
  /** As transferred. */
  readonly raw: string
  /** Decoded. */
  readonly text: string
}

/** Takes a report apart by its boundary, as RFC 2046 §5.1.1 says: the CRLF before a boundary belongs to it. */
function open(given: Report) {
  const made = formatReport(given)
  const bytes = Buffer.from(made.bytes)
  const header = scanHeader(bytes)
  const boundary = /boundary="([^"]+)"/.exec(fieldValues(header, 'content-type')[0] ?? '')?.[1] ?? ''
  const body = `\r\n${bytes.subarray(header.body).toString('latin1')}`
  const [preamble, ...rest] = body.split(`\r\n--${boundary}`)
  const parts = rest.slice(0, -1).map((text): Part => {
    const octets = Buffer.from(text.slice(2), 'latin1')
    const head = scanHeader(octets)
    const raw = octets.subarray(head.body)
    const encoding = fieldValues(head, 'content-transfer-encoding')[0] ?? ''
    return {
      type: fieldValues(head, 'content-type')[0] ?? '',
      encoding,
      raw: raw.toString('latin1'),
      text: decode(raw, encoding),
    }
  })
  return { made, bytes, header, preamble, parts, end: rest.at(-1), status: blocks(parts[1]?.text ?? '') }
}

function decode(raw: Buffer, encoding: string): string {
  if (encoding !== 'quoted-printable') return raw.toString()
  const octets = raw
    .toString('latin1')
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, pair: string) => String.fromCharCode(Number.parseInt(pair, 16)))
  return Buffer.from(octets, 'latin1').toString()
}

/** The groups of fields of message/delivery-status: of the message, then of each recipient. */
function blocks(text: string): [string, string][][] {
  return text.split(/\r\n\r\n/).map(block => {
    const bytes = Buffer.from(`${block}\r\n\r\n`)
    const header = scanHeader(bytes)
    return header.fields.map(field => [field.name, fieldValues({ ...header, fields: [field] }, field.name)[0] ?? ''])
  })
}

describe('a report of failure', () => {
  test('the message around it', () => {
    const { header, parts, preamble, end, made } = open(report())
    const value = (name: string) => fieldValues(header, name)
    expect(value('from')).toEqual(['Mail Delivery System <MAILER-DAEMON@mx.example>'])
    expect(value('to')).toEqual(['<al@ex.test>'])
    expect(value('subject')).toEqual(['Undelivered mail returned to sender'])
    expect(value('date')).toEqual(['Fri, 2 Jan 1970 00:00:00 +0000'])
    expect(value('message-id')).toEqual(['<dsn.01J.1@mx.example>'])
    expect(value('references')).toEqual(['<1@ex.test>'])
    expect(value('auto-submitted')).toEqual(['auto-replied'])
    expect(value('mime-version')).toEqual(['1.0'])
    expect(value('content-type')[0]).toMatch(
      /^multipart\/report; report-type=delivery-status;\tboundary="=_[0-9a-f]{32}"$/,
    )
    expect([preamble, end]).toEqual(['', '--\r\n'])
    expect(parts.map(part => part.type)).toEqual([
      'text/plain; charset=us-ascii',
      'message/delivery-status',
      'message/rfc822',
    ])
    expect(made).toMatchObject({ smtputf8: false, eightBit: false })
  })

  test('for programs: RFC 3464, fields in the order of its grammar', () => {
    const { status } = open(
      report({
        envid: 'QQ 314',
        receivedFrom: 'client.test',
        recipients: [
          { ...bob, orcpt: 'rfc822;Bob+x@old.test', lastAttempt: 3_600_000, logId: '01J', willRetryUntil: 1 },
          { address: address('"a b"@y.test'), action: 'failed', status: 'nonsense', diagnostic: 'too old' },
          { address: address('c@y.test'), action: 'failed', status: '5.0.0', diagnostic: ' \r\n' },
        ],
      }),
    )
    expect(status).toEqual([
      [
        ['original-envelope-id', 'QQ 314'],
        ['reporting-mta', 'dns; mx.example'],
        ['received-from-mta', 'dns; client.test'],
        ['arrival-date', 'Thu, 1 Jan 1970 00:00:00 +0000'],
      ],
      [
        ['original-recipient', 'rfc822; Bob+x@old.test'],
        ['final-recipient', 'rfc822; Bob@x.test'],
        ['action', 'failed'],
        ['status', '5.1.1'],
        ['remote-mta', 'dns; mx.x.test'],
        ['diagnostic-code', 'smtp; 550 5.1.1 No such user try harder'],
        ['last-attempt-date', 'Thu, 1 Jan 1970 01:00:00 +0000'],
        ['final-log-id', '01J'],
      ],
      [
        ['final-recipient', 'rfc822; "a b"@y.test'],
        ['action', 'failed'],
        ['status', '5.0.0'],
        ['diagnostic-code', 'x-posthorn; too old'],
      ],
      [
        ['final-recipient', 'rfc822; c@y.test'],
        ['action', 'failed'],
        ['status', '5.0.0'],
      ],
    ])
  })

  test('names of servers: an address is a literal, and nothing of a name opens a comment (RFC 3461 §9.3)', () => {
    const status = (change: Partial<Report>) => new Map(open(report(change)).status.flat())
    const from = (receivedFrom: string | undefined, receivedFromIp?: string) =>
      status({ ...(receivedFrom && { receivedFrom }), ...(receivedFromIp && { receivedFromIp }) }).get(
        'received-from-mta',
      )
    expect(from('client.test', '192.0.2.1')).toBe('dns; client.test ([192.0.2.1])')
    expect(from('[192.0.2.1]', '192.0.2.1')).toBe('dns; [192.0.2.1]')
    expect(from(undefined, '2001:db8::1')).toBe('dns; [IPv6:2001:db8::1]')
    expect(from('a(b" c', '192.0.2.1')).toBe('dns; a?b??c ([192.0.2.1])')
    expect(from('zürich.test')).toBe('dns; xn--zrich-kva.test')
    const remote = { ...noSuchUser, host: '192.0.2.7' }
    expect(status({ recipients: [{ ...bob, remote }] }).get('remote-mta')).toBe('dns; [192.0.2.7]')
  })

  test('for people: what happened, what was said, what to do', () => {
    const text = open(report({ recipients: [{ ...bob, logId: '01J' }] })).parts[0]?.text
    expect(text?.replace(/\r\n/g, '\n')).toBe(`This is the mail system at mx.example.

It is about the message that you sent on Thu, 1 Jan 1970 00:00:00 +0000.

Your message could not be delivered to the recipients below. We have
given up; nothing more will be tried.

<Bob@x.test>
    There is no mailbox with this address.
    The server mx.x.test said, when it was told this recipient:
        550 5.1.1 No such user try harder
    What to do: Check the address for mistakes. Ask the recipient for
    the right address in another way.

A report for programs and your message are attached.

If you need help, forward this whole report to postmaster at mx.example
(01J).
`)
  })

  test('a rejection that explains itself speaks for itself', () => {
    const text = open(report({ recipients: [{ ...bob, text: 'I do not want this.\r\n\r\nBob' }] })).parts[0]?.text
    expect(text).toContain('<Bob@x.test>\r\n    I do not want this.\r\n    Bob\r\n')
    expect(text).not.toContain('What to do')
  })

  test('100 recipients are listed, the rest counted', () => {
    const { parts, status } = open(report({ recipients: Array.from({ length: 130 }, () => bob), more: 70 }))
    expect(status).toHaveLength(101)
    expect(parts[0]?.text).toContain('And 100 more recipients, not listed here.')
  })
})

describe('other reports', () => {
  const actions = ['delayed', 'delivered', 'relayed', 'expanded'] as const
  test.each(actions)('%s: only the header goes back', action => {
    const { parts, status, header } = open(
      report({
        recipients: [
          { address: bob.address, action, status: action === 'delayed' ? '4.4.1' : '2.0.0', willRetryUntil: 0 },
        ],
      }),
    )
    expect(parts[2]).toMatchObject({
      type: 'text/rfc822-headers',
      text: original.slice(0, original.indexOf('\r\n\r\n') + 2),
    })
    const fields = new Map(status[1])
    expect(fields.get('action')).toBe(action)
    // RFC 3464 §2.3.9: in reports of delay only.
    expect(fields.has('will-retry-until')).toBe(action === 'delayed')
    expect(fieldValues(header, 'subject')[0]).toMatch(action === 'delayed' ? /^Delayed/ : /^Successful/)
  })

  test('mixed ones have a section each, the worst first', () => {
    const recipients = [
      { address: address('d@x'), action: 'delivered', status: '2.0.0' },
      bob,
      { address: address('l@x'), action: 'delayed', status: '4.2.2' },
    ] as const
    const text = open(report({ recipients })).parts[0]?.text ?? ''
    expect(text.match(/^<.*>/gm)).toEqual(['<Bob@x.test>', '<l@x>', '<d@x>'])
  })
})

describe('the original', () => {
  const back = (bytes: Uint8Array, change: Partial<Report> = {}) =>
    open(report({ original: { bytes, what: 'full' }, ...change })).parts[2]

  test('comes back octet for octet', () => {
    for (const text of [original, original.trimEnd(), 'A: b\r\n\r\n', 'no header', '']) {
      expect(back(Buffer.from(text))?.raw).toBe(text)
    }
  })

  test('its header alone, when only that was kept or wanted', () => {
    const bytes = Buffer.from('From x y\r\nA: 1\r\nB: 2\r\n\r\nbody')
    expect(back(bytes, { original: { bytes, what: 'headers' } })).toMatchObject({
      type: 'text/rfc822-headers',
      raw: 'A: 1\r\nB: 2\r\n',
    })
  })

  test('8-bit content goes as 8bit', () => {
    const { parts, made } = open(report({ original: { bytes: Buffer.from('A: b\r\n\r\nü\r\n'), what: 'full' } }))
    expect(parts[2]).toMatchObject({ type: 'message/rfc822', encoding: '8bit', text: 'A: b\r\n\r\nü\r\n' })
    expect(made).toMatchObject({ smtputf8: false, eightBit: true })
  })

  test('what is around 8-bit parts says so (RFC 2045 §6.4)', () => {
    const around = (text: string) =>
      fieldValues(
        open(report({ original: { bytes: Buffer.from(text), what: 'full' } })).header,
        'content-transfer-encoding',
      )
    expect(around('A: b\r\n\r\nü\r\n')).toEqual(['8bit'])
    expect(around('A: b\r\n\r\nu\r\n')).toEqual([])
  })

  test('UTF-8 in its header: message/global for a sender that can take it (RFC 6533 §4.2)', () => {
    const bytes = Buffer.from('Subject: grüße\r\n\r\nü\r\n')
    const text = bytes.toString()
    const whole = open(report({ smtputf8: true, original: { bytes, what: 'full' } }))
    expect(whole.parts[2]).toMatchObject({ type: 'message/global', encoding: '8bit', text })
    expect(whole.made).toMatchObject({ smtputf8: true, eightBit: true })
    const headers = open(report({ smtputf8: true, original: { bytes, what: 'headers' } }))
    expect(headers.parts[2]).toMatchObject({
      type: 'message/global-headers',
      encoding: '8bit',
      text: 'Subject: grüße\r\n',
    })
  })

  test('what has to be encoded is text, for no reader decodes a message type', () => {
    const bytes = Buffer.from('Subject: grüße\0\r\n\r\nü\r\n')
    expect(open(report({ smtputf8: true, original: { bytes, what: 'full' } })).parts[2]).toMatchObject({
      type: 'text/rfc822-headers',
      encoding: 'quoted-printable',
      text: 'Subject: grüße\0\r\n',
    })
  })

  test('the same from an old sender needs no SMTPUTF8', () => {
    const bytes = Buffer.from('Subject: grüße\r\n\r\nü\r\n')
    const whole = open(report({ original: { bytes, what: 'full' } }))
    expect(whole.parts[2]).toMatchObject({ type: 'message/rfc822', encoding: '8bit', text: bytes.toString() })
    expect(whole.made).toMatchObject({ smtputf8: false, eightBit: true })
    const headers = open(report({ original: { bytes, what: 'headers' } }))
    expect(headers.parts[2]).toMatchObject({
      type: 'text/rfc822-headers',
      encoding: 'quoted-printable',
      text: 'Subject: grüße\r\n',
    })
    expect(headers.made).toMatchObject({ smtputf8: false, eightBit: false })
  })

  test.each(['a\0b', 'a\nb', 'a\rb'])('%j cannot be sent: its header goes instead', body => {
    const part = back(Buffer.from(`A: 1\n B\r\n\r\n${body}\r\n`))
    expect(part).toMatchObject({ type: 'text/rfc822-headers', raw: 'A: 1\r\n B\r\n' })
  })

  test('a header with NUL or Latin-1 is encoded', () => {
    const part = back(Buffer.from('A: \0gr\xfc\xdfe\r\n\r\nx', 'latin1'))
    expect(part).toMatchObject({
      type: 'text/rfc822-headers',
      encoding: 'quoted-printable',
      raw: 'A: =00gr=FC=DFe\r\n',
    })
  })
})

describe('addresses beyond ASCII (RFC 6533)', () => {
  const recipients = [{ ...bob, address: address('jürgen@bücher.test'), orcpt: 'utf-8;jürgen@alt.test' }]

  test('to an old sender: utf-8-addr-xtext in message/delivery-status', () => {
    const { status, parts } = open(report({ recipients }))
    expect(parts[1]).toMatchObject({ type: 'message/delivery-status', encoding: '7bit' })
    expect(status[1]?.slice(0, 2)).toEqual([
      ['original-recipient', 'utf-8; j\\x{FC}rgen@alt.test'],
      ['final-recipient', 'utf-8; j\\x{FC}rgen@b\\x{FC}cher.test'],
    ])
  })

  test('to an SMTPUTF8 sender: message/global-delivery-status', () => {
    const { status, parts, made, header } = open(report({ recipients, smtputf8: true, to: address('ä@ex.test') }))
    expect(parts[1]).toMatchObject({ type: 'message/global-delivery-status', encoding: '8bit' })
    expect(status[1]?.slice(0, 2)).toEqual([
      ['original-recipient', 'utf-8; jürgen@alt.test'],
      ['final-recipient', 'utf-8; jürgen@bücher.test'],
    ])
    expect(fieldValues(header, 'to')).toEqual(['<ä@ex.test>'])
    expect(made).toMatchObject({ smtputf8: true, eightBit: true })
  })

  test('only the domain: its A-label is an rfc822 address', () => {
    const { status } = open(report({ recipients: [{ ...bob, address: address('u@bücher.test') }] }))
    expect(status[1]?.[0]).toEqual(['final-recipient', 'rfc822; u@xn--bcher-kva.test'])
  })
})

test('property: hostile text changes nothing of the structure', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      '\r\n\r\nFinal-Recipient: rfc822; x',
      '\r\nAction: delivered',
      '\n--=_',
      'x'.repeat(3000),
      '\0',
      'ü'.repeat(1500),
    ),
  )
  fc.assert(
    fc.property(
      text,
      text,
      fc.array(text, { maxLength: 3 }),
      fc.uint8Array(),
      fc.boolean(),
      (a, b, lines, bytes, smtputf8) => {
        const recipients: ReportedRecipient[] = [
          {
            address: { local: a, domain: 'x', raw: b },
            orcpt: `rfc822;${b}`,
            action: 'failed',
            status: a,
            remote: { ...noSuchUser, host: b, lines },
            logId: a,
          },
          { address: bob.address, action: 'delayed', status: '4.0.0', diagnostic: a, text: b },
        ]
        const made = open(
          report({
            recipients,
            envid: a,
            receivedFrom: b,
            reportingMta: a,
            id: b,
            smtputf8,
            original: { bytes, what: 'full' },
          }),
        )
        expect(made.parts).toHaveLength(3)
        expect(made.header.fields.map(field => field.name)).toEqual([
          'from',
          'to',
          'subject',
          'date',
          'message-id',
          'auto-submitted',
          'mime-version',
          'content-type',
          ...(made.parts.some(({ encoding }) => encoding === '8bit') ? ['content-transfer-encoding'] : []),
        ])
        expect(made.status.map(block => block.filter(([name]) => name === 'action').map(([, value]) => value))).toEqual(
          [[], ['failed'], ['delayed']],
        )
        const latin = made.bytes.toString('latin1')
        expect(latin).not.toMatch(/\0|\r(?!\n)|(?<!\r)\n/)
        expect(made.made.eightBit).toBe(/[\x80-\xff]/.test(latin))
      },
    ),
  )
})
