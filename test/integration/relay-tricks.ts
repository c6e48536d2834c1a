// Every known way to write a recipient that leads, or may lead the next server, to somewhere else.
import type { Rig } from './rig.ts'

const ours = ['example.test', 'gate.test', 'sub.gate.test', 'parked.test', 'xn--bcher-kva.test']

/** Paths that lead, or may lead the next server, to else.test. */
const paths = [
  '<zoe@else.test>',
  '<zoe@ELSE.test>',
  'zoe@else.test',
  '<zoe@else.test.>',
  '<zoe@[127.0.0.1]>',
  '<zoe@[IPv6:::1]>',
  '<zoe@[example.test]>',
  '<zoe@127.0.0.1>',
  '<zoe@localhost>',
  '<zoe@mx.example.test>',
  '<zoe>',
  '<"zoe@else.test">',
  '<zoe%else.test>',
  '<else.test!zoe>',
  '<@else.test>',
  '<"">',
  '<zoe@else.test;anna@example.test>',
  '<zoe@else.test,anna@example.test>',
  '<anna@example.test><zoe@else.test>',
  '<zoe@else.test> <anna@example.test>',
  '<zoe@else.test> ORCPT=rfc822;anna@example.test',
  '<anna@example.test',
  'anna@example.test>',
  '<<zoe@else.test>>',
  '<zoe+x@else.test>',
  '<postmaster@else.test>',
  '<zoe@else.test\\x00@example.test>',
  '<anna@example.test\\x00.else.test>',
  '<zoe@else.test\\t@example.test>',
  '<zoe@else.test\\r@example.test>',
  '<zoe@example.test.else.test>',
  '<zoe@EXAMPLE.TEST.else.test>',
  '<zoe@notexample.test>',
  '<zoe@example.test.>',
  '<zoe@.example.test>',
  '<zoe@example..test>',
  '<zoe@sub.example.test>',
  '<zoe@xn--bcher-kva.test.else.test>',
  '<zoe@xn--bcher-kva>',
  '<zoe@b\\xc3\\xbccher.else.test>',
  // U+3002, and fullwidth letters: a looser IDNA makes dots and letters of them.
  '<zoe@example\\xe3\\x80\\x82test>',
  '<zoe@else\\xe3\\x80\\x82test>',
  '<zoe@\\xef\\xbd\\x85lse.test>',
  '<eve@list.test>',
  '<SRS0=abcdef=AB=else.test=zoe@example.test>',
  '<SRS0+abcdef=AB=else.test=zoe@example.test>',
  '<srs0=======@example.test>',
  '<SRS1=abcdef=else.test==xxxxxx=AB=else.test=zoe@example.test>',
  ...ours.flatMap(domain => [
    `<zoe%else.test@${domain}>`,
    `<zoe%else.test%gate.test@${domain}>`,
    `<"zoe%else.test"@${domain}>`,
    `<else.test!zoe@${domain}>`,
    `<"else.test!zoe"@${domain}>`,
    `<a!else.test!zoe@${domain}>`,
    `<zoe@else.test@${domain}>`,
    `<"zoe@else.test"@${domain}>`,
    `<"zoe\\\\@else.test"@${domain}>`,
    `<zoe\\\\@else.test@${domain}>`,
    `<@${domain}:zoe@else.test>`,
    `<@${domain},@else.test:zoe@else.test>`,
    `<@else.test:zoe@${domain}>`,
    `<@${domain}:zoe%else.test@${domain}>`,
    `<zoe%else.test+x@${domain}>`,
    `<+zoe%else.test@${domain}>`,
  ]),
]

export interface Stranger {
  readonly listener: string
  /** The reverse-path, and what stands behind it. */
  readonly from: string
  /** Said before MAIL. */
  readonly prelude?: string
  readonly hello?: string
}

/** The paths that were accepted, of all that should not be. */
export async function acceptedPaths(rig: Rig, stranger: Stranger): Promise<string[]> {
  const { listener, from, prelude = '', hello = 'EHLO client.test' } = stranger
  const wrong: string[] = []
  for (let at = 0; at < paths.length; at += 10) {
    await using client = await rig.connect(listener)
    await client.reply()
    client.send(`${hello}\r\n`)
    await client.reply()
    if (prelude !== '') {
      client.send(`${prelude}\r\n`)
      await client.reply()
    }
    client.send(Buffer.from(`MAIL FROM:${from}\r\n`))
    await client.reply()
    for (const path of paths.slice(at, at + 10)) {
      const octets = path.replace(/\\(x[0-9a-f]{2}|[\\rt])/g, (_, e: string) =>
        e === '\\' ? '\\' : e === 'r' ? '\r' : e === 't' ? '\t' : String.fromCharCode(Number.parseInt(e.slice(1), 16)),
      )
      client.send(Buffer.from(`RCPT TO:${octets}\r\n`, 'latin1'))
      const [reply = ''] = await client.reply()
      if (/^2/.test(reply)) wrong.push(`${path}: ${reply}`)
      else if (/^421/.test(reply)) throw new Error(`hung up at ${path}: ${client.dialogue.join('\n')}`)
    }
  }
  return wrong
}
