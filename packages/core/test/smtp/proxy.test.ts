import { goodCertificate } from '@posthorn/testing'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseProxyHeader } from '../../src/smtp/proxy.ts'
import { inFiles } from './certificates.ts'
import { Rig } from './rig.ts'

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

function version2(command: number, family: number, addresses: Uint8Array, tlvs = Buffer.alloc(0)): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(addresses.length + tlvs.length)
  return Buffer.concat([signature, Buffer.from([0x20 | command, family]), length, addresses, tlvs])
}

const tcp4 = Buffer.from('c0000207 c6336419 1267 0019'.replaceAll(' ', ''), 'hex')
const tcp6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000007', 'hex'),
  Buffer.from('20010db8000000000000000000000019', 'hex'),
  Buffer.from('12670019', 'hex'),
])
const four = { source: { ip: '192.0.2.7', port: 4711 }, destination: { ip: '198.51.100.25', port: 25 } }
const six = { source: { ip: '2001:db8::7', port: 4711 }, destination: { ip: '2001:db8::19', port: 25 } }
const tlvs = Buffer.from('04000301020303000401020304', 'hex')

const good: [string, Buffer, unknown][] = [
  ['v1 TCP4', Buffer.from('PROXY TCP4 192.0.2.7 198.51.100.25 4711 25\r\n'), four],
  ['v1 TCP6', Buffer.from('PROXY TCP6 2001:DB8::7 2001:db8::19 4711 25\r\n'), six],
  ['v1 UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), 'local'],
  ['v1 UNKNOWN with addresses', Buffer.from(`PROXY UNKNOWN ${'f'.repeat(80)}\r\n`), 'local'],
  ['v2 TCP4', version2(1, 0x11, tcp4), four],
  ['v2 TCP4 with TLVs', version2(1, 0x11, tcp4, tlvs), four],
  ['v2 TCP4 with a kilobyte of TLVs', version2(1, 0x11, tcp4, Buffer.alloc(1024, 1)), four],
  ['v2 TCP6', version2(1, 0x21, tcp6, tlvs), six],
  [
    'v2 IPv4 in IPv6',
    version2(
      1,
      0x21,
      Buffer.concat([
        Buffer.from('00000000000000000000ffffc0000207', 'hex'),
        Buffer.from('00000000000000000000ffffc6336419', 'hex'),
        Buffer.from('12670019', 'hex'),
      ]),
    ),
    four,
  ],
  ['v2 UNIX', version2(1, 0x31, Buffer.alloc(216, 0x2f)), 'local'],
  ['v2 LOCAL', version2(0, 0x00, Buffer.alloc(0)), 'local'],
  ['v2 LOCAL with addresses', version2(0, 0x11, tcp4), 'local'],
  ['v2 UNSPEC', version2(1, 0x00, Buffer.alloc(0), tlvs), 'local'],
]

const bad: [string, Buffer][] = [
  ['SMTP', Buffer.from('EHLO client\r\n')],
  ['v1 without an address', Buffer.from('PROXY TCP4\r\n')],
  ['v1 with a name', Buffer.from('PROXY TCP4 localhost 198.51.100.25 4711 25\r\n')],
  ['v1 of the wrong family', Buffer.from('PROXY TCP6 192.0.2.7 198.51.100.25 4711 25\r\n')],
  ['v1 with a port too high', Buffer.from('PROXY TCP4 192.0.2.7 198.51.100.25 65536 25\r\n')],
  ['v1 without end', Buffer.alloc(108, 'PROXY UNKNOWN ')],
  ['v1 ended by LF', Buffer.from(`PROXY TCP4 192.0.2.7 198.51.100.25 4711 25\n${'x'.repeat(80)}`)],
  ['v1 in lower case', Buffer.from('proxy TCP4 192.0.2.7 198.51.100.25 4711 25\r\n')],
  ['v2 with version 3', Buffer.concat([signature, Buffer.from('31110000', 'hex')])],
  ['v2 with command 2', version2(2, 0x11, tcp4)],
  ['v2 of datagrams', version2(1, 0x12, tcp4)],
  ['v2 too short', version2(1, 0x11, tcp4.subarray(1))],
  ['v2 of 5 KB', Buffer.concat([signature, Buffer.from('21111400', 'hex')])],
  ['v2 with a broken signature', Buffer.from('0d0a0d0a000d0a515549540b2111000c', 'hex')],
]

describe('the header', () => {
  test.each(good)('%s, cut at every octet', (_, head, header) => {
    const stream = Buffer.concat([head, Buffer.from('EHLO x\r\n')])
    for (let length = 0; length < head.length; length++) {
      expect(parseProxyHeader(stream.subarray(0, length)), `${length} octets`).toBeUndefined()
    }
    expect(parseProxyHeader(stream)).toEqual({ header, length: head.length })
  })

  test.each(bad)('%s is refused', (_, head) => {
    expect(() => parseProxyHeader(head)).toThrow(/malformed PROXY header/)
  })

  test('whatever comes, it is a header, too short, or refused', () => {
    const octets = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.uint8Array({ maxLength: 300 }).map(rest => Buffer.concat([signature, rest])),
      fc.string().map(rest => Buffer.from(`PROXY ${rest}\r\n`)),
    )
    fc.assert(
      fc.property(octets, input => {
        const head = Buffer.from(input)
        try {
          const found = parseProxyHeader(head)
          if (found === undefined) expect(head.length).toBeLessThan(4096)
          else expect(found.length).toBeLessThanOrEqual(head.length)
        } catch (error) {
          expect(error).toMatchObject({ code: 'POSTHORN_SMTP_PROXY' })
        }
      }),
    )
  })
})

describe('a listener behind a proxy', () => {
  const config = { trust: { proxy: ['127.0.0.1'], xclient: [] } }

  test('sees the client behind it, however the header is cut', async () => {
    await using rig = await Rig.start({ proxy: true }, { config })
    const heads = [good[0]?.[1], good[5]?.[1]] as Buffer[]
    for (const head of heads) {
      for (let cut = 0; cut <= head.length; cut += 7) {
        await using client = await rig.connect()
        await client.sent(head.subarray(0, cut))
        await client.sent(Buffer.concat([head.subarray(cut), Buffer.from('EHLO client\r\n')]))
        await client.speak('S: 220 *\nS: 250 ...')
      }
    }
    const [first] = rig.pipeline.arrivals
    expect(first?.client).toEqual({ ip: '192.0.2.7', port: 4711, via: 'proxy', trusted: false })
    expect(first?.local).toEqual({ ip: '198.51.100.25', port: 25, hostname: 'mx.example.test' })
    expect(new Set(rig.pipeline.arrivals.map(({ client }) => client?.ip))).toEqual(new Set(['192.0.2.7']))
  })

  test('LOCAL is the proxy itself', async () => {
    await using rig = await Rig.start({ proxy: true }, { config })
    await using client = await rig.connect()
    client.send(version2(0, 0, Buffer.alloc(0)))
    await client.expect('220 *')
    expect(rig.pipeline.arrivals[0]?.client).toMatchObject({ ip: '127.0.0.1', via: 'direct' })
  })

  test.each(bad)('%s drops the connection', async (_, head) => {
    await using rig = await Rig.start({ proxy: true }, { config })
    await using client = await rig.connect()
    client.send(head)
    await client.expect('(closed)')
    expect(rig.pipeline.arrivals).toEqual([])
  })

  test('a proxy that says nothing, or goes half-way, is dropped', async () => {
    await using rig = await Rig.start({ proxy: true }, { config })
    await using silent = await rig.connect()
    while (rig.set.waiting === 0) await rig.clock.settle()
    await rig.clock.advance(31_000)
    await silent.expect('(closed)')
    await using half = await rig.connect()
    half.socket.end('PROXY TC')
    await half.expect('(closed)')
    expect(rig.pipeline.arrivals).toEqual([])
  })

  test('who is no trusted proxy is a client like any other', async () => {
    await using rig = await Rig.start({ proxy: true }, { config: { trust: { proxy: ['192.0.2.0/24'], xclient: [] } } })
    await using client = await rig.connect()
    await client.speak('S: 220 *\nC: PROXY TCP4 192.0.2.7 198.51.100.25 4711 25\nS: 500 5.5.1 *')
    await using plain = await Rig.start({}, { config })
    await using other = await plain.connect()
    await other.speak('S: 220 *')
    expect(plain.pipeline.arrivals[0]?.client?.via).toBe('direct')
  })

  test('clients that vanish behind their header are not counted for ever', async () => {
    await using rig = await Rig.start({ proxy: true, limits: { connectionsPerIp: 5 } }, { config })
    for (let i = 0; i < 30; i++) {
      const client = await rig.connect()
      client.socket.write(good[0]?.[1] as Buffer, () => client.socket.resetAndDestroy())
      if (i % 3 === 0) await rig.clock.settle()
    }
    while (rig.set.connections + rig.set.waiting > 0) await rig.clock.settle()
    await using client = await rig.connect()
    client.send(good[0]?.[1] as Buffer)
    await client.expect('220 *')
  })

  test('TLS comes after the header', async () => {
    await using files = await inFiles({ good: goodCertificate })
    const tls = { default: files.good, names: {}, minVersion: 'TLSv1.2', clients: { request: false } } as const
    await using rig = await Rig.start({ proxy: true, tls: 'implicit' }, { config: { ...config, tls } })
    await using client = await rig.connect()
    await client.sent(good[0]?.[1] as Buffer)
    await client.startTls()
    await client.expect('220 *')
    expect(rig.pipeline.arrivals[0]).toMatchObject({ client: { ip: '192.0.2.7' }, tls: { protocol: 'TLSv1.3' } })
  })
})
