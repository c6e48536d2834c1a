import { Dns, DnsError, definePlugin } from '@posthorn/core'
import { harness } from '@posthorn/testing'
import { expect, test } from 'vitest'
import * as z from 'zod'
import { fakeDns } from '../src/fake-dns.ts'

test('answers from the table, in the form of the resolver', async () => {
  const dns = fakeDns({
    'example.test': { MX: ['10 MX.example.test.', '20 mx2.example.test'], TXT: 'v=spf1 -all', ttl: 60 },
    'null.test': { MX: '0 .' },
    '_25._tcp.mx.example.test': { TLSA: '3 1 1 c0ffee', secure: true },
    '_submission._tcp.example.test': { SRV: '0 1 587 mx.example.test' },
    'www.example.test': { CNAME: 'host.example.test' },
    'host.example.test': { A: ['192.0.2.1', '192.0.2.2'], CAA: '128 issue "ca.test"' },
  })
  expect(await dns.resolve('Example.TEST.', 'MX')).toEqual({
    status: 'ok',
    records: [
      { preference: 10, exchange: 'mx.example.test' },
      { preference: 20, exchange: 'mx2.example.test' },
    ],
    name: 'example.test',
    secure: false,
    ttl: 60,
  })
  expect((await dns.resolve('null.test', 'MX')).records).toEqual([{ preference: 0, exchange: '' }])
  expect(await dns.resolve('_25._tcp.mx.example.test', 'TLSA')).toMatchObject({
    records: [{ usage: 3, selector: 1, matching: 1, data: new Uint8Array([0xc0, 0xff, 0xee]) }],
    secure: true,
  })
  expect((await dns.resolve('_submission._tcp.example.test', 'SRV')).records).toEqual([
    { priority: 0, weight: 1, port: 587, target: 'mx.example.test' },
  ])
  expect(await dns.resolve('www.example.test', 'A')).toMatchObject({
    name: 'host.example.test',
    records: ['192.0.2.1', '192.0.2.2'],
  })
  expect((await dns.resolve('host.example.test', 'CAA')).records).toEqual([
    { critical: true, tag: 'issue', value: 'ca.test' },
  ])
})

test('tells nodata from nxdomain, and counts what was asked', async () => {
  const dns = fakeDns({ 'a.b.example.test': { A: '192.0.2.1' } })
  const status = async (name: string) => (await dns.resolve(name, 'TXT')).status
  expect(await status('a.b.example.test')).toBe('nodata')
  expect(await status('b.example.test')).toBe('nodata')
  expect(await status('x.example.test')).toBe('nxdomain')
  expect(await status('a\0.test')).toBe('nxdomain')
  expect([dns.count(), dns.count('B.example.test'), dns.count('b.example.test', 'A')]).toEqual([3, 1, 0])
  dns.replace({})
  expect(await status('a.b.example.test')).toBe('nxdomain')
})

test('fails as the table says: of a name, of a type, on the way through an alias', async () => {
  const dns = fakeDns({
    'a.test': { fail: 'servfail' },
    'b.test': { fail: { TXT: 'timeout' }, A: '192.0.2.1' },
    'c.test': { CNAME: 'a.test' },
    'loop.test': { CNAME: 'loop2.test' },
    'loop2.test': { CNAME: 'loop.test' },
  })
  const kind = (name: string, type: 'A' | 'TXT') =>
    dns.resolve(name, type).then(
      () => 'answered',
      (error: DnsError) => error.kind,
    )
  expect(await kind('a.test', 'A')).toBe('servfail')
  expect(await kind('b.test', 'TXT')).toBe('timeout')
  expect(await kind('b.test', 'A')).toBe('answered')
  expect(await kind('c.test', 'TXT')).toBe('servfail')
  expect(await kind('loop.test', 'TXT')).toBe('malformed')
})

test('a question that hangs ends with its signal', async () => {
  const dns = fakeDns({ 'slow.test': { fail: 'hang' } })
  const aborter = new AbortController()
  const asked = dns.resolve('slow.test', 'A', aborter.signal)
  aborter.abort()
  await expect(asked).rejects.toMatchObject({ kind: 'aborted' })
  await expect(dns.resolve('slow.test', 'A', aborter.signal)).rejects.toThrow(DnsError)
})

test('addresses stand for their reverse names; a name is confirmed by its own addresses', async () => {
  const dns = fakeDns({
    '192.0.2.1': { PTR: ['mx.example.test', 'liar.example.test', 'gone.example.test'] },
    '2001:db8::1': { PTR: 'mx6.example.test' },
    '192.0.2.9': { PTR: 'broken.example.test' },
    'mx.example.test': { A: ['192.0.2.7', '192.0.2.1'] },
    'mx6.example.test': { AAAA: '2001:DB8:0::1' },
    'liar.example.test': { A: '192.0.2.2' },
    'gone.example.test': { fail: 'servfail' },
    'broken.example.test': { fail: 'servfail' },
  })
  expect((await dns.reverse('192.0.2.1')).records).toHaveLength(3)
  expect(await dns.confirmedNames('192.0.2.1')).toEqual(['mx.example.test'])
  expect(await dns.confirmedNames('::ffff:192.0.2.1')).toEqual(['mx.example.test'])
  expect(await dns.confirmedNames('2001:db8:0:0::1')).toEqual(['mx6.example.test'])
  expect(await dns.confirmedNames('192.0.2.200')).toEqual([])
  expect(await dns.confirmedNames('unix')).toEqual([])
  await expect(dns.confirmedNames('192.0.2.9')).rejects.toMatchObject({ kind: 'servfail' })
})

test('stands in for the resolver in a harness', async () => {
  const dns = fakeDns({ '192.0.2.1': { PTR: 'mx.test' }, 'mx.test': { A: '192.0.2.1' } })
  const names: string[] = []
  const plugin = definePlugin({
    name: 'ask',
    schema: z.strictObject({}),
    inject: { dns: Dns },
    setup: ({ services }) => ({
      async connect(session, { signal }) {
        names.push(...(await services.dns.confirmedNames(session.client?.ip ?? '', signal)))
      },
    }),
  })
  await using mail = await harness([plugin], { services: [dns.service] })
  await mail.gate('connect', { ip: '192.0.2.1' })
  expect(names).toEqual(['mx.test'])
})
