// Messages, a hundred and some, that signers and verifiers must read alike: every kind of header with every kind of body, MIME from
// the corpus, and a large one.

import { scanHeader } from '@posthorn/mail'
import { carriable, corpus } from '../corpus.ts'

export interface Varied {
  readonly name: string
  /** As DATA carries it: CRLF line ends and a final one. */
  readonly bytes: Buffer
}

const from = 'From: Anna <anna@example.test>'

/** In latin1: octets above 127 are what they are. */
const headers: Readonly<Record<string, readonly string[]>> = {
  'a plain header': [from, 'To: bob@else.test', 'Subject: hello', 'Date: Mon, 5 Jan 2026 09:00:00 +0000'],
  'folded fields': [
    'From: Anna\r\n\t<anna@example.test>',
    'To: a@else.test,\r\n b@else.test,\r\n\t\t c@else.test',
    'Subject:\r\n the second line\r\n\tand the third',
  ],
  'white space': ['from:anna@example.test', 'To:   bob@else.test  \t', 'Subject:\t two  words \t and\tmore ', 'Cc: '],
  '8-bit fields': [from, 'Subject: na\xefve caf\xe9', 'To: "J\xf6rg" <joerg@else.test>', 'X-Raw: \xff\xfe\x80'],
  'UTF-8 fields': [
    from,
    `Subject: ${Buffer.from('Grüße aus Zürich ✉ 日本語').toString('latin1')}`,
    'To: bob@else.test',
  ],
  'several fields of a name': [
    from,
    'Received: from a.test by b.test; Mon, 5 Jan 2026 09:00:00 +0000',
    'Received: from c.test by a.test;\r\n Mon, 5 Jan 2026 08:59:59 +0000',
    'To: one@else.test',
    'Comments: the first',
    'comments: the second',
    'Subject: several',
    'Keywords: one',
    'Keywords: two, three',
    'References: <1@else.test>',
  ],
  'empty and missing fields': [from, 'Subject:', 'To:', 'X-Empty:  '],
  'a field of 900 octets': [from, `Subject: ${'long '.repeat(180)}end`, 'To: bob@else.test'],
  'two hundred fields': [
    from,
    ...Array.from({ length: 200 }, (_, n) => `X-Field-${n}: ${'v'.repeat(n % 60)}`),
    'To: b@else.test',
  ],
  'a mailing list': [
    'List-Id: talk <talk.example.test>',
    'List-Unsubscribe: <https://example.test/u>,\r\n <mailto:u@example.test>',
    'List-Unsubscribe-Post: List-Unsubscribe=One-Click',
    'SUBJECT: [talk] hello',
    'TO: talk@example.test',
    'in-reply-to: <0@else.test>',
    'FROM: anna@example.test',
  ],
}

const bodies: Readonly<Record<string, string>> = {
  'an empty body': '',
  'trailing empty lines': 'body\r\n\r\nmore\r\n\r\n\r\n\r\n',
  'nothing but empty lines': '\r\n\r\n\r\n',
  'white space': '  leading\r\n\ttab  \t inside\r\ntrailing \t \r\n   \r\n\t\r\n',
  'long, 8-bit and dotted lines': `${'long '.repeat(600)}\r\n.\r\n..\r\n.dot\r\nna\xefve \xff\x80\x01 \x7f\r\n${'\xe9'.repeat(990)}\r\n`,
}

const crafted = Object.entries(headers).flatMap(([header, fields]) =>
  Object.entries(bodies).map(([body, text]) => ({
    name: `${header}, ${body}`,
    bytes: Buffer.from(`${fields.join('\r\n')}\r\n\r\n${text}`, 'latin1'),
  })),
)

/** Fields that say who wrote it, or that somebody signed it, give way to ours. */
function ours(message: Buffer): Buffer {
  const { fields, end } = scanHeader(message)
  const dropped = new Set(['from', 'sender', 'dkim-signature', 'return-path', 'bcc'])
  const kept = fields.filter(({ name }) => !dropped.has(name)).map(({ start, end }) => message.subarray(start, end))
  return Buffer.concat([Buffer.from(`${from}\r\n`), ...kept, message.subarray(end)])
}

const found = corpus().flatMap(({ name, bytes }) => {
  const message = carriable(bytes)
  return message === undefined || scanHeader(message).fields.length < 3 ? [] : [{ name, bytes: ours(message) }]
})

const large = {
  name: '1 MB',
  bytes: Buffer.from(`${from}\r\nSubject: large\r\n\r\n${'a line  of text \t\r\n'.repeat(55_000)}\r\n\r\n`),
}

/** Spread over the whole corpus. */
const picked = Array.from({ length: 49 }, (_, n) => found[Math.floor((n * found.length) / 49)] as Varied)

export const varied: readonly Varied[] = [...crafted, ...picked, large]

/** What RFC 5322 §3.6 does not allow, and comes all the same. */
export const repeated: readonly Varied[] = Object.entries(bodies).map(([body, text]) => ({
  name: `fields twice that may be there once, ${body}`,
  bytes: Buffer.from(
    `${from}\r\nTo: one@else.test\r\nSubject: first\r\nTo: two@else.test\r\nsubject: second\r\n\r\n${text}`,
    'latin1',
  ),
}))
