// A hundred messages signed by us, verified by OpenDKIM and rspamd; signed by them, verified by us; and ARC both ways.

import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hashPassword } from '@posthorn/core'
import { addKeys, dkimRecord, ringFolder } from '@posthorn/plugin-dkim-sign/key-ring'
import { type DnsServer, dnsServer, SmtpPeer } from '@posthorn/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { greeted, Rig, send } from '../integration/rig.ts'
import { headerOf } from './mailbox.ts'
import { needs } from './needs.ts'
import { type OpenDkim, openDkim } from './opendkim.ts'
import { type RunningRspamd, type SigningKey, startRspamd } from './rspamd.ts'
import { repeated, varied } from './varied.ts'

const password = 'correct horse battery staple'

/** By selector: `one` and `two` are ours. */
const records = new Map<string, string>()
let folder: string
let dns: DnsServer
let hop: SmtpPeer
let rig: Rig
let opendkim: OpenDkim
let rspamd: RunningRspamd

/** A key of somebody else's, published. */
function keyOf(selector: string, kind: 'rsa' | 'ed25519', domain = 'example.test'): SigningKey {
  const { privateKey } =
    kind === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ed25519')
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  const file = join(folder, `${selector}.pem`)
  writeFileSync(file, pem, { mode: 0o600 })
  const { name, value } = dkimRecord(domain, { selector, privateKey: pem })
  records.set(name, value)
  return { domain, selector, file }
}

const isRsa = ({ privateKey }: { readonly privateKey: string }) =>
  createPrivateKey(privateKey).asymmetricKeyType === 'rsa'

/** As anna, over TLS, to somebody elsewhere: what the next hop gets, in order. */
async function submitted(messages: readonly Uint8Array[]): Promise<readonly Buffer[]> {
  const before = hop.messages.length
  await using client = await greeted(rig, 'submission')
  await client.speak(`
    C: STARTTLS
    S: 220 *
  `)
  await client.startTls()
  await client.speak(`
    C: EHLO client.example.test
    S: 250 ...
    C: AUTH PLAIN ${Buffer.from(`\0anna@example.test\0${password}`).toString('base64')}
    S: 235 *
  `)
  for (const [n, message] of messages.entries()) {
    expect(await send(client, 'anna@example.test', `n${n}@else.test`, message)).toEqual([
      expect.stringMatching(/^250 /),
    ])
  }
  await hop.received(before + messages.length)
  return inOrder(hop.messages.slice(before).map(({ to, bytes }) => ({ key: to[0] ?? '', bytes: bytes as Buffer })))
}

/** From outside, each from a sender of its own: what `to` gets, in order. */
async function received(messages: readonly Uint8Array[], to: string): Promise<readonly Buffer[]> {
  const before = new Set((await rig.inbox(to)).map(bytes => bytes.toString('latin1')))
  await using client = await greeted(rig)
  for (const [n, message] of messages.entries()) {
    expect(await send(client, `n${n}@else.test`, to, message)).toEqual([expect.stringMatching(/^250 /)])
  }
  const all = await rig.delivered(to, before.size + messages.length)
  const fresh = all.filter(bytes => !before.has(bytes.toString('latin1')))
  return inOrder(fresh.map(bytes => ({ key: /^Return-Path: <(.*)>/.exec(bytes.toString('latin1'))?.[1] ?? '', bytes })))
}

/** From outside to an alias that leads away: what the next hop gets, in order. */
async function forwarded(messages: readonly Uint8Array[]): Promise<readonly Buffer[]> {
  const before = hop.messages.length
  await using client = await greeted(rig)
  for (const [n, message] of messages.entries()) {
    expect(await send(client, `n${n}@else.test`, 'away@example.test', message)).toEqual([
      expect.stringMatching(/^250 /),
    ])
  }
  await hop.received(before + messages.length)
  return inOrder(hop.messages.slice(before).map(({ from, bytes }) => ({ key: from, bytes: bytes as Buffer })))
}

function inOrder(all: readonly { readonly key: string; readonly bytes: Buffer }[]): readonly Buffer[] {
  const number = (key: string) => Number(/n(\d+)@/.exec(key)?.[1] ?? /=n(\d+)@/.exec(key)?.[1])
  return all.toSorted((one, other) => number(one.key) - number(other.key)).map(({ bytes }) => bytes)
}

/** What our Authentication-Results say of one method. */
const results = (message: Buffer, method: string): readonly string[] =>
  headerOf(message.toString('latin1'))
    .split('\r\n')
    .filter(line => line.startsWith('Authentication-Results: mx.example.test;'))
    .flatMap(line => line.split(';').map(part => part.trim()))
    .filter(part => part.startsWith(`${method}=`))

/** What is said of each message, where that is something else than expected: by the message's name. */
const surprises = <T>(all: readonly T[], expected: T | RegExp) =>
  Object.fromEntries(
    varied
      .map(({ name }, n) => [name, all[n]] as const)
      .filter(([, one]) =>
        expected instanceof RegExp ? !expected.test(String(one)) : JSON.stringify(one) !== JSON.stringify(expected),
      ),
  )

/** Every tenth. */
const some = <T>(all: readonly T[]) => all.filter((_, n) => n % 10 === 0)

/** Something is added at the end. */
const changed = (messages: readonly Buffer[]) => messages.map(one => Buffer.concat([one, Buffer.from('and more\r\n')]))

const onTop = (fields: string, message: Uint8Array) => Buffer.concat([Buffer.from(fields, 'latin1'), message])
const plain = varied.map(({ bytes }) => bytes)

describe.runIf(needs('opendkim', 'rspamd'))('signatures', () => {
  let keys: Record<'opendkim-rsa' | 'opendkim-ed25519' | 'rspamd' | 'arc', SigningKey>

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'posthorn-dkim-'))
    const own = await addKeys(ringFolder(join(folder, 'data')), 'example.test', {
      algorithms: ['rsa', 'ed25519'],
      now: 0,
      selector: 'own',
    })
    expect(own.map(isRsa)).toEqual([true, false])
    for (const key of own) {
      const { name, value } = dkimRecord('example.test', key)
      records.set(name, value)
    }
    keys = {
      'opendkim-rsa': keyOf('opendkim-rsa', 'rsa'),
      'opendkim-ed25519': keyOf('opendkim-ed25519', 'ed25519'),
      rspamd: keyOf('rspamd', 'rsa'),
      arc: keyOf('arc', 'rsa', 'rspamd.test'),
    }
    dns = await dnsServer(Object.fromEntries([...records].map(([name, value]) => [name, { TXT: value }])))
    hop = await SmtpPeer.start({ on: { rcpt: ({ line }) => (line.includes('<gone@') ? '550 5.1.1 no' : undefined) } })
    rig = await Rig.start(
      {
        dns: { servers: dns.address },
        listeners: { mx: { listen: '127.0.0.1:0', tls: 'none' }, submission: { listen: '127.0.0.1:0' } },
        plugins: [
          'storage-level',
          { domains: { domains: ['example.test'] } },
          { users: { users: { 'anna@example.test': await hashPassword(password) } } },
          { aliases: { aliases: { 'away@example.test': 'bob@else.test', 'gone@example.test': 'gone@else.test' } } },
          'mailauth',
          'dkim-sign',
          { 'arc-seal': { domain: 'example.test' } },
          'maildir',
          { relay: { to: hop.address } },
        ],
      },
      { folder },
    )
    opendkim = openDkim(folder, records)
    rspamd = await startRspamd(folder, { dns: dns.address, dkim: keys.rspamd, arc: keys.arc })
  })

  afterAll(async () => {
    await rspamd?.[Symbol.asyncDispose]()
    await rig?.[Symbol.asyncDispose]()
    await hop?.close()
    await dns?.[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })

  test('a hundred messages, no two alike', () => {
    expect(new Set(varied.map(({ name }) => name)).size).toBe(100)
  })

  describe('of ours', () => {
    let signed: readonly Buffer[]
    beforeAll(async () => {
      signed = await submitted(plain)
    })

    test('OpenDKIM believes', async () => {
      const both = { 'own-rsa': 'pass', 'own-ed25519': 'pass' }
      expect(surprises(await opendkim.verify(signed), both)).toEqual({})
    })

    test('rspamd believes', async () => {
      const found = []
      for (const message of signed) found.push((await rspamd.scan(message)).symbols.R_DKIM_ALLOW?.toSorted())
      expect(surprises(found, ['example.test:s=own-ed25519', 'example.test:s=own-rsa'])).toEqual({})
    })

    // Not rspamd: of fields like To it takes the wrong one first, and does not believe even its own signature.
    test('OpenDKIM believes them over fields that are there twice', async () => {
      for (const found of await opendkim.verify(await submitted(repeated.map(({ bytes }) => bytes)))) {
        expect(found).toEqual({ 'own-rsa': 'pass', 'own-ed25519': 'pass' })
      }
    })

    test('both believe our reports', async () => {
      const before = hop.messages.length
      await using client = await greeted(rig)
      expect(await send(client, 'bob@else.test', 'gone@example.test')).toEqual([expect.stringMatching(/^250 /)])
      await hop.received(before + 1)
      const report = hop.messages[before]?.bytes as Buffer
      expect(report.toString()).toContain('Content-Type: multipart/report')
      expect(await opendkim.verify([report])).toEqual([{ 'own-rsa': 'pass', 'own-ed25519': 'pass' }])
      expect((await rspamd.scan(report)).symbols.R_DKIM_ALLOW).toHaveLength(2)
    })

    test('neither believes when the message was changed', async () => {
      const others = changed(some(signed))
      for (const found of await opendkim.verify(others)) expect(Object.values(found)).toEqual(['fail', 'fail'])
      for (const message of others) expect((await rspamd.scan(message)).symbols).toHaveProperty('R_DKIM_REJECT')
    })
  })

  describe('of others', () => {
    // Debian's OpenDKIM does not believe its own Ed25519 signatures over a header in simple canonicalization, and its
    // test mode forgets the white space of fields in which it is not one space after the colon.
    const odd = /^[^:\r\n]+:(?! \S)|[ \t]\r\n/m
    const simple = (message: Uint8Array) =>
      !odd.test(Buffer.from(message).toString('latin1').split('\r\n\r\n', 1)[0] as string)

    test.each([
      ['opendkim-rsa', 'rsa-sha256', ['relaxed/relaxed', 'relaxed/simple', 'simple/relaxed', 'simple/simple']],
      ['opendkim-ed25519', 'ed25519-sha256', ['relaxed/relaxed', 'relaxed/simple']],
    ] as const)('we believe %s', async (name, algorithm, canonicalizations) => {
      const signed: Buffer[] = []
      const ways = plain.map((message, n) => {
        const c = canonicalizations[n % canonicalizations.length] as string
        return simple(message) ? c : c.replace('simple/', 'relaxed/')
      })
      for (const c of canonicalizations) {
        const chosen = plain.filter((_, n) => ways[n] === c)
        expect(chosen.length).toBeGreaterThan(10)
        const fields = await opendkim.sign(chosen, keys[name], algorithm, c)
        for (const [i, message] of chosen.entries())
          signed[plain.indexOf(message)] = onTop(fields[i] as string, message)
      }
      const found = (await received(signed, `${name}@example.test`)).map(message => results(message, 'dkim'))
      const expected = new RegExp(`^dkim=pass header.d=example.test .*header.s=${name} header.a=${algorithm} [^,]*$`)
      expect(surprises(found, expected)).toEqual({})
    })

    test('we believe rspamd', async () => {
      const found = (await received(await byRspamd({ User: 'anna' }), 'rspamd@example.test')).map(one =>
        results(one, 'dkim'),
      )
      expect(surprises(found, /^dkim=pass header\.d=example\.test .*header\.s=rspamd /)).toEqual({})
    })

    test('we do not when the message was changed', async () => {
      const fields = await opendkim.sign(some(plain), keys['opendkim-rsa'], 'rsa-sha256', 'relaxed/relaxed')
      const signed = some(plain).map((message, n) => onTop(fields[n] as string, message))
      for (const message of await received(changed(signed), 'changed@example.test')) {
        expect(results(message, 'dkim')).toEqual([expect.stringMatching(/^dkim=fail /)])
      }
    })
  })

  describe('ARC', () => {
    test('rspamd believes the seals of what we forward', async () => {
      const found = []
      for (const message of await forwarded(plain)) found.push((await rspamd.scan(message)).symbols.ARC_ALLOW)
      expect(surprises(found, ['example.test:s=own-rsa:i=1'])).toEqual({})
    })

    test('we believe the seals of rspamd, and it believes ours on top', async () => {
      const sealed = await byRspamd({})
      const found = (await received(sealed, 'sealed@example.test')).map(message => results(message, 'arc'))
      expect(surprises(found, ['arc=pass (i=1, rspamd.test) smtp.remote-ip=127.0.0.1 header.oldest-pass=0'])).toEqual(
        {},
      )
      const further = []
      for (const message of await forwarded(sealed)) further.push((await rspamd.scan(message)).symbols.ARC_ALLOW)
      expect(surprises(further, ['example.test:s=own-rsa:i=2'])).toEqual({})
    })

    test('neither believes when the message was changed after the seal', async () => {
      for (const message of await received(changed(some(await byRspamd({}))), 'broken@example.test')) {
        expect(results(message, 'arc')).toEqual([expect.stringMatching(/^arc=fail /)])
      }
      for (const message of changed(await forwarded(some(plain)))) {
        expect((await rspamd.scan(message)).symbols).not.toHaveProperty('ARC_ALLOW')
      }
    })
  })

  /** Every message with the fields that rspamd adds to it. */
  async function byRspamd(headers: Readonly<Record<string, string>>): Promise<readonly Buffer[]> {
    const all: Buffer[] = []
    for (const message of plain) {
      const { added } = await rspamd.scan(message, { From: 'anna@example.test', Rcpt: 'bob@else.test', ...headers })
      if (added.length === 0) throw new Error('rspamd added nothing')
      all.push(onTop(added.map(([name, value]) => `${name}: ${value}\r\n`).join(''), message))
    }
    return all
  }
})
