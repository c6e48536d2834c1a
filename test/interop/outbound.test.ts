// Our outbound plugin against a small internet of real programs: Knot and Unbound say where mail goes, and Postfix
// stands there, at loopback addresses of its own for each mail server.

import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateSelfSigned } from '@posthorn/core/runtime'
import { goodCertificate, SmtpScript, testCa, wrongNameCertificate } from '@posthorn/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../../bench/contender.ts'
import { type DnsRig, dnsPrograms, startDns } from './dns-rig.ts'
import { headerOf, messagesIn, until } from './mailbox.ts'
import { needs } from './needs.ts'
import { type RunningPostfix, smtpd, startPostfix } from './postfix.ts'
import { type RunningPosthorn, startPosthorn } from './posthorn.ts'

/** `first` is one Postfix, all other hosts are another, so that one can be down while the other is up. */
const hosts = {
  first: '127.0.0.2',
  second: '127.0.0.3',
  plain: '127.0.0.4',
  self: '127.0.0.5',
  good: '127.0.0.6',
  wrong: '127.0.0.7',
  nobody: '127.0.0.8',
}

const at = (host: keyof typeof hosts) => `mx A ${hosts[host]}\n@ MX 10 mx`
const zones = {
  'order.test': {
    records: `@ MX 20 second\n@ MX 10 first\nfirst A ${hosts.first}\nsecond A ${hosts.second}`,
  },
  'down.test': { records: `@ MX 10 nobody\n@ MX 20 second\nnobody A ${hosts.nobody}\nsecond A ${hosts.second}` },
  'implicit.test': { records: `@ A ${hosts.plain}` },
  // An address, so that a server which does not know null MX would find somebody to send to.
  'null.test': { records: `@ MX 0 .\n@ A ${hosts.plain}` },
  'self.test': { records: at('self') },
  // The name that the certificate of @posthorn/testing is for.
  'example.test': { records: `mx A ${hosts.good}` },
  'good.test': { records: '@ MX 10 mx.example.test.' },
  'wrong.test': { records: at('wrong') },
  'lame.test': { state: 'lame', records: at('plain') },
  'xn--bcher-kva.test': { records: at('plain') },
  'dsn.test': { records: at('plain') },
  'sender.test': { records: at('plain') },
} as const

interface Given {
  readonly to: string
  /** What stands behind the address in MAIL and RCPT. */
  readonly mail?: string
  readonly rcpt?: string
}

describe.runIf(needs('postfix', ...dnsPrograms, 'root'))('mail to the internet', () => {
  const folder = mkdtempSync(join(tmpdir(), 'posthorn-outbound-'))
  const box = (name: string) => join(folder, name, 'box')
  const started: AsyncDisposable[] = []
  let port: number
  let dns: DnsRig
  let first: RunningPostfix
  let server: RunningPosthorn

  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }

  async function postfix(name: string, services: readonly string[]): Promise<RunningPostfix> {
    const home = mkdtempSync(join(folder, 'postfix-'))
    const boxes = join(folder, name)
    const running = await startPostfix(
      home,
      await freePort(),
      {
        myhostname: `${name}.test`,
        virtual_mailbox_domains: Object.keys(zones).join(', '),
        virtual_transport: 'virtual',
        virtual_mailbox_base: boxes,
        virtual_mailbox_maps: 'static:box/',
        virtual_uid_maps: 'static:65534',
        virtual_gid_maps: 'static:65534',
        smtpd_tls_received_header: 'yes',
      },
      services,
    )
    started.push({ [Symbol.asyncDispose]: () => running.stop() })
    return running
  }

  beforeAll(async () => {
    chmodSync(folder, 0o755)
    for (const name of ['one', 'two']) {
      // The user that Postfix delivers as.
      const boxes = join(folder, name)
      mkdirSync(boxes)
      chownSync(boxes, 65534, 65534)
    }
    port = await freePort()
    const tls = (name: string, { cert, key }: { readonly cert: string; readonly key: string }) => ({
      smtpd_tls_security_level: 'may',
      smtpd_tls_chain_files: file(`${name}.pem`, key + cert),
    })
    dns = await startDns(zones)
    started.push(dns)
    first = await postfix('one', [smtpd(hosts.first, port)])
    await postfix('two', [
      smtpd(hosts.second, port),
      smtpd(hosts.plain, port),
      smtpd(hosts.self, port, tls('self', generateSelfSigned('mx.self.test', Date.now()))),
      smtpd(hosts.good, port, tls('good', goodCertificate)),
      smtpd(hosts.wrong, port, tls('wrong', wrongNameCertificate)),
    ])
    const ca = file('ca.pem', testCa)
    server = await startPosthorn({
      // Not the name that the good certificate is for.
      hostname: 'us.test',
      dns: { servers: [dns.resolver], cache: { minTtl: 0, negativeTtl: 0 } },
      queue: { gather: 0, retry: ['1s'] },
      plugins: [
        'storage-level',
        { relaying: { networks: ['127.0.0.1/32'] } },
        {
          outbound: {
            port,
            allow: ['127.0.0.0/8'],
            destinations: { 'good.test': { tls: 'verify', ca }, 'wrong.test': { tls: 'verify', ca } },
          },
        },
      ],
    })
    started.push(server)
  }, 60_000)

  afterAll(async () => {
    for (const one of started.reverse()) await one[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  /** Sends a message and gives its id. */
  async function send({ to, mail = '', rcpt = '' }: Given): Promise<string> {
    await using client = await SmtpScript.connect({ port: server.ports.mx ?? 0, patience: 20_000 })
    await client.expect('220 ...')
    for (const [line, reply] of [
      ['EHLO client.test', '250 ...'],
      [`MAIL FROM:<bob@sender.test>${mail}`, '250 *'],
      [`RCPT TO:<${to}>${rcpt}`, '250 *'],
      ['DATA', '354 *'],
    ] as const) {
      client.send(`${line}\r\n`)
      await client.expect(reply)
    }
    client.send('Subject: hello\r\n\r\nhello\r\n.\r\n')
    const [reply = ''] = await client.reply()
    const id = /queued as (\w+)/.exec(reply)?.[1]
    expect(id, reply).toBeDefined()
    return id as string
  }

  const deliveries = async (id: string) => (await server.trace(id)).entries.filter(({ stage }) => stage === 'deliver')

  /** The queue's line of a message that was tried and waits. */
  async function waiting(id: string) {
    const line = async () => (await server.queue()).messages.find(one => one.id === id)
    await until(
      async () => (await line())?.reason !== undefined,
      () => server.log().slice(-2000),
    )
    return line()
  }

  /** The message to this recipient, once it lies with the Postfix of this name. */
  async function arrived(name: string, to: string): Promise<string> {
    const find = () => messagesIn(box(name)).find(text => text.includes(`Delivered-To: ${to}\n`))
    await until(
      () => find() !== undefined,
      () => server.log().slice(-2000),
    )
    return headerOf(find() as string)
  }

  test('the best mail server gets it, the next where that is down', async () => {
    await send({ to: 'anna@order.test' })
    expect(await arrived('one', 'anna@order.test')).toContain('by one.test (Postfix)')
    await first.crash()
    const id = await send({ to: 'bert@order.test' })
    await arrived('two', 'bert@order.test')
    await until(
      async () => (await deliveries(id)).length > 0,
      () => server.log(),
    )
    expect(await deliveries(id)).toMatchObject([
      { verdict: 'relayed', lane: 'outbound/order.test', via: `second.order.test[${hosts.second}]:${port}` },
    ])
  })

  test('one that was never there is passed over', async () => {
    await send({ to: 'anna@down.test' })
    await arrived('two', 'anna@down.test')
  })

  test('a domain without MX is its own mail server', async () => {
    await send({ to: 'anna@implicit.test' })
    await arrived('two', 'anna@implicit.test')
  })

  test('a null MX: one report by 5.1.10, and nobody is asked', async () => {
    const id = await send({ to: 'anna@null.test' })
    const report = () => messagesIn(box('two')).filter(text => text.includes('Final-Recipient: rfc822; anna@null.test'))
    await until(
      () => report().length > 0,
      () => server.log().slice(-2000),
    )
    const [text = ''] = report()
    expect(text).toMatch(/^Status: 5\.1\.10\r?$/m)
    expect(text).toMatch(/^Delivered-To: bob@sender\.test$/m)
    expect(await deliveries(id)).toMatchObject([{ verdict: 'reject 556 5.1.10' }])
    expect((await deliveries(id))[0]?.via).toBeUndefined()
    expect((await server.queue()).messages.some(one => one.id === id)).toBe(false)
    expect(report()).toHaveLength(1)
  })

  test('TLS where it is offered, whoever signed the certificate', async () => {
    await send({ to: 'anna@self.test' })
    expect(await arrived('two', 'anna@self.test')).toMatch(/using TLSv1\.[23] .*with ESMTPS/)
  })

  test('a certificate that must be right, and is', async () => {
    const id = await send({ to: 'anna@good.test' })
    expect(await arrived('two', 'anna@good.test')).toContain('with ESMTPS')
    await until(
      async () => (await deliveries(id)).length > 0,
      () => server.log(),
    )
    expect((await deliveries(id))[0]?.via).toContain('verified')
  })

  test('and that is not: nothing is sent, nothing bounces', async () => {
    const id = await send({ to: 'anna@wrong.test' })
    expect((await waiting(id))?.reason).toMatch(/certificate|altnames/i)
    const texts = messagesIn(box('two')).join()
    expect(texts).not.toContain('anna@wrong.test')
  })

  test('SERVFAIL is nobody’s refusal: it waits, and arrives when the DNS answers', async () => {
    const id = await send({ to: 'anna@lame.test' })
    expect((await waiting(id))?.reason).toContain('4.4.3')
    dns.mend('lame.test')
    const find = () => messagesIn(box('two')).some(text => text.includes('Delivered-To: anna@lame.test\n'))
    await until(
      async () => {
        // Unbound remembers failures for a while, and a lane that fails is left alone for one. Not by its id: it may be
        // gone by then.
        if (!find()) await server.ask('queue', 'retry', '--all')
        return find()
      },
      () => server.log().slice(-2000),
      40_000,
    )
  })

  test('a domain in U-labels is found by its A-labels', async () => {
    await send({ to: 'anna@xn--bcher-kva.test' })
    await arrived('two', 'anna@xn--bcher-kva.test')
    await send({ to: 'ännä@bücher.test', mail: ' SMTPUTF8' })
    await until(
      () => messagesIn(box('two')).some(text => Buffer.from(text, 'latin1').toString().includes('ännä@')),
      () => server.log().slice(-2000),
    )
  })

  test('what the sender asked of reports goes to Postfix, which makes them', async () => {
    const id = await send({
      to: 'anna@dsn.test',
      mail: ' RET=HDRS ENVID=QQ314159',
      rcpt: ' NOTIFY=SUCCESS ORCPT=rfc822;Anna+2BAlias@dsn.test',
    })
    const reports = () => messagesIn(box('two')).filter(text => text.includes('QQ314159'))
    await until(
      () => reports().length > 0,
      () => server.log().slice(-2000),
    )
    const [text = ''] = reports()
    expect(text).toMatch(/^Reporting-MTA: dns; two\.test$/m)
    expect(text).toMatch(/^Original-Envelope-Id: QQ314159$/m)
    expect(text).toMatch(/^Original-Recipient: rfc822; ?Anna\+Alias@dsn\.test$/im)
    expect(text).toMatch(/^Action: delivered$/m)
    await until(
      async () => !(await server.queue()).messages.some(one => one.id === id),
      () => server.log().slice(-2000),
    )
    expect(reports()).toHaveLength(1)
  })
})
