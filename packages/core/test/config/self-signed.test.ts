import { X509Certificate } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, createServer, type TLSSocket } from 'node:tls'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { integer, objectId, sequence, time, utf8String } from '../../src/boot/der.ts'
import { generateSelfSigned, selfSigned } from '../../src/boot/self-signed.ts'
import { folderOf } from './folder.ts'

const now = Date.UTC(2026, 10, 23, 12)
const day = 86_400_000

describe('DER', () => {
  const hex = (octets: Buffer) => octets.toString('hex')

  it('is as X.690 says', () => {
    expect(hex(integer(Uint8Array.of(0)))).toBe('020100')
    expect(hex(integer(Uint8Array.of(0, 0, 127)))).toBe('02017f')
    expect(hex(integer(Uint8Array.of(128)))).toBe('02020080')
    expect(hex(objectId('1.2.840.10045.4.3.2'))).toBe('06082a8648ce3d040302')
    expect(hex(sequence(utf8String('x'.repeat(200)))).slice(0, 12)).toBe('3081cb0c81c8')
    expect(
      time(Date.UTC(2049, 11, 31, 23, 59, 59))
        .toString('latin1')
        .slice(2),
    ).toBe('491231235959Z')
    expect(
      time(Date.UTC(2050, 0, 1))
        .toString('latin1')
        .slice(2),
    ).toBe('20500101000000Z')
  })
})

describe('a self-signed certificate', () => {
  it('is one that TLS clients can verify, by name and by address', async () => {
    const { cert, key } = generateSelfSigned('mail.example.test', Date.now())
    const server = createServer({ cert, key, minVersion: 'TLSv1.2' }, socket => socket.end())
    await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as { port: number }
    for (const servername of ['mail.example.test', 'localhost', '127.0.0.1']) {
      const name = servername === '127.0.0.1' ? {} : { servername }
      const socket = await new Promise<TLSSocket>((done, fail) => {
        const client = connect({ host: '127.0.0.1', port, ca: cert, ...name }, () => done(client))
        client.once('error', fail)
      })
      expect(socket.authorized).toBe(true)
      socket.destroy()
    }
    server.close()
  })

  it('says what it is for, and until when', () => {
    const { cert } = generateSelfSigned('mail.example.test', now)
    const parsed = new X509Certificate(cert)
    expect(parsed.subjectAltName).toBe(
      'DNS:mail.example.test, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1',
    )
    expect(parsed.ca).toBe(false)
    expect(parsed.verify(parsed.publicKey)).toBe(true)
    expect(Date.parse(parsed.validTo)).toBe(now + 730 * day)
  })

  it('holds for names of any length', () => {
    fc.assert(
      fc.property(fc.domain(), name => {
        const { cert, key } = generateSelfSigned(name, now)
        expect(new X509Certificate(cert).subjectAltName).toContain(name)
        expect(key).toContain('PRIVATE KEY')
      }),
      { numRuns: 20 },
    )
  })

  it('is kept while it is good, and made anew when it is not', async () => {
    const folder = join(folderOf({}), 'data')
    const files = await selfSigned(folder, 'a.example', now)
    const read = () => readFileSync(files.cert, 'utf8') + readFileSync(files.key, 'utf8')
    expect(statSync(files.key).mode & 0o777).toBe(0o600)
    const first = read()
    await selfSigned(folder, 'a.example', now + 600 * day)
    expect(read()).toBe(first)
    const renew = (when = now) => selfSigned(folder, 'b.example', when)
    const cases: (() => Promise<unknown>)[] = [
      () => renew(),
      () => renew(now + 701 * day),
      () => {
        writeFileSync(files.cert, 'garbage')
        return renew()
      },
      () => {
        writeFileSync(files.key, generateSelfSigned('b.example', now).key)
        return renew()
      },
    ]
    for (const spoil of cases) {
      const before = read()
      await spoil()
      expect(read()).not.toBe(before)
      expect(new X509Certificate(readFileSync(files.cert)).checkHost('b.example')).toBe('b.example')
    }
  })
})
