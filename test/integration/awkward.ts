// Messages that break careless servers, made rather than kept: sizes, line lengths, dots and octets that corpora lack.

export interface Awkward {
  readonly name: string
  readonly bytes: Buffer
}

const header = 'From: Bob <bob@client.test>\r\nSubject: awkward\r\n\r\n'
const message = (name: string, body: string | Buffer, head = header): Awkward => ({
  name,
  bytes: Buffer.concat([Buffer.from(head), Buffer.from(body)]),
})

/** Whatever DATA and BDAT can carry alike: CRLF line ends, the last line ended. */
export const awkward: readonly Awkward[] = [
  message('a line of 100,000 octets', `${'x'.repeat(100_000)}\r\n`),
  message('lines of 997 to 1,001 octets', [997, 998, 999, 1000, 1001].map(n => `${'y'.repeat(n)}\r\n`).join('')),
  message('a line of dots', `${'.'.repeat(70_000)}\r\n`),
  message('dots that begin lines', '.\r\n..\r\n...\r\n.a\r\n. .\r\n.\r\n\r\n.\r\n'),
  message('10,000 stuffed lines', '..\r\n'.repeat(10_000)),
  message('every octet but NUL, CR and LF', Buffer.from([...eightBit(), 13, 10])),
  message('UTF-8', 'Grüße aus 東京 🐫\r\n'),
  message('an empty body', ''),
  message('a header only, and no empty line', '', 'Subject: no body\r\n'),
  message('a body only', 'just text\r\n', '\r\n'),
  message('no header that could be one', 'just text, and no colon\r\nmore\r\n', ''),
  message('a header of many lines', 'x\r\n', `Subject: long\r\n${' folded\r\n'.repeat(900)}\r\n`),
  message('line ends alone', '\r\n'.repeat(5_000)),
  message('the header in octets of no charset', 'x\r\n', 'Subject: \xff\xfe\r\n\r\n'),
  message('BDAT and QUIT as text', 'BDAT 3 LAST\r\nQUIT\r\n.QUIT\r\nRSET\r\n'),
]

function* eightBit(): Generator<number> {
  for (let octet = 1; octet < 256; octet++) if (octet !== 10 && octet !== 13) yield octet
}

/** Pseudo-random lines of many lengths, dots among them, of just so many octets. */
export function large(octets: number): Buffer {
  const lines: Buffer[] = []
  for (let n = 0; n < 2_000; n++) {
    const length = (n * 7919) % 240
    const line = Buffer.alloc(length + 2, 33 + ((n * 31) % 90))
    if (n % 5 === 0 && length > 0) line[0] = 46
    line.write('\r\n', length)
    lines.push(line)
  }
  const page = Buffer.concat(lines)
  const whole = Buffer.alloc(octets, page)
  whole.write(header)
  whole.write('\r\n', octets - 2)
  // The page is cut anywhere: no CR or LF may stand alone before the last line end.
  for (let at = octets - 3; at > octets - 6; at--) if (whole[at] === 13 || whole[at] === 10) whole[at] = 120
  return whole
}
